//! The books of the heap and of the slots: what is granted to whom. Private memory; what clients may write is only believed where it can do no harm.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::facts::Facts;
use super::slabs::has_owner;
use crate::control::message::{Create, Granted};
use crate::error::{Error, ErrorKind, Result};
use crate::heap::{Extent, Extents, GRAIN};
use crate::object::Kind;
use crate::region::layout::{CELL, CHANNEL, ChannelHead, FILLED, MAX_OBJECTS, PAGE, Slot};
use crate::region::{Generation, ObjectId, Offset, Region, SessionIndex, SlotIndex};
use crate::sync::atomic::{Ordering, fence};
use crate::sys::frozen::Frozen;
use crate::sys::process;
use crate::table::refs::{Refs, State};
use crate::table::sessions;
use crate::table::tickets;
use crate::table::types::{TypeRecord, Types};
use crate::table::words::Words;

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

impl Pending {
    pub(super) fn new(slot: SlotIndex, refs: Refs) -> Self {
        Self { slot, refs }
    }
}

/// Whom an object is granted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grantee {
    pub(super) session: SessionIndex,
    /// For a slab: the generation of the session, which makes the slot anew when the object has died.
    pub(super) owner: Option<Generation>,
}

impl Grantee {
    /// Of one object.
    pub(super) fn once(session: SessionIndex) -> Self {
        Self { session, owner: None }
    }
}

/// What a slot stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Free, or an object without bytes.
    Nothing,
    Bytes(Extent),
    /// A channel, which may hold others.
    Channel(Extent),
    /// One that is dead and on its way to be emptied, by one who was told so.
    Emptying(Extent),
    /// An object of a class.
    Hosted(ObjectId),
    /// An object whose bytes are in a file of their own.
    Frozen(ObjectId),
}

pub(super) struct Grants {
    pub(super) region: Arc<Region>,
    pub(super) heap: Extents,
    /// What each slot that has been used stands for; what the slot itself says may have been changed by others.
    contents: Vec<Content>,
    /// What each slot is known to say.
    pub(super) facts: Facts,
    types: Types,
    free_slots: Vec<SlotIndex>,
    /// The files of frozen objects.
    files: HashMap<ObjectId, OwnedFd>,
    /// Hosted objects whose slots were freed, to be dropped by the host.
    buried: Vec<ObjectId>,
    /// Dead channels, to be emptied by the host.
    full: Vec<ObjectId>,
    /// Whether memory was freed since the heap was last cooled.
    may_cool: bool,
    /// Whether dead slots may be on nobody's way to the broker, so that they are to be looked for.
    lost: bool,
}

impl Grants {
    pub(super) fn new(region: Arc<Region>) -> Self {
        Self {
            heap: Extents::new(region.capacities().heap),
            types: Types::of(&region),
            region,
            contents: Vec::new(),
            facts: Facts::default(),
            free_slots: Vec::new(),
            files: HashMap::new(),
            buried: Vec::new(),
            full: Vec::new(),
            may_cool: false,
            lost: false,
        }
    }

    /// The books of a region that is taken over, as its slots tell them. A slot that can't be right keeps its bytes out of use for good.
    pub(super) fn of_slots(region: Arc<Region>) -> Self {
        let used = region.slots_used();
        let mut types = Types::of(&region);
        let mut facts = Facts::default();
        let mut contents = vec![Content::Nothing; used as usize];
        let mut free_slots = Vec::new();
        let mut extents = Vec::new();
        for index in (0..used).map(SlotIndex) {
            let Some(slot) = region.slot(index) else { break };
            let is_owned = has_owner(&region, slot);
            let Some(words) = facts.learn(slot, is_owned) else {
                // Looked at again before it is granted.
                if facts.next_generation(index).is_some() {
                    free_slots.push(index);
                }
                continue;
            };
            types.begin_use(words.type_index);
            if words.kind == Kind::Frozen as u32 {
                // Its file was the dead broker's. Who reads it brings it back.
                contents[index.0 as usize] = Content::Frozen(ObjectId::new(index, words.generation));
            } else if words.kind == Kind::Hosted as u32 {
                contents[index.0 as usize] = Content::Hosted(ObjectId::new(index, words.generation));
            } else if let Some(extent) = extent_of(&region, &words) {
                extents.push((extent, index));
            } else if words.len != 0 {
                tracing::error!(slot = index.0, "the bytes of an object are not inside the heap; it is left alone");
            }
        }
        extents.sort_unstable_by_key(|(extent, _)| extent.start);
        let apart = apart(extents, |extent, index| {
            let is_channel = region.slot(index).is_some_and(|slot| Words::read(slot).kind == CHANNEL);
            let content = if is_channel { Content::Channel(extent) } else { Content::Bytes(extent) };
            contents[index.0 as usize] = content;
        });
        let mut heap = Extents::around(region.capacities().heap, apart);
        for (start, len) in region.resident_heap() {
            heap.set_present(Extent { start, len: len.min(heap.capacity().saturating_sub(start)) });
        }
        Self {
            region,
            heap,
            contents,
            facts,
            types,
            free_slots,
            files: HashMap::new(),
            buried: Vec::new(),
            full: Vec::new(),
            may_cool: true,
            lost: false,
        }
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

    /// How many slots are free, or were never used.
    pub(super) fn spare_slots(&self) -> u64 {
        let unused = self.region.capacities().objects.saturating_sub(self.slots());
        u64::from(unused) + self.free_slots.len() as u64
    }

    /// Bytes of the heap that a slot has.
    pub(super) fn bytes_of(&self, index: SlotIndex) -> u64 {
        match self.contents.get(index.0 as usize) {
            Some(Content::Bytes(extent)) => extent.len,
            _ => 0,
        }
    }

    /// The slots that have channels, dead ones too that have yet to be emptied.
    pub(super) fn channels(&self) -> Vec<SlotIndex> {
        let is_channel = |content: &Content| matches!(content, Content::Channel(_) | Content::Emptying(_));
        (0..)
            .map(SlotIndex)
            .zip(&self.contents)
            .filter(|(_, content)| is_channel(content))
            .map(|(index, _)| index)
            .collect()
    }

    pub(super) fn heap(&self) -> &Extents {
        &self.heap
    }

    /// Grants an object to a session. Nothing is counted yet: the client counts, then claims.
    pub(super) fn create(&mut self, create: &Create, to: SessionIndex) -> Result<(Granted, Pending)> {
        self.take_back();
        match self.create_for(create, Grantee::once(to)) {
            // What sessions keep for what they create next is there for everybody.
            Err(error) if is_full(&error) && self.reclaim() => self.create_for(create, Grantee::once(to)),
            created => created,
        }
    }

    /// Grants an object, if there is room.
    pub(super) fn create_for(&mut self, create: &Create, to: Grantee) -> Result<(Granted, Pending)> {
        let invalid = |what: String| Error::new(ErrorKind::InvalidArgument, what);
        let kind =
            Kind::from_number(create.kind).ok_or_else(|| invalid(format!("there is no kind {}", create.kind)))?;
        if !create.align.is_power_of_two() || create.align > PAGE {
            // Every process maps the region elsewhere, at some page.
            return Err(
                invalid(format!("nothing can be aligned to {}", create.align)).help("use a power of two up to 4096")
            );
        }
        if kind == Kind::Channel && !is_ring(create.len) {
            return Err(invalid(format!("a channel can't have {} bytes", create.len)));
        }
        let record = TypeRecord {
            name: create.type_name.clone(),
            fingerprint: create.type_fingerprint,
            size: create.element_size,
            align: create.element_align,
        };
        let type_index = self.types.intern(&self.region, record)?;
        let index = self.free_slot()?;
        let len = if kind == Kind::Frozen { 0 } else { create.len };
        let extent = match self.allocate(len, create.align) {
            Ok(extent) => extent,
            Err(error) => {
                self.free_slots.push(index);
                return Err(error);
            }
        };
        let region = Arc::clone(&self.region);
        let (Some(slot), Some(generation)) = (region.slot(index), self.facts.next_generation(index)) else {
            return Err(invalid(format!("there is no slot {}", index.0)));
        };
        let warm = extent.is_none_or(|extent| self.heap.is_present(extent));
        let offset = extent.map_or(0, |extent| region.map().heap + extent.start);
        let owner = to.owner.map_or(SessionIndex::BROKER, |_| to.session);
        let words = Words { generation, kind: create.kind, owner, type_index, offset, len: create.len };
        write_slot(slot, &words, to);
        self.facts.note(index, &words);
        self.types.begin_use(type_index);
        let refs = Refs(slot.refs.load(Ordering::Relaxed)).granted(to.session);
        // Release: whoever sees the slot granted, or anything later, sees the words above. Only the broker changes a free slot.
        slot.refs.store(refs.0, Ordering::Release);
        let id = ObjectId::new(index, generation);
        self.contents[index.0 as usize] = match extent {
            Some(extent) if kind == Kind::Channel => Content::Channel(extent),
            Some(extent) => Content::Bytes(extent),
            None if kind == Kind::Hosted => Content::Hosted(id),
            None if kind == Kind::Frozen => Content::Frozen(id),
            None => Content::Nothing,
        };
        let granted = Granted { object: id.to_bits(), refs: refs.0, offset, warm: u64::from(warm) };
        Ok((granted, Pending::new(index, refs)))
    }

    /// Grants an object whose bytes are in a file, which is kept for those who ask for it.
    pub(super) fn create_frozen(
        &mut self,
        create: &Create,
        file: OwnedFd,
        to: SessionIndex,
    ) -> Result<(Granted, Pending)> {
        let number = Frozen::check(&file, create.len)?;
        self.check_descriptors()?;
        let (granted, pending) = self.create(create, to)?;
        let id = ObjectId::from_bits(granted.object);
        if let Some(slot) = self.region.slot(id.slot()) {
            // Relaxed: for the next broker.
            slot.seq.store(number, Ordering::Relaxed);
        }
        self.files.insert(id, file);
        Ok((granted, pending))
    }

    /// Takes the file of a frozen object back from one who reads it, if the broker before had it.
    ///
    /// # Errors
    /// `Gone` if there is no such object; `Refused` if it is not its file; `TableFull`.
    pub(super) fn take_file(&mut self, id: ObjectId, file: OwnedFd) -> Result<()> {
        if self.contents.get(id.slot().0 as usize) != Some(&Content::Frozen(id)) {
            return Err(tickets::gone(id));
        }
        let number = Frozen::check(&file, Words::of(&self.region, id)?.len)?;
        let is_its = self.region.slot(id.slot()).is_some_and(|slot| slot.seq.load(Ordering::Relaxed) == number);
        if !is_its {
            return Err(Error::new(ErrorKind::Refused, format!("what was brought is not the file of object {id}")));
        }
        if !self.files.contains_key(&id) {
            self.check_descriptors()?;
            self.files.insert(id, file);
        }
        Ok(())
    }

    /// Whether somebody may have the file of a frozen object that is not here.
    pub(super) fn lacks_files(&self) -> bool {
        self.contents.iter().any(|content| matches!(content, Content::Frozen(id) if !self.files.contains_key(id)))
    }

    fn check_descriptors(&self) -> Result<()> {
        let most = process::descriptor_limit() / 2;
        if (self.files.len() as u64) < most && process::has_descriptors() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TableFull,
            format!("the broker has descriptors for {most} frozen objects and no more"),
        )
        .help("free some, or raise the limit of open files of the broker: `ulimit -n`"))
    }

    /// The file of a frozen object.
    pub(super) fn file(&self, id: ObjectId) -> Option<BorrowedFd<'_>> {
        self.files.get(&id).map(AsFd::as_fd)
    }

    /// Whether an object of this size would have room if there were no other.
    pub(super) fn could_hold(&self, create: &Create) -> bool {
        create.len.checked_next_multiple_of(PAGE).is_some_and(|len| len <= self.heap.capacity())
    }

    /// Takes a grant back that was never claimed.
    pub(super) fn withdraw(&mut self, pending: Pending) {
        if self.win(pending.slot, pending.refs) && self.free(pending.slot) {
            self.region.header().withdrawn.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes what is granted or dead the broker's, if `refs` is still this. Returns whether it was.
    fn win(&self, index: SlotIndex, refs: Refs) -> bool {
        let dead = refs.dead(SessionIndex::BROKER);
        let swap = |slot: &Slot| slot.refs.compare_exchange(refs.0, dead.0, Ordering::AcqRel, Ordering::Relaxed);
        self.region.slot(index).is_some_and(|slot| swap(slot).is_ok())
    }

    /// Frees a slot that was granted and not claimed, or is dead, unless it is `returned` by its winner. Returns whether it will be.
    pub(super) fn settle(&mut self, index: SlotIndex, returned: impl FnOnce(SessionIndex) -> bool) -> bool {
        let Some(refs) = self.region.slot(index).map(|slot| Refs(slot.refs.load(Ordering::Acquire))) else {
            return false;
        };
        match refs.state() {
            // Of a slab whose owner lives: he goes on with it. What is dead in it is looked for.
            State::Granted(_) if self.facts.owner(index).is_some() => {}
            State::Dead(winner) if self.facts.owner(index).is_some() => {
                self.lost |= self.facts.owner(index) != Some(winner)
            }
            State::Granted(_) => self.withdraw(Pending::new(index, refs)),
            State::Dead(winner) if returned(winner) => return true,
            State::Dead(winner) => self.finish(index, winner),
            _ => {}
        }
        false
    }

    /// Has the slot of a hosted object name what is kept of it.
    pub(super) fn keep(&mut self, id: ObjectId, kept: ObjectId) -> Result<()> {
        let region = Arc::clone(&self.region);
        let is_noted =
            region.slot(id.slot()).is_some_and(|slot| self.facts.note_offset(id.slot(), slot, kept.to_bits()));
        is_noted
            .then_some(())
            .ok_or_else(|| Error::new(ErrorKind::Damaged, format!("the slot of object {id} was overwritten")))
    }

    /// The hosted objects that have died since this was last asked.
    pub(super) fn buried(&mut self) -> Vec<ObjectId> {
        std::mem::take(&mut self.buried)
    }

    /// The channels that have died since this was last asked. Whoever asks empties them.
    pub(super) fn full(&mut self) -> Vec<ObjectId> {
        std::mem::take(&mut self.full)
    }

    /// Frees a channel that was emptied.
    pub(super) fn free_emptied(&mut self, id: ObjectId) {
        let content = self.contents.get_mut(id.slot().0 as usize);
        if let Some(content) = content
            && let Content::Emptying(extent) = *content
        {
            *content = Content::Bytes(extent);
            self.free(id.slot());
        }
    }

    /// A slot that is free. One that was changed while nobody had it is in nobody's way from now on.
    fn free_slot(&mut self) -> Result<SlotIndex> {
        loop {
            let index = match self.free_slots.pop() {
                Some(index) => index,
                None => self.further_slot()?,
            };
            if self.region.slot(index).is_some_and(|slot| self.facts.examine(index, slot)) {
                return Ok(index);
            }
        }
    }

    /// A slot that was never used.
    fn further_slot(&mut self) -> Result<SlotIndex> {
        const { assert!(MAX_OBJECTS < u32::MAX) };
        let index = self.contents.len() as u32;
        let most = self.region.capacities().objects;
        if index >= most {
            return Err(Error::new(ErrorKind::TableFull, format!("all {most} objects are in use"))
                .help("free objects, or start the broker with more"));
        }
        let size = size_of::<Slot>() as u64;
        let place = Offset(self.region.map().slots + u64::from(index) * size);
        if !self.region.has_reserved(place, size) {
            self.region.reserve_ahead(place, u64::from(SLOTS_AT_ONCE.min(most - index)) * size)?;
        }
        self.contents.push(Content::Nothing);
        self.facts.add();
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
        let heap = self.region.map().heap;
        // Reserved by this broker itself: what the creator of an earlier object has claimed of these pages need not be true.
        if extent.len < PAGE && !self.region.has_reserved(Offset(heap + extent.start), extent.len) {
            let start = extent.start / PAGE * PAGE;
            let most = SMALL_AT_ONCE.min(self.heap.capacity() - start);
            // It may reach into a second page.
            let reserved = self
                .region
                .reserve_ahead(Offset(heap + start), most)
                .and_then(|len| self.region.reserve(Offset(heap + extent.start), extent.len).map(|()| len));
            match reserved {
                Ok(len) => self.heap.set_present(Extent { start, len }),
                Err(error) => {
                    self.heap.release(extent);
                    return Err(error);
                }
            }
            self.heap.set_present(extent);
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
        let next = returned.swap(0, Ordering::AcqRel);
        // The links are in memory that others may write. Whatever is on the stack is dead and is free afterwards, so a ring in it ends the walk.
        self.free_stack(next, None);
    }

    /// Frees all that is on a stack which was taken, from its head on: the broker's, or that of a session.
    pub(super) fn free_stack(&mut self, mut next: u32, owner: Option<SessionIndex>) {
        let region = Arc::clone(&self.region);
        while let Some(index) = next.checked_sub(1).map(SlotIndex) {
            let is_its = owner.is_none() || self.facts.owner(index) == owner;
            let link = (is_its && self.is_known(index)).then(|| region.slot(index)).flatten();
            let link = link.map(|slot| slot.next.load(Ordering::Relaxed));
            match link {
                Some(link) if self.free(index) => next = link,
                _ => {
                    tracing::error!(
                        slot = index.0,
                        "the stack of returned slots is damaged: what is dead is looked for"
                    );
                    self.lost = true;
                    return;
                }
            }
        }
    }

    fn is_known(&self, index: SlotIndex) -> bool {
        (index.0 as usize) < self.contents.len()
    }

    /// Frees a slot that a session has killed and did not return before it ended. What another one has killed, that one returns. What is of another session's slab may be with that.
    pub(super) fn finish(&mut self, index: SlotIndex, winner: SessionIndex) {
        let refs = self.region.slot(index).map(|slot| Refs(slot.refs.load(Ordering::Acquire)));
        if refs.is_none_or(|refs| refs.state() != State::Dead(winner)) {
            return;
        }
        if self.facts.owner(index).is_some_and(|owner| owner != winner) {
            self.lost = true;
        } else {
            self.free(index);
        }
    }

    /// Frees a slot if it is dead. Returns whether it was.
    pub(super) fn free(&mut self, index: SlotIndex) -> bool {
        let region = Arc::clone(&self.region);
        let Some(slot) = region.slot(index).filter(|_| self.is_known(index)) else { return false };
        let refs = Refs(slot.refs.load(Ordering::Acquire));
        if !matches!(refs.state(), State::Dead(_)) || !self.facts.is_in_use(index) {
            return false;
        }
        match self.contents[index.0 as usize] {
            Content::Channel(extent) => {
                self.contents[index.0 as usize] = Content::Emptying(extent);
                self.full.extend(region.id_of(index));
                return true;
            }
            // It is freed by the one that empties it.
            Content::Emptying(_) => return true,
            _ => {}
        }
        let in_order = self.facts.examine(index, slot);
        self.facts.disown(index, slot);
        if let Some(type_index) = self.facts.end_use(index) {
            self.types.end_use(type_index);
        }
        match std::mem::replace(&mut self.contents[index.0 as usize], Content::Nothing) {
            Content::Nothing | Content::Channel(_) | Content::Emptying(_) => {}
            // The memory of a damaged slot is out of use like the slot.
            Content::Bytes(_) if !in_order => {}
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
            Content::Frozen(id) => drop(self.files.remove(&id)),
        }
        if in_order {
            slot.refs.store(refs.free().0, Ordering::Release);
            // A generation that would start again could be taken for an earlier one: such a slot is never used again.
            if self.facts.next_generation(index).is_some() {
                self.free_slots.push(index);
            }
        }
        true
    }

    /// How many slots are out of use because something stood in them that the broker had not written.
    pub(super) fn damaged(&self) -> u32 {
        self.facts.damaged()
    }

    /// What is wrong with each of them.
    pub(super) fn findings(&self) -> impl Iterator<Item = String> {
        self.facts.findings()
    }

    /// Notes that dead slots may be on nobody's way to the broker.
    pub(super) fn note_lost(&mut self) {
        self.lost = true;
    }

    /// Whether a part of the stack of returned slots is lost.
    pub(super) fn has_lost(&self) -> bool {
        self.lost
    }

    /// Compares all slots and types with what is known of them, and mends what the broker alone writes.
    pub(super) fn examine(&mut self) {
        let region = Arc::clone(&self.region);
        let used = &region.header().slots_used;
        if used.swap(self.contents.len() as u32, Ordering::AcqRel) != self.contents.len() as u32 {
            tracing::error!("the number of used slots was damaged and is mended");
        }
        let mended = self.types.mend(&region);
        if mended > 0 {
            tracing::error!(mended, "types were damaged and are mended");
        }
        for index in (0..self.contents.len() as u32).map(SlotIndex) {
            if let Some(slot) = region.slot(index) {
                self.facts.examine(index, slot);
            }
        }
    }

    /// The region was cut off at this place and is zero behind it: what had bytes there is out of use. Returns how many objects that were.
    pub(super) fn lose_bytes(&mut self, at: u64) -> u32 {
        let (region, heap) = (Arc::clone(&self.region), self.region.map().heap);
        let before = self.facts.damaged();
        for (index, content) in (0..).map(SlotIndex).zip(&self.contents) {
            if let Content::Bytes(extent) | Content::Channel(extent) | Content::Emptying(extent) = content
                && heap + extent.start + extent.len > at
                && let Some(slot) = region.slot(index)
            {
                self.facts.quarantine(index, slot, "its bytes were cut off with the end of the segment".into());
            }
        }
        let start = at.saturating_sub(heap).min(self.heap.capacity());
        self.heap.set_absent(Extent { start, len: self.heap.capacity() - start });
        self.facts.damaged() - before
    }

    /// Slots that are dead, with their `refs`: on the stack, on their way to it, or on a part of it that is lost.
    pub(super) fn dead(&mut self) -> Vec<(SlotIndex, Refs)> {
        self.lost = false;
        let dead = |index: SlotIndex| {
            let refs = Refs(self.region.slot(index)?.refs.load(Ordering::Acquire));
            let State::Dead(winner) = refs.state() else { return None };
            // What the owner of a slab has killed is his as long as he lives.
            (self.facts.is_in_use(index) && self.facts.owner(index) != Some(winner)).then_some((index, refs))
        };
        (0..self.contents.len() as u32).filter_map(|index| dead(SlotIndex(index))).collect()
    }

    /// Frees a slot that has been dead since `refs` was read.
    pub(super) fn free_lost(&mut self, index: SlotIndex, refs: Refs) {
        if !self.win(index, refs) {
            return;
        }
        // Pairs with the fence of an owner that takes what came back: it sees that the slot is won, or we see that it walks.
        fence(Ordering::SeqCst);
        if self.facts.owner(index).is_some_and(|owner| sessions::walks(&self.region, owner)) {
            // It may be in the chain that is walked over: used again only afterwards.
            self.lost = true;
        } else {
            self.free(index);
        }
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
fn extent_of(region: &Region, words: &Words) -> Option<Extent> {
    let len = words.len;
    let start = words.offset.checked_sub(region.map().heap)?;
    let footprint = Extents::footprint(len).filter(|_| len > 0)?;
    let is_inside = start.checked_add(footprint)? <= region.capacities().heap / PAGE * PAGE;
    let grain = if footprint < PAGE { GRAIN } else { PAGE };
    (is_inside && start.is_multiple_of(grain)).then_some(Extent { start, len: footprint })
}

/// Whether so many bytes are the head of a channel and entries, as many as a power of two.
fn is_ring(len: u64) -> bool {
    let entries = len.checked_sub(size_of::<ChannelHead>() as u64);
    entries.is_some_and(|bytes| bytes.is_multiple_of(CELL) && (bytes / CELL).is_power_of_two())
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
fn write_slot(slot: &Slot, words: &Words, to: Grantee) {
    words.write(slot);
    // Relaxed: the release of `refs` publishes them all.
    slot.holders.store(1 << (to.session.0 % 64), Ordering::Relaxed);
    for word in [&slot.lock, &slot.seq] {
        word.store(0, Ordering::Relaxed);
    }
    // The memory of what is small enough for a slab is reserved by the broker.
    slot.flags.store(if to.owner.is_some() { FILLED } else { 0 }, Ordering::Relaxed);
    slot.next.store(to.owner.map_or(0, |generation| generation.0), Ordering::Relaxed);
}

/// Whether there may be room later.
pub(super) fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::RegionFull | ErrorKind::TableFull)
}
