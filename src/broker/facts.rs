//! What each slot is known to say. Only the broker writes these words, and only while a slot is free: whatever else stands there later is damage. Of a slot of a slab the generation is its
//! owner's: it only grows, and the digest goes with it.
//!
//! A slot that contradicts what is known is taken out of use until the end of this broker, with the memory that it had: nobody knows who believes what about it.

use std::collections::BTreeMap;

use crate::region::layout::{DAMAGED, Slot};
use crate::region::{Generation, SessionIndex, SlotIndex};
use crate::sync::atomic::{Ordering, fence};
use crate::table::refs::{Refs, State};
use crate::table::words::Words;

/// What is known of one slot.
#[derive(Debug, Clone, Copy, Default)]
struct Fact {
    /// Of a slot of a slab: as it was granted.
    generation: u32,
    /// Of a slot of a slab: of its shape.
    digest: u32,
    type_index: u32,
    /// The session of whose slab it is; 0 for none.
    owner: u16,
    /// Whether it is granted, live or dead, as far as the broker has brought about.
    in_use: bool,
}

impl Fact {
    /// Of a slot in use that says this.
    fn of(words: &Words) -> Self {
        let owner = words.owner.0;
        let digest = if owner == 0 { words.digest() } else { words.shape() };
        Self { generation: words.generation.0, digest, type_index: words.type_index, owner, in_use: true }
    }
}

/// How often a slot is looked at that its owner is making anew meanwhile.
const MOST_LOOKS: u32 = 16;

#[derive(Default)]
pub(super) struct Facts {
    slots: Vec<Fact>,
    /// How many of them are of slabs.
    in_slabs: u32,
    /// Slots that are out of use, and why.
    damaged: BTreeMap<SlotIndex, String>,
}

impl Facts {
    /// Believes what the next slot says of a region that is taken over, if its words are sound: nothing else is known of it. Returns them if it is in use. `is_owned`: it is of a slab
    /// whose owner goes on with it, or has yet to be swept.
    pub(super) fn learn(&mut self, slot: &Slot, is_owned: bool) -> Option<Words> {
        let index = SlotIndex(self.slots.len() as u32);
        let (mut words, mut refs) = read(slot);
        if is_owned && refs.state() != State::Free {
            self.slots.push(Fact::of(&words));
            self.in_slabs += 1;
            return self.examine(index, slot).then_some(words);
        }
        let in_use = refs.state() != State::Free;
        if !in_use && words.are_begun(slot) || matches!(refs.state(), State::Dead(_)) && words.are_renewed(slot) {
            words.confirm(slot);
            (words, refs) = read(slot);
        }
        self.slots.push(Fact {
            digest: words.digest(),
            owner: 0,
            in_use: refs.state() != State::Free,
            ..Fact::of(&words)
        });
        if !words.are_sound(slot) {
            self.quarantine(index, slot, format!("it says {words:?}, which was not written by a broker"));
            return None;
        }
        in_use.then_some(words)
    }

    /// Begins with a slot that nobody has used: all its words are zero.
    pub(super) fn add(&mut self) {
        self.slots.push(Fact { digest: Words::NONE.digest(), ..Fact::default() });
    }

    /// The generation of the next object of a slot. `None` if the number would start again: it could be taken for an earlier object's.
    pub(super) fn next_generation(&self, index: SlotIndex) -> Option<Generation> {
        let generation = self.slots.get(index.0 as usize)?.generation;
        (generation < u32::MAX - 1).then_some(Generation(generation + 1))
    }

    /// Notes what a slot that is granted says from now on.
    pub(super) fn note(&mut self, index: SlotIndex, words: &Words) {
        if let Some(fact) = self.slots.get_mut(index.0 as usize) {
            *fact = Fact::of(words);
            self.in_slabs += u32::from(fact.owner != 0);
        }
    }

    /// How many slots are of slabs.
    pub(super) fn in_slabs(&self) -> u32 {
        self.in_slabs
    }

    /// The session of whose slab a slot is.
    pub(super) fn owner(&self, index: SlotIndex) -> Option<SessionIndex> {
        self.slots.get(index.0 as usize).filter(|fact| fact.owner != 0).map(|fact| SessionIndex(fact.owner))
    }

    /// The slots of slabs: of one session, or of all.
    pub(super) fn slabs(&self, of: Option<SessionIndex>) -> Vec<SlotIndex> {
        if self.in_slabs == 0 {
            return Vec::new();
        }
        let is_one = |fact: &Fact| of.map_or(fact.owner != 0, |owner| fact.owner == owner.0);
        (0..).map(SlotIndex).zip(&self.slots).filter(|(_, fact)| is_one(fact)).map(|(index, _)| index).collect()
    }

    /// From now on nobody makes a slot anew: what it says is known as of any other.
    pub(super) fn disown(&mut self, index: SlotIndex, slot: &Slot) {
        if self.owner(index).is_none() {
            return;
        }
        let in_order = self.examine(index, slot);
        let words = Words::read(slot);
        if let Some(fact) = self.slots.get_mut(index.0 as usize) {
            fact.owner = 0;
            self.in_slabs -= 1;
            if in_order {
                words.confirm(slot);
                (fact.generation, fact.digest) = (words.generation.0, words.digest());
            }
        }
    }

    /// Writes another offset into a slot in use, which a hosted object has for what is kept of it. Returns whether the slot was in order.
    pub(super) fn note_offset(&mut self, index: SlotIndex, slot: &Slot, offset: u64) -> bool {
        let words = Words::read(slot);
        match self.slots.get_mut(index.0 as usize) {
            Some(fact) if fact.in_use && fact.digest == words.digest() => {
                fact.digest = Words { offset, ..words }.digest();
                // Release: whoever takes the region over sees what the offset names.
                slot.offset.store(offset, Ordering::Release);
                true
            }
            _ => false,
        }
    }

    pub(super) fn is_in_use(&self, index: SlotIndex) -> bool {
        self.slots.get(index.0 as usize).is_some_and(|fact| fact.in_use)
    }

    /// Notes that a slot is free. Returns its type's number if it was in use.
    pub(super) fn end_use(&mut self, index: SlotIndex) -> Option<u32> {
        let fact = self.slots.get_mut(index.0 as usize)?;
        std::mem::take(&mut fact.in_use).then_some(fact.type_index)
    }

    pub(super) fn is_damaged(&self, index: SlotIndex) -> bool {
        self.damaged.contains_key(&index)
    }

    /// How many slots are out of use.
    pub(super) fn damaged(&self) -> u32 {
        self.damaged.len() as u32
    }

    /// Why each of them is.
    pub(super) fn findings(&self) -> impl Iterator<Item = String> {
        self.damaged.iter().map(|(index, what)| format!("slot {}: {what}", index.0))
    }

    /// Compares a slot with what is known of it; takes it out of use if they differ. Returns whether it is in order.
    pub(super) fn examine(&mut self, index: SlotIndex, slot: &Slot) -> bool {
        let Some(fact) = self.slots.get(index.0 as usize) else { return false };
        if self.is_damaged(index) {
            return false;
        }
        let (words, refs) = read(slot);
        let state = refs.state();
        let is_known = if fact.owner == 0 {
            words.digest() == fact.digest && words.are_sound(slot)
        } else {
            let is_whole = words.are_sound(slot) || matches!(state, State::Dead(_)) && are_being_renewed(&words, slot);
            // Or it has changed meanwhile, again and again.
            slot.refs.load(Ordering::Acquire) != refs.0
                || is_whole && words.shape() == fact.digest && words.generation.0 >= fact.generation
        };
        let what = if !is_known {
            format!("it says {words:?}, which was not written by the broker")
        } else if (state == State::Free) == fact.in_use {
            format!("it says that it is {state:?}, which it was not made by the broker")
        } else {
            return true;
        };
        self.quarantine(index, slot, what);
        false
    }

    /// Takes a slot out of use.
    pub(super) fn quarantine(&mut self, index: SlotIndex, slot: &Slot, what: String) {
        tracing::error!(slot = index.0, what, "a slot is damaged and out of use until the end of this broker");
        slot.flags.fetch_or(DAMAGED, Ordering::Relaxed);
        self.damaged.insert(index, what);
    }
}

/// What a slot says, and its `refs`: of one moment, unless it changes again and again.
fn read(slot: &Slot) -> (Words, Refs) {
    look(slot, Words::read).unwrap_or_else(|| {
        let refs = Refs(slot.refs.load(Ordering::Acquire));
        (Words::read(slot), refs)
    })
}

/// What `read` makes of a slot that others change meanwhile, and its `refs`, of one moment. `None`: it changes again and again.
pub(super) fn look<R>(slot: &Slot, read: impl Fn(&Slot) -> R) -> Option<(R, Refs)> {
    let mut refs = Refs(slot.refs.load(Ordering::Acquire));
    for _ in 0..MOST_LOOKS {
        let found = read(slot);
        // Pairs with the release of who makes it anew, or has killed it: if `refs` is the same, so was what was read.
        fence(Ordering::Acquire);
        let again = Refs(slot.refs.load(Ordering::Acquire));
        if again == refs {
            return Some((found, refs));
        }
        refs = again;
    }
    None
}

/// Whether this is a slot whose owner is making it anew: its digest may be read before it is written, or its generation.
fn are_being_renewed(words: &Words, slot: &Slot) -> bool {
    words.are_renewed(slot) || words.renewed().is_some_and(|next| next.are_sound(slot))
}
