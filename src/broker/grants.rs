//! The books of the heap and of the slots: what is granted to whom. Private memory; what clients may write is only believed where it can do no harm.

use std::sync::Arc;

use crate::control::message::{Create, Granted};
use crate::error::{Error, ErrorKind, Result};
use crate::heap::{Extent, Extents, GRAIN};
use crate::object::Kind;
use crate::region::layout::{FILLED, MAX_OBJECTS, PAGE, Slot};
use crate::region::{Generation, ObjectId, Offset, Region, SessionIndex, SlotIndex};
use crate::sync::atomic::Ordering;
use crate::table::refs::{Refs, State};
use crate::table::types::TypeRecord;

/// Slots whose memory is reserved at once: 64 KiB.
const SLOTS_AT_ONCE: u32 = 1024;
/// Memory that is reserved at once for small objects.
const SMALL_AT_ONCE: u64 = 64 * PAGE;
/// Free memory that stays warm, since a first touch costs microseconds a page; the rest goes back to the system.
const WARM_LIMIT: u64 = 256 << 20;
/// Bytes given back in one go, so that clients do not wait for long.
const COOL_AT_ONCE: u64 = 16 << 20;

/// A grant that a connection was told about and whose claim has not been seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    slot: SlotIndex,
    refs: Refs,
}

/// What a slot stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Free, or an object without bytes.
    Nothing,
    Bytes(Extent),
    /// An object of a class.
    Hosted(ObjectId),
}

pub(super) struct Grants {
    region: Arc<Region>,
    heap: Extents,
    /// What each slot that has been used stands for; what the slot itself says may have been changed by others.
    contents: Vec<Content>,
    free_slots: Vec<SlotIndex>,
    /// Hosted objects whose slots were freed, to be dropped by the host.
    buried: Vec<ObjectId>,
    /// Whether memory was freed since the heap was last cooled.
    may_cool: bool,
}

impl Grants {
    pub(super) fn new(region: Arc<Region>) -> Self {
        let heap = Extents::new(region.capacities().heap);
        Self { region, heap, contents: Vec::new(), free_slots: Vec::new(), buried: Vec::new(), may_cool: false }
    }

    /// The books of a region that is taken over, as its slots tell them. A slot that can't be right keeps its bytes out of use for good.
    pub(super) fn of_slots(region: Arc<Region>) -> Self {
        let used = region.header().slots_used.load(Ordering::Acquire).min(region.capacities().objects);
        let mut contents = vec![Content::Nothing; used as usize];
        let mut free_slots = Vec::new();
        let mut extents = Vec::new();
        for index in (0..used).map(SlotIndex) {
            let Some(slot) = region.slot(index) else { break };
            if Refs(slot.refs.load(Ordering::Acquire)).state() == State::Free {
                if slot.generation.load(Ordering::Relaxed) < u32::MAX - 1 {
                    free_slots.push(index);
                }
            } else if slot.kind.load(Ordering::Relaxed) == Kind::Hosted as u32 {
                let generation = Generation(slot.generation.load(Ordering::Relaxed));
                contents[index.0 as usize] = Content::Hosted(ObjectId::new(index, generation));
            } else if let Some(extent) = extent_of(&region, slot) {
                extents.push((extent, index));
            } else if slot.len.load(Ordering::Relaxed) != 0 {
                tracing::error!(slot = index.0, "the bytes of an object are not inside the heap; it is left alone");
            }
        }
        extents.sort_unstable_by_key(|(extent, _)| extent.start);
        let apart = apart(extents, |extent, index| contents[index.0 as usize] = Content::Bytes(extent));
        let mut heap = Extents::around(region.capacities().heap, apart);
        for (start, len) in region.resident_heap() {
            heap.set_present(Extent { start, len: len.min(heap.capacity().saturating_sub(start)) });
        }
        Self { region, heap, contents, free_slots, buried: Vec::new(), may_cool: true }
    }

    /// How many slots have ever been used.
    pub(super) fn slots(&self) -> u32 {
        self.contents.len() as u32
    }

    /// The hosted objects that have slots.
    pub(super) fn hosted(&self) -> impl Iterator<Item = ObjectId> {
        self.contents.iter().filter_map(|content| match content {
            Content::Hosted(id) => Some(*id),
            _ => None,
        })
    }

    pub(super) fn heap(&self) -> &Extents {
        &self.heap
    }

    /// Grants an object to a session. Nothing is counted yet: the client counts, then claims.
    pub(super) fn create(&mut self, create: &Create, to: SessionIndex) -> Result<(Granted, Pending)> {
        let invalid = |what: String| Error::new(ErrorKind::InvalidArgument, what);
        let kind =
            Kind::from_number(create.kind).ok_or_else(|| invalid(format!("there is no kind {}", create.kind)))?;
        if !create.align.is_power_of_two() || create.align > PAGE {
            // Every process maps the region elsewhere, at some page.
            return Err(
                invalid(format!("nothing can be aligned to {}", create.align)).help("use a power of two up to 4096")
            );
        }
        self.take_back();
        let record = TypeRecord {
            name: create.type_name.clone(),
            fingerprint: create.type_fingerprint,
            size: create.element_size,
            align: create.element_align,
        };
        let type_index = record.intern(&self.region)?;
        let index = self.free_slot()?;
        let extent = match self.allocate(create.len, create.align) {
            Ok(extent) => extent,
            Err(error) => {
                self.free_slots.push(index);
                return Err(error);
            }
        };
        let warm = extent.is_none_or(|extent| self.heap.is_present(extent));
        let region = Arc::clone(&self.region);
        let Some(slot) = region.slot(index) else { return Err(invalid(format!("there is no slot {}", index.0))) };
        let generation = Generation(slot.generation.load(Ordering::Relaxed) + 1);
        let offset = extent.map_or(0, |extent| region.map().heap + extent.start);
        write_slot(slot, generation, create, type_index, offset, to);
        let refs = Refs(slot.refs.load(Ordering::Relaxed)).granted(to);
        // Release: whoever sees the slot granted, or anything later, sees the words above. Only the broker changes a free slot.
        slot.refs.store(refs.0, Ordering::Release);
        let id = ObjectId::new(index, generation);
        self.contents[index.0 as usize] = match extent {
            Some(extent) => Content::Bytes(extent),
            None if kind == Kind::Hosted => Content::Hosted(id),
            None => Content::Nothing,
        };
        region.header().granted.fetch_add(1, Ordering::Relaxed);
        Ok((Granted { object: id.to_bits(), refs: refs.0, warm: u64::from(warm) }, Pending { slot: index, refs }))
    }

    /// Takes a grant back that was never claimed.
    pub(super) fn withdraw(&mut self, pending: Pending) {
        let region = Arc::clone(&self.region);
        let Some(slot) = region.slot(pending.slot) else { return };
        let dead = pending.refs.dead(SessionIndex::BROKER);
        if slot.refs.compare_exchange(pending.refs.0, dead.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.free(pending.slot);
        }
    }

    /// Frees a slot that was granted and not claimed, or is dead, unless it is `returned` by its winner. Returns whether it will be.
    pub(super) fn settle(&mut self, index: SlotIndex, returned: impl FnOnce(SessionIndex) -> bool) -> bool {
        let Some(refs) = self.region.slot(index).map(|slot| Refs(slot.refs.load(Ordering::Acquire))) else {
            return false;
        };
        match refs.state() {
            State::Granted(_) => self.withdraw(Pending { slot: index, refs }),
            State::Dead(winner) if returned(winner) => return true,
            State::Dead(winner) => self.finish(index, winner),
            _ => {}
        }
        false
    }

    /// The hosted objects that have died since this was last asked.
    pub(super) fn buried(&mut self) -> Vec<ObjectId> {
        std::mem::take(&mut self.buried)
    }

    fn free_slot(&mut self) -> Result<SlotIndex> {
        if let Some(index) = self.free_slots.pop() {
            return Ok(index);
        }
        const { assert!(MAX_OBJECTS < u32::MAX) };
        let index = self.contents.len() as u32;
        let most = self.region.capacities().objects;
        if index >= most {
            return Err(Error::new(ErrorKind::TableFull, format!("all {most} objects are in use"))
                .help("free objects, or start the broker with more"));
        }
        if index.is_multiple_of(SLOTS_AT_ONCE) {
            let size = size_of::<Slot>() as u64;
            let count = u64::from(SLOTS_AT_ONCE.min(most - index));
            self.region.reserve(Offset(self.region.map().slots + u64::from(index) * size), count * size)?;
        }
        self.contents.push(Content::Nothing);
        self.region.header().slots_used.store(index + 1, Ordering::Release);
        Ok(SlotIndex(index))
    }

    fn allocate(&mut self, len: u64, align: u64) -> Result<Option<Extent>> {
        if len == 0 {
            return Ok(None);
        }
        let extent = self.heap.allocate(len, align).ok_or_else(|| {
            Error::new(
                ErrorKind::RegionFull,
                format!(
                    "there is no room for {len} bytes: the largest free piece has {}, {} of {} are free",
                    self.heap.largest(),
                    self.heap.free_bytes(),
                    self.heap.capacity()
                ),
            )
            .help("free objects, or start the broker with a larger capacity")
        })?;
        if extent.len < PAGE && !self.heap.is_present(extent) {
            let start = extent.start / PAGE * PAGE;
            let chunk = Extent { start, len: SMALL_AT_ONCE.min(self.heap.capacity() - start) };
            if let Err(error) = self.region.reserve(Offset(self.region.map().heap + start), chunk.len) {
                self.heap.release(extent);
                return Err(error);
            }
            self.heap.set_present(chunk);
        }
        Ok(Some(extent))
    }

    /// Frees all slots that winners have returned.
    pub(super) fn take_back(&mut self) {
        let region = Arc::clone(&self.region);
        let returned = &region.header().returned;
        // Relaxed: only worth the swap if something is there.
        if returned.load(Ordering::Relaxed) == 0 {
            return;
        }
        // Acquire: pairs with the winners' pushes.
        let mut next = returned.swap(0, Ordering::AcqRel);
        // The links are in memory that others may write: a ring in them ends the walk.
        for _ in 0..self.contents.len() {
            let Some(index) = next.checked_sub(1).map(SlotIndex) else { return };
            let Some(slot) = region.slot(index) else { break };
            next = slot.next.load(Ordering::Relaxed);
            self.free(index);
        }
        if next != 0 {
            tracing::error!(next, "the stack of returned slots is damaged; its rest is lost until the next audit");
        }
    }

    /// Frees a slot that a session has killed and did not return before it ended. What another one has killed, that one returns.
    pub(super) fn finish(&mut self, index: SlotIndex, winner: SessionIndex) {
        let refs = self.region.slot(index).map(|slot| Refs(slot.refs.load(Ordering::Acquire)));
        if refs.is_some_and(|refs| refs.state() == State::Dead(winner)) {
            self.free(index);
        }
    }

    /// Frees a slot if it is dead. Returns whether it was.
    pub(super) fn free(&mut self, index: SlotIndex) -> bool {
        let region = Arc::clone(&self.region);
        let (Some(slot), Some(content)) = (region.slot(index), self.contents.get_mut(index.0 as usize)) else {
            return false;
        };
        let refs = Refs(slot.refs.load(Ordering::Acquire));
        if !matches!(refs.state(), State::Dead(_)) {
            return false;
        }
        match std::mem::replace(content, Content::Nothing) {
            Content::Nothing => {}
            Content::Bytes(extent) => {
                if slot.flags.load(Ordering::Relaxed) & FILLED != 0 {
                    self.heap.set_present(extent);
                }
                if !self.heap.release(extent) {
                    tracing::error!(slot = index.0, ?extent, "the books of the heap are wrong");
                }
                self.may_cool |= extent.len >= PAGE;
            }
            Content::Hosted(id) => self.buried.push(id),
        }
        slot.refs.store(refs.free().0, Ordering::Release);
        // A generation that would start again could be taken for an earlier one: such a slot is never used again.
        if slot.generation.load(Ordering::Relaxed) < u32::MAX - 1 {
            self.free_slots.push(index);
        }
        true
    }

    /// Gives warm memory above the limit back, a bounded amount at a time. Returns whether there may be more.
    pub(super) fn cool(&mut self) -> bool {
        if !self.may_cool {
            return false;
        }
        let limit = WARM_LIMIT.min(self.heap.capacity() / 4);
        let warm = self.heap.warm_bytes();
        if warm > limit
            && let Some(extent) = self.heap.cool(COOL_AT_ONCE.min(warm - limit).next_multiple_of(PAGE))
        {
            self.region.give_back(Offset(self.region.map().heap + extent.start), extent.len);
            return true;
        }
        self.may_cool = false;
        false
    }
}

/// The bytes that a slot says are its own, if it may be so.
fn extent_of(region: &Region, slot: &Slot) -> Option<Extent> {
    let len = slot.len.load(Ordering::Relaxed);
    let start = slot.offset.load(Ordering::Relaxed).checked_sub(region.map().heap)?;
    let footprint = Extents::footprint(len).filter(|_| len > 0)?;
    let is_inside = start.checked_add(footprint)? <= region.capacities().heap / PAGE * PAGE;
    let grain = if footprint < PAGE { GRAIN } else { PAGE };
    (is_inside && start.is_multiple_of(grain)).then_some(Extent { start, len: footprint })
}

/// Extents that do not overlap, from some that come in order. `give` gets those that are one slot's alone.
fn apart(extents: Vec<(Extent, SlotIndex)>, mut give: impl FnMut(Extent, SlotIndex)) -> Vec<Extent> {
    let mut apart: Vec<Extent> = Vec::with_capacity(extents.len());
    let mut owner = None;
    for (extent, slot) in extents {
        match apart.last_mut() {
            Some(last) if last.start + last.len > extent.start => {
                tracing::error!(slot = slot.0, "an object shares its bytes with another; both are left alone");
                last.len = last.len.max(extent.start + extent.len - last.start);
                owner = None;
                continue;
            }
            _ => {}
        }
        if let Some((extent, slot)) = owner.replace((extent, slot)) {
            give(extent, slot);
        }
        apart.push(extent);
    }
    if let Some((extent, slot)) = owner {
        give(extent, slot);
    }
    apart
}

/// Fills the words of a free slot.
fn write_slot(slot: &Slot, generation: Generation, create: &Create, type_index: u32, offset: u64, to: SessionIndex) {
    // Relaxed: the release of `refs` publishes them all.
    slot.generation.store(generation.0, Ordering::Relaxed);
    slot.kind.store(create.kind, Ordering::Relaxed);
    slot.type_index.store(type_index, Ordering::Relaxed);
    slot.offset.store(offset, Ordering::Relaxed);
    slot.len.store(create.len, Ordering::Relaxed);
    slot.holders.store(1 << (to.0 % 64), Ordering::Relaxed);
    for word in [&slot.lock, &slot.seq, &slot.flags, &slot.next] {
        word.store(0, Ordering::Relaxed);
    }
}
