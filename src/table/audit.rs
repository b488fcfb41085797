//! Recomputes pins from the references that are really stored. A crash in the middle of a move leaves one pin too many; nothing else.

use std::collections::{HashMap, HashSet};

use super::counting::Counting;
use super::refs::Refs;
use super::{channels, names, sessions, tickets};
use crate::region::{ObjectId, Region, SessionIndex, SlotIndex};
use crate::sync::atomic::{AtomicU32, Ordering, fence};

/// What one audit did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Audited {
    /// Slots whose pins were put right.
    pub(crate) repaired: u32,
    /// Objects that died because their last reference had been a wrong pin.
    pub(crate) freed: u32,
    /// Slots that a living process was moving a reference to. They must be looked at again.
    pub(crate) busy: Vec<SlotIndex>,
}

/// Audits the given slots, as the broker, and checks each. `lane` is free.
///
/// `channels` tells, when `refs` was read, the slots that may have one.
///
/// Order (R17, R18, R96): read `refs`; see that no lane names the slot; count the stored references; see again that no lane does; swap `refs` from the value read. A count that is
/// equal is believed only if `refs` still has that value: a reference may have been stored in between.
pub(crate) fn audit(
    region: &Region,
    slots: &[SlotIndex],
    channels: impl FnOnce() -> Vec<SlotIndex>,
    lane: &AtomicU32,
) -> Audited {
    let counting = Counting::new(region, SessionIndex::BROKER);
    let mut audited = Audited::default();
    let before: Vec<(ObjectId, Refs)> = slots
        .iter()
        .filter_map(|slot| {
            let words = region.slot(*slot)?;
            let refs = Refs(words.refs.load(Ordering::Acquire));
            refs.is_live().then(|| Some((region.id_of(*slot)?, refs)))?
        })
        .collect();
    if before.is_empty() {
        return audited;
    }
    let mut moving = slots_in_lanes(region);
    let stored = stored_references(region, &channels());
    // One who takes from a channel moves no epoch before: it has its lane set, or it has taken its pin away.
    moving.extend(slots_in_lanes(region));
    // Names that have gone were seen to be gone: whoever sees their pins gone after this sees who has taken them before (R110).
    fence(Ordering::SeqCst);
    for (id, refs) in before {
        let Some(slot) = region.slot(id.slot()) else { continue };
        let counted = stored.get(&id).copied().unwrap_or(0);
        let is_right = counted == refs.pins();
        let confirmed = !moving.contains(&id.slot())
            && if is_right {
                slot.refs.load(Ordering::Acquire) == refs.0
            } else {
                let right = refs.live(counted).0;
                slot.refs.compare_exchange(refs.0, right, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            };
        if !confirmed {
            audited.busy.push(id.slot());
        } else if !is_right {
            audited.repaired += 1;
            tracing::info!(object = %id, was = refs.pins(), now = counted, "pins put right");
        }
        if counting.check(id.slot(), lane) {
            audited.freed += 1;
        }
    }
    region.header().repaired.fetch_add(u64::from(audited.repaired), Ordering::Relaxed);
    audited
}

/// How many references each object has that no process holds.
pub(crate) fn stored_references(region: &Region, channels: &[SlotIndex]) -> HashMap<ObjectId, u32> {
    let mut stored = HashMap::new();
    let tickets = tickets::live(region).map(|ticket| ticket.object);
    let names = names::all(region).map(|name| name.object);
    let references = tickets.chain(names).chain(channels::held(region, channels));
    for object in references {
        *stored.entry(object).or_default() += 1;
    }
    stored
}

/// The slots that are named in a lane of any session.
pub(crate) fn slots_in_lanes(region: &Region) -> HashSet<SlotIndex> {
    sessions::attached(region)
        .filter_map(|record| region.session(record.index))
        .flat_map(|entry| entry.lanes.iter())
        .filter_map(|lane| lane.load(Ordering::Acquire).checked_sub(1))
        .map(SlotIndex)
        .collect()
}
