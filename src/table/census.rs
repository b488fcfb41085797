//! Who holds what: an exact account, read by any process without stopping another.

use super::channels;
use super::counting::{self, SessionState};
use super::refs::{Refs, State};
use super::sessions::{self, SessionRecord};
use super::types::TypeRecord;
use super::words::Words;
use crate::region::layout::{DAMAGED, FROZEN, SEALED};
use crate::region::{ObjectId, Region, SlotIndex};
use crate::sync::atomic::Ordering;

/// A live object, as the tables have it.
#[derive(Debug, Clone)]
pub(crate) struct ObjectRecord {
    pub(crate) id: ObjectId,
    /// Number of the kind: see `object::Kind`.
    pub(crate) kind: u32,
    pub(crate) type_record: Option<TypeRecord>,
    /// Bytes of payload.
    pub(crate) len: u64,
    pub(crate) sealed: bool,
    pub(crate) pins: u32,
    /// Of a channel: how many objects are in it, and how many there is room for.
    pub(crate) fill: Option<(u64, u64)>,
    pub(crate) holders: Vec<Holding>,
}

/// What one process holds of an object.
#[derive(Debug, Clone)]
pub(crate) struct Holding {
    pub(crate) session: SessionRecord,
    pub(crate) proxies: u32,
    pub(crate) readers: u32,
}

/// Objects that are alive.
pub(crate) fn count(region: &Region) -> u64 {
    (0..region.slots_used())
        .filter_map(|index| region.slot(SlotIndex(index)))
        .filter(|slot| Refs(slot.refs.load(Ordering::Acquire)).is_live())
        .count() as u64
}

/// Objects ever created: each generation of a slot was one, but for grants that nobody has claimed.
pub(crate) fn created(region: &Region) -> u64 {
    let generations = (0..region.slots_used()).filter_map(|index| {
        let slot = region.slot(SlotIndex(index))?;
        let is_granted = matches!(Refs(slot.refs.load(Ordering::Acquire)).state(), State::Granted(_));
        Some(u64::from(slot.generation.load(Ordering::Relaxed)).saturating_sub(is_granted.into()))
    });
    generations.sum::<u64>().saturating_sub(region.header().withdrawn.load(Ordering::Relaxed))
}

/// All live objects, in the order of their slots.
pub(crate) fn objects(region: &Region) -> impl Iterator<Item = ObjectRecord> {
    let attached: Vec<SessionRecord> = sessions::attached(region).collect();
    (0..region.slots_used()).filter_map(move |index| read(region, SlotIndex(index), &attached))
}

/// One live object.
pub(crate) fn object(region: &Region, id: ObjectId) -> Option<ObjectRecord> {
    let attached: Vec<SessionRecord> = sessions::attached(region).collect();
    (id.slot().0 < region.slots_used()).then(|| read(region, id.slot(), &attached))?.filter(|record| record.id == id)
}

fn read(region: &Region, index: SlotIndex, attached: &[SessionRecord]) -> Option<ObjectRecord> {
    let slot = region.slot(index)?;
    let refs = Refs(slot.refs.load(Ordering::Acquire));
    if !refs.is_live() {
        return None;
    }
    let id = region.id_of(index)?;
    let holders = attached
        .iter()
        .filter(|session| region.cell_is_reserved(session.index, index))
        .filter_map(|session| {
            let cell = region.cell(session.index, index)?.load(Ordering::Acquire);
            (cell != 0).then(|| Holding {
                session: session.clone(),
                proxies: counting::proxies(cell),
                readers: counting::readers(cell),
            })
        })
        .collect();
    let record = ObjectRecord {
        id,
        kind: slot.kind.load(Ordering::Relaxed).into(),
        type_record: TypeRecord::read(region, slot.type_index.load(Ordering::Relaxed)),
        len: slot.len.load(Ordering::Relaxed),
        sealed: slot.flags.load(Ordering::Relaxed) & SEALED != 0,
        pins: refs.pins(),
        fill: channels::words(region, index).map(|words| (words.ring().len() as u64, words.entries.len() as u64)),
        holders,
    };
    // Whoever reads without a hold may have read parts of two.
    (region.id_of(index) == Some(id)).then_some(record)
}

/// What is wrong in a region, in words. Living processes may be in the middle of something: what is told twice in a row is damage.
pub(crate) fn findings(region: &Region, broker_is_alive: bool) -> Vec<String> {
    let mut found = Vec::new();
    let stored = super::audit::stored_references(region, &channels::all(region));
    let moving = super::audit::slots_in_lanes(region);
    let attached: Vec<SessionRecord> = sessions::attached(region).collect();
    let mut extents = Vec::new();
    for index in (0..region.slots_used()).map(SlotIndex) {
        let Some(slot) = region.slot(index) else { continue };
        let refs = Refs(slot.refs.load(Ordering::Acquire));
        let Some(id) = region.id_of(index) else { continue };
        let cells: Vec<(u16, u64)> = attached
            .iter()
            .filter(|session| region.cell_is_reserved(session.index, index))
            .filter_map(|session| Some((session.index.0, region.cell(session.index, index)?.load(Ordering::Acquire))))
            .collect();
        let counted: u64 = cells
            .iter()
            .map(|(_, cell)| u64::from(counting::proxies(*cell)) + u64::from(counting::readers(*cell)))
            .sum();
        for (session, cell) in cells.iter().filter(|(_, cell)| !counting::is_consistent(*cell)) {
            found.push(format!("object {id}: the count of session {session} is damaged: {cell:#x}"));
        }
        if slot.flags.load(Ordering::Relaxed) & DAMAGED != 0 {
            found.push(format!("slot {}: damaged, and out of use until the end of its broker", index.0));
            continue;
        }
        if !Words::read(slot).are_sound(slot) && refs.is_live() && slot.refs.load(Ordering::Acquire) == refs.0 {
            found.push(format!("object {id}: its slot has words that no broker has written"));
        }
        match refs.state() {
            State::Live => {
                let (offset, len) = (slot.offset.load(Ordering::Relaxed), slot.len.load(Ordering::Relaxed));
                // One without bytes, as a hosted object, lies nowhere, and a frozen one lies elsewhere.
                if len > 0 && u32::from(slot.kind.load(Ordering::Relaxed)) != FROZEN {
                    extents.push((offset, len, id));
                    if region.payload(crate::region::Offset(offset), len).is_none() {
                        found.push(format!("object {id}: its {len} bytes at {offset} are not inside the heap"));
                    }
                }
                let type_index = slot.type_index.load(Ordering::Relaxed);
                if TypeRecord::read(region, type_index).is_none() {
                    found.push(format!("object {id}: there is no type {type_index}"));
                }
                let references = stored.get(&id).copied().unwrap_or(0);
                if references != refs.pins() && !moving.contains(&index) {
                    found.push(format!(
                        "object {id}: {} pins, but {references} tickets, names and entries of channels",
                        refs.pins()
                    ));
                }
                if counted == 0 && refs.pins() == 0 {
                    found.push(format!("object {id}: alive, but nobody holds it"));
                }
            }
            State::Free if counted != 0 => found.push(format!("slot {}: free, but {counted} counts on it", index.0)),
            State::Dead(winner) if !broker_is_alive && !moving.contains(&index) => {
                // Dead and on its way back: the next broker frees it. Nothing is lost, so nothing is wrong.
                tracing::debug!(slot = index.0, winner = winner.0, "dead, waiting for a broker");
            }
            _ => {}
        }
    }
    extents.sort_unstable_by_key(|(offset, ..)| *offset);
    for pair in extents.windows(2) {
        let [(offset, len, first), (next, _, second)] = pair else { continue };
        if offset.saturating_add(*len) > *next {
            found.push(format!("objects {first} and {second} share bytes from {next} on"));
        }
    }
    for object in stored.keys().filter(|object| {
        region.slot(object.slot()).is_none_or(|slot| {
            !Refs(slot.refs.load(Ordering::Acquire)).is_live() || region.id_of(object.slot()) != Some(**object)
        })
    }) {
        found.push(format!("a ticket, name or channel refers to object {object}, which is gone"));
    }
    for name in super::names::all(region) {
        if super::names::find(region, &name.name).is_none_or(|found| found.object != name.object) {
            found.push(format!("the name {:?} stands where nobody finds it", name.name));
        }
    }
    for (index, by) in tickets_of_the_dead(region) {
        found.push(format!("ticket {index} is being built by session {by}, which is not attached"));
    }
    if broker_is_alive {
        for session in &attached {
            let gone = !session.lives();
            if gone && session.state == SessionState::Active {
                found.push(format!(
                    "session {} of process {} ({}) is gone and not swept",
                    session.index.0, session.pid, session.comm
                ));
            }
        }
    }
    found
}

fn tickets_of_the_dead(region: &Region) -> Vec<(u32, u16)> {
    super::tickets::building(region)
        .filter(|(_, by)| sessions::read(region, *by).is_none_or(|record| record.state == SessionState::Free))
        .map(|(index, by)| (index, by.0))
        .collect()
}
