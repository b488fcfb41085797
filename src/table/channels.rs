//! The channels of a region, as the broker sees them: what they hold, who has their ends, and how one that is dead is emptied.

use super::counting::Counting;
use super::refs::{Refs, State};
use super::ring::Ring;
use super::seats::{NO_RECEIVERS, NO_SENDERS, Side};
use super::words::Words;
use crate::region::layout::{BUILT, CHANNEL, ChannelHead, DAMAGED};
use crate::region::{ObjectId, Offset, Region, SessionIndex, SlotIndex};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Event, Owner};

/// The number of a channel that is for one sender and one receiver, and of one that is for any number.
pub(crate) const SINGLE: u32 = 0x51;
pub(crate) const MANY: u32 = 0x4d;

/// The words of one channel.
#[derive(Clone, Copy)]
pub(crate) struct ChannelWords<'r> {
    pub(crate) head: &'r ChannelHead,
    pub(crate) entries: &'r [AtomicU64],
}

impl<'r> ChannelWords<'r> {
    #[inline]
    pub(crate) fn ring(self) -> Ring<'r> {
        Ring { tail: &self.head.tail, head: &self.head.head, entries: self.entries, is_single: self.is_single() }
    }

    /// Whether it is for one sender and one receiver.
    #[inline]
    pub(crate) fn is_single(self) -> bool {
        // Relaxed: it never changes.
        self.head.form.load(Ordering::Relaxed) == SINGLE
    }

    pub(crate) fn senders(self) -> Side<'r> {
        Side { state: &self.head.state, seats: &self.head.senders, none: NO_SENDERS }
    }

    pub(crate) fn receivers(self) -> Side<'r> {
        Side { state: &self.head.state, seats: &self.head.receivers, none: NO_RECEIVERS }
    }

    /// Wakes all who sleep, to look at the state.
    pub(crate) fn wake(self) {
        Event::new(&self.head.filled).wake();
        Event::new(&self.head.emptied).wake();
    }

    /// Takes the seats of those who are dead, and tells the others if they were the last ones.
    pub(crate) fn vacate(self, is_dead: impl Fn(Owner) -> bool) {
        let is_dead = |word| Owner::of_word(word).is_none_or(&is_dead);
        // Both: one process may have been the last of either side.
        let (senders, receivers) = (self.senders().vacate(is_dead), self.receivers().vacate(is_dead));
        if senders || receivers {
            self.wake();
        }
    }

    /// The objects that the full entries hold. An entry that says what can't be holds nothing.
    fn held(self, region: &'r Region) -> impl Iterator<Item = ObjectId> {
        self.ring().full().filter_map(|full| region.id_of(full.slot).filter(|id| full.is_of(id.generation())))
    }
}

/// The words of the channel in a slot, if one is there whose words were written, alive or dead.
pub(crate) fn words(region: &Region, index: SlotIndex) -> Option<ChannelWords<'_>> {
    let slot = region.slot(index).filter(|slot| u32::from(slot.kind.load(Ordering::Relaxed)) == CHANNEL)?;
    // Acquire: pairs with the release of the creator, after it has written the words.
    let flags = slot.flags.load(Ordering::Acquire);
    let words = Words::read(slot);
    if !words.are_sound(slot) || flags & (BUILT | DAMAGED) != BUILT {
        return None;
    }
    let (head, entries) = region.channel(Offset(words.offset), words.len)?;
    entries.len().is_power_of_two().then_some(ChannelWords { head, entries })
}

/// All slots that may have a channel, for those who keep no list of them.
pub(crate) fn all(region: &Region) -> Vec<SlotIndex> {
    let is_channel = |index: &SlotIndex| {
        region.slot(*index).is_some_and(|slot| u32::from(slot.kind.load(Ordering::Relaxed)) == CHANNEL)
    };
    (0..region.slots_used()).map(SlotIndex).filter(is_channel).collect()
}

/// Every object that a full entry of these channels holds, as often as one does.
pub(crate) fn held(region: &Region, channels: &[SlotIndex]) -> Vec<ObjectId> {
    let mut held = Vec::new();
    for index in channels {
        let Some(before) = in_use(region, *index) else { continue };
        let Some(words) = words(region, *index) else { continue };
        let first = held.len();
        held.extend(words.held(region));
        // Another object's bytes, if it was freed meanwhile. What it held has another epoch then.
        if in_use(region, *index) != Some(before) {
            held.truncate(first);
        }
    }
    held
}

/// The object in a slot, if its memory is its own.
fn in_use(region: &Region, index: SlotIndex) -> Option<ObjectId> {
    let state = Refs(region.slot(index)?.refs.load(Ordering::Acquire)).state();
    matches!(state, State::Live | State::Dead(_)).then(|| region.id_of(index))?
}

/// Takes all out that is in a dead channel (R97), and checks it. Broker only; `lane` is free.
pub(crate) fn empty(region: &Region, lane: &AtomicU32, index: SlotIndex) {
    let counting = Counting::new(region, SessionIndex::BROKER);
    let Some(channel) = words(region, index) else { return };
    for full in channel.ring().full() {
        let id = region.id_of(full.slot).filter(|id| full.is_of(id.generation()));
        let Some((id, words)) = id.and_then(|id| Some((id, region.slot_words(id).ok()?))) else {
            tracing::error!(channel = index.0, slot = full.slot.0, "an entry of a channel was damaged");
            continue;
        };
        // Relaxed: the swap releases the lane.
        lane.store(id.slot().0 + 1, Ordering::Relaxed);
        if full.empty() {
            counting.unpin(&words, id);
        }
        lane.store(0, Ordering::Release);
        counting.check(id.slot(), lane);
    }
}
