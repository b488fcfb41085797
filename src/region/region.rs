//! The mapping, and the one checked cast by which everything in it is looked at.
#![expect(unsafe_code, reason = "the checked cast from an offset to a struct of atomics, and the bounds of a payload")]

use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use super::address::{ObjectId, Offset, SessionIndex, SlotIndex};
use super::layout::{
    BrokerState, CELL, CELLS_A_PAGE, Capacities, ChannelHead, FINGERPRINT, Header, MAGIC, Map, NameEnding, NameEntry,
    PAGE, SessionEntry, Shared, Slot, TicketEntry, TypeEntry, VERSION,
};
use super::presence::Presence;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::memory::{self, Memory};
use crate::sys::{clock, process};

/// Where the memory of a region comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backing {
    /// An anonymous sealed memfd: nothing is left behind, whoever dies.
    #[default]
    Memfd,
    /// A named POSIX segment: can still be audited after its broker died.
    Segment,
}

/// What a session may do with the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u32)]
pub(crate) enum Rights {
    #[default]
    All = 0,
    /// It has the region mapped for reading; the broker counts for it.
    Read = 1,
}

impl Rights {
    /// Whatever is not known has the fewest.
    pub(crate) fn of_word(word: u32) -> Self {
        if word == 0 { Self::All } else { Self::Read }
    }
}

/// A mapped region.
pub(crate) struct Region {
    memory: Memory,
    map: Map,
    /// The pages that this process may touch, behind the tables that are reserved as a whole.
    presence: Presence,
    /// Slots below this are known to be on such pages.
    slots_there: AtomicU32,
}

impl Region {
    /// Makes a region and writes its header. `random` gives the region's id and the key of its tickets.
    pub(crate) fn create(memory: Memory, name: &str, capacities: Capacities, random: [u64; 3]) -> Result<Self> {
        let map = Map::of(capacities);
        if !capacities.are_possible() || memory.len() < map.end {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("a region can't have these sizes: {capacities:?}"),
            ));
        }
        let region = Self { presence: Presence::of_nothing(map.end), memory, map, slots_there: AtomicU32::new(0) };
        // All tables that are indexed at random; the others are reserved as they grow.
        region.memory.reserve(0, map.tickets)?;
        let header = region.header();
        let set = |word: &AtomicU32, value| word.store(value, Ordering::Relaxed);
        set(&header.sessions, capacities.sessions);
        set(&header.objects, capacities.objects);
        set(&header.tickets, capacities.tickets);
        set(&header.names, capacities.names);
        set(&header.types, capacities.types);
        header.heap.store(capacities.heap, Ordering::Relaxed);
        set(&header.version, VERSION);
        header.fingerprint.store(FINGERPRINT, Ordering::Relaxed);
        let [id, key @ ..] = random;
        header.region_id.store(id, Ordering::Relaxed);
        for (word, value) in header.ticket_key.iter().zip(key) {
            word.store(value, Ordering::Relaxed);
        }
        write_text(&header.name, name);
        header.created_at.store(clock::unix_seconds(), Ordering::Relaxed);
        region.announce_broker();
        // Release: whoever sees the magic sees the header.
        header.magic.store(MAGIC, Ordering::Release);
        Ok(region)
    }

    /// Takes a region that another process made: checks magic, version, fingerprint and sizes before anything else is looked at.
    pub(crate) fn open(memory: Memory) -> Result<Self> {
        let damaged = |what: String| Error::new(ErrorKind::Damaged, what);
        if memory.len() < PAGE {
            return Err(damaged(format!("{} bytes are too few for a region", memory.len())));
        }
        let nothing = Capacities { sessions: 0, objects: 0, tickets: 0, names: 0, types: 0, heap: 0 };
        let (map, presence) = (Map::of(nothing), Presence::of_nothing(0));
        let mut region = Self { memory, map, presence, slots_there: AtomicU32::new(0) };
        let header = region.header();
        // Acquire: pairs with the release of the magic in `create`.
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Err(damaged("this is not a region: its magic number is missing".into()));
        }
        check_layout(header.version.load(Ordering::Relaxed), header.fingerprint.load(Ordering::Relaxed))?;
        let capacities = Capacities {
            sessions: header.sessions.load(Ordering::Relaxed),
            objects: header.objects.load(Ordering::Relaxed),
            tickets: header.tickets.load(Ordering::Relaxed),
            names: header.names.load(Ordering::Relaxed),
            types: header.types.load(Ordering::Relaxed),
            heap: header.heap.load(Ordering::Relaxed),
        };
        if !capacities.are_possible() {
            return Err(damaged(format!("the header gives impossible sizes: {capacities:?}")));
        }
        let map = Map::of(capacities);
        if map.end > region.memory.len() {
            return Err(damaged(format!(
                "the region is cut off: {} bytes are there, {} are needed",
                region.memory.len(),
                map.end
            )));
        }
        let is_huge = header.huge_pages.load(Ordering::Relaxed) == 1;
        region.map = map;
        region.presence = Presence::of_nothing(map.end);
        if is_huge {
            region.memory.ask_for_huge_pages(map.heap);
        }
        Ok(region)
    }

    /// Has this process, and whoever maps the region after this, ask for huge pages for the heap. The system may have none.
    pub(crate) fn use_huge_pages(&self) {
        self.header().huge_pages.store(1, Ordering::Relaxed);
        self.memory.ask_for_huge_pages(self.map.heap);
    }

    /// Says that this process is its broker from now on, and not ready yet.
    pub(crate) fn announce_broker(&self) {
        let (header, pid) = (self.header(), std::process::id());
        header.broker_state.store(BrokerState::Starting as u32, Ordering::Relaxed);
        header.broker_start.store(process::start_time(pid).unwrap_or(0), Ordering::Relaxed);
        header.broker_pid.store(pid, Ordering::Release);
        header.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// Has the named segment behind it removed when it is unmapped.
    pub(crate) fn own_segment(&mut self) {
        self.memory.own_segment();
    }

    /// Maps a region that came over a socket.
    pub(crate) fn received(fd: OwnedFd, rights: Rights) -> Result<Self> {
        Self::open(Memory::received(fd, rights == Rights::All)?)
    }

    /// Maps a memfd that a client of a dead broker has kept.
    pub(crate) fn handed_back(fd: OwnedFd) -> Result<Self> {
        Self::open(Memory::received_sealed(fd)?)
    }

    /// See [`Memory::mend_length`]. What was cut off counts as not reserved.
    pub(crate) fn mend_length(&self) -> Result<Option<u64>> {
        let cut = self.memory.mend_length()?;
        if let Some(at) = cut {
            self.presence.remove(at, self.map.end.saturating_sub(at));
            self.slots_there.store(0, Ordering::Relaxed);
        }
        Ok(cut)
    }

    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    pub(crate) fn capacities(&self) -> &Capacities {
        &self.map.capacities
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.memory.file()
    }

    /// See [`Memory::file_to_read`].
    pub(crate) fn file_to_read(&self) -> Result<OwnedFd> {
        self.memory.file_to_read()
    }

    /// Bytes of memory that the region takes at this moment, tables included.
    pub(crate) fn resident(&self) -> u64 {
        self.memory.resident()
    }

    /// Start and length of the parts of the heap that have memory, from the heap's start.
    pub(crate) fn resident_heap(&self) -> impl Iterator<Item = (u64, u64)> {
        let heap = self.map.heap;
        self.memory
            .resident_in(heap..self.map.end)
            .into_iter()
            .map(move |part| (part.start - heap, part.end - part.start))
    }

    /// Reserves memory, so that touching it can't fail. See [`Memory::reserve`].
    pub(crate) fn reserve(&self, offset: Offset, len: u64) -> Result<()> {
        self.memory.reserve(offset.0, len)?;
        self.presence.add(offset.0, len);
        Ok(())
    }

    /// Reserves memory ahead of its use: `most` bytes, or if the system does not have so much, the first page. Returns how many.
    pub(crate) fn reserve_ahead(&self, offset: Offset, most: u64) -> Result<u64> {
        if self.reserve(offset, most).is_ok() {
            return Ok(most);
        }
        let page = PAGE - offset.0 % PAGE;
        self.reserve(offset, page.min(most)).map(|()| page.min(most))
    }

    /// Whether this process has reserved all pages of a range, and not given them back.
    pub(crate) fn has_reserved(&self, offset: Offset, len: u64) -> bool {
        self.presence.has_all(offset.0, len)
    }

    /// Whether all pages of a range have memory, as the system says at this moment.
    pub(crate) fn is_backed(&self, offset: Offset, len: u64) -> bool {
        self.memory.is_backed(offset.0, len)
    }

    /// Gives the whole pages of a range back to the system.
    pub(crate) fn give_back(&self, offset: Offset, len: u64) {
        self.presence.remove(offset.0, len);
        self.memory.give_back(offset.0, len);
    }

    /// Has the processor fetch a slot that is looked at soon.
    #[inline]
    pub(crate) fn prefetch_slot(&self, index: SlotIndex) {
        self.prefetch(self.map.slots + u64::from(index.0) * size_of::<Slot>() as u64);
    }

    /// The same of an entry of the tickets.
    #[inline]
    pub(crate) fn prefetch_ticket(&self, index: u32) {
        self.prefetch(self.map.tickets + u64::from(index) * size_of::<TicketEntry>() as u64);
    }

    #[inline]
    fn prefetch(&self, offset: u64) {
        memory::prefetch(self.memory.base().as_ptr().wrapping_add(offset as usize));
    }

    /// Whether a struct fits there, in bounds and aligned.
    #[inline]
    fn has<T: Shared>(&self, offset: u64) -> bool {
        let end = offset.checked_add(size_of::<T>() as u64);
        end.is_some_and(|end| end <= self.memory.len()) && offset.is_multiple_of(align_of::<T>() as u64)
    }

    /// An offset becomes a struct of atomics, or nothing if it is out of bounds or badly aligned.
    #[inline]
    fn at<T: Shared>(&self, offset: u64) -> Option<&T> {
        // SAFETY: it is there, as was just seen.
        self.has::<T>(offset).then(|| unsafe { self.cast(offset) })
    }

    /// The one cast. An entry of a table needs no look: the map says where it lies, and `create` and `open` have seen that all of the map is in the mapping.
    ///
    /// # Safety
    /// It is there, as [`Region::has`] says.
    #[inline]
    unsafe fn cast<T: Shared>(&self, offset: u64) -> &T {
        debug_assert!(self.has::<T>(offset), "what is cast is in the mapping");
        // SAFETY: in bounds of the mapping; the mapping starts on a page, so the alignment holds too.
        let pointer = unsafe { self.memory.base().as_ptr().add(offset as usize) };
        // SAFETY: `Shared` types are atomics, valid whatever the bytes, and the mapping outlives the borrow of `self`.
        unsafe { &*pointer.cast::<T>() }
    }

    /// As [`Region::cast`], for what lies in a part that is reserved as it grows: asks for its page first. Nothing if the system has no memory for it.
    ///
    /// # Safety
    /// As there.
    #[inline]
    unsafe fn grown<T: Shared>(&self, offset: u64) -> Option<&T> {
        self.have_page(offset)?;
        // SAFETY: by contract.
        Some(unsafe { self.cast(offset) })
    }

    #[inline]
    fn have_page(&self, offset: u64) -> Option<()> {
        if self.presence.has(offset) { Some(()) } else { self.ask_for_page(offset) }
    }

    #[cold]
    fn ask_for_page(&self, offset: u64) -> Option<()> {
        match self.memory.reserve(offset, 1) {
            Ok(()) => self.presence.add(offset, 1),
            Err(error) => {
                tracing::warn!(offset, %error, "a page of the tables can't be looked at");
                return None;
            }
        }
        Some(())
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the first page has it, and is there: `create` and `open` see to it before anything else.
        unsafe { self.cast(0) }
    }

    #[inline]
    pub(crate) fn slot(&self, index: SlotIndex) -> Option<&Slot> {
        let place = self.map.slots + u64::from(index.0) * size_of::<Slot>() as u64;
        // Relaxed: as a bit of the presence.
        if index.0 >= self.slots_there.load(Ordering::Relaxed) {
            self.have_slot(index, place)?;
        }
        // SAFETY: below the number of slots, as `slots_there` is.
        Some(unsafe { self.cast(place) })
    }

    /// Asks for the page of a slot, if there is one of this number.
    fn have_slot(&self, index: SlotIndex, place: u64) -> Option<()> {
        const A_PAGE: u32 = PAGE as u32 / size_of::<Slot>() as u32;
        (index.0 < self.map.capacities.objects).then(|| self.have_page(place))??;
        let (first, there) = (index.0 - index.0 % A_PAGE, self.slots_there.load(Ordering::Relaxed));
        if first == there {
            let next = (first + A_PAGE).min(self.map.capacities.objects);
            let _ = self.slots_there.compare_exchange(there, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        Some(())
    }

    #[inline]
    pub(crate) fn session(&self, index: SessionIndex) -> Option<&SessionEntry> {
        self.entry(self.map.sessions, u32::from(index.0), self.map.capacities.sessions)
    }

    /// How many slots have ever been granted, so that something may stand in them.
    #[inline]
    pub(crate) fn slots_used(&self) -> u32 {
        // Acquire: pairs with the release of the broker, which reserves slots before it counts them.
        self.header().slots_used.load(Ordering::Acquire).min(self.map.capacities.objects)
    }

    /// How many tickets are reserved.
    #[inline]
    pub(crate) fn tickets_ready(&self) -> u32 {
        // Acquire: pairs with the issuer that has reserved them.
        self.header().tickets_ready.load(Ordering::Acquire).min(self.map.capacities.tickets)
    }

    #[inline]
    pub(crate) fn ticket(&self, index: u32) -> Option<&TicketEntry> {
        let place = self.map.tickets + u64::from(index) * size_of::<TicketEntry>() as u64;
        // SAFETY: below the number of tickets.
        (index < self.map.capacities.tickets).then(|| unsafe { self.grown(place) })?
    }

    #[inline]
    pub(crate) fn name(&self, index: u32) -> Option<&NameEntry> {
        self.entry(self.map.names, index, self.map.capacities.names)
    }

    #[inline]
    pub(crate) fn name_ending(&self, index: u32) -> Option<&NameEnding> {
        self.entry(self.map.endings, index, self.map.capacities.names)
    }

    #[inline]
    pub(crate) fn type_entry(&self, index: u32) -> Option<&TypeEntry> {
        self.entry(self.map.types, index, self.map.capacities.types)
    }

    #[inline]
    fn entry<T: Shared>(&self, table: u64, index: u32, count: u32) -> Option<&T> {
        // SAFETY: below the number of entries, of one of the tables that are reserved as a whole.
        (index < count).then(|| unsafe { self.cast(table + u64::from(index) * size_of::<T>() as u64) })
    }

    /// The ledger cell of a session and a slot. Its page may not be reserved: see [`Region::cell_is_reserved`].
    #[inline]
    pub(crate) fn cell(&self, session: SessionIndex, slot: SlotIndex) -> Option<&AtomicU64> {
        if slot.0 >= self.map.capacities.objects {
            return None;
        }
        let place = self.row(session)? + self.map.row_map + u64::from(slot.0) * CELL;
        // SAFETY: of a row that there is, and below the number of slots.
        unsafe { self.grown::<Word>(place) }.map(|word| &word.0)
    }

    /// Where the cells of a row begin, for those who have asked for the cell before, and its page.
    pub(crate) fn first_cell(&self, session: SessionIndex) -> Option<NonNull<AtomicU64>> {
        let first: &Word = self.at(self.row(session)? + self.map.row_map)?;
        Some(NonNull::from(first).cast())
    }

    /// Whether the page of this cell is in use; a cell of a page that is not counts as zero and is not touched.
    #[inline]
    pub(crate) fn cell_is_reserved(&self, session: SessionIndex, slot: SlotIndex) -> bool {
        let page = u64::from(slot.0) / CELLS_A_PAGE;
        self.row_map_word(session, page / 64)
            // Acquire: pairs with the release in `reserve_cell`. A taker sets the bit before it counts.
            .is_some_and(|word| word.load(Ordering::Acquire) & (1 << (page % 64)) != 0)
    }

    /// Reserves the page of this cell and notes it in the row's page map.
    pub(crate) fn reserve_cell(&self, session: SessionIndex, slot: SlotIndex) -> Result<()> {
        let page = u64::from(slot.0) / CELLS_A_PAGE;
        let (Some(row), Some(word)) = (self.row(session), self.row_map_word(session, page / 64)) else {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("slot {} is out of range", slot.0)));
        };
        self.reserve(Offset(row + self.map.row_map + page * PAGE), PAGE)?;
        // SeqCst: before the count, as seen by one that forks.
        word.fetch_or(1 << (page % 64), Ordering::SeqCst);
        Ok(())
    }

    /// Reserves the page map of a row, which every look at the row reads.
    pub(crate) fn reserve_row(&self, session: SessionIndex) -> Result<()> {
        let row = self
            .row(session)
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("there is no session {}", session.0)))?;
        self.reserve(Offset(row), self.map.row_map)
    }

    /// The cells of a row that were ever used, and more of their pages.
    pub(crate) fn reserved_cells(&self, session: SessionIndex) -> impl Iterator<Item = (SlotIndex, &AtomicU64)> {
        let words = (0..self.row_map_words()).filter_map(move |word| {
            // Acquire: pairs with the release in `reserve_cell`.
            Some((word, self.row_map_word(session, word)?.load(Ordering::Acquire)))
        });
        let pages = words
            .flat_map(|(word, bits)| (0..64).filter(move |bit| bits & 1 << bit != 0).map(move |bit| word * 64 + bit));
        pages
            .flat_map(|page| page * CELLS_A_PAGE..(page + 1) * CELLS_A_PAGE)
            .map(|index| SlotIndex(index as u32))
            .filter_map(move |slot| Some((slot, self.cell(session, slot)?)))
    }

    /// Empties a row and gives its memory back.
    pub(crate) fn clear_row(&self, session: SessionIndex) {
        let Some(row) = self.row(session) else { return };
        for word in (0..self.row_map_words()).filter_map(|word| self.row_map_word(session, word)) {
            word.store(0, Ordering::Release);
        }
        self.give_back(Offset(row + self.map.row_map), self.map.row - self.map.row_map);
    }

    /// Words of the page map of a row.
    #[inline]
    pub(crate) fn row_map_words(&self) -> u64 {
        (u64::from(self.map.capacities.objects).div_ceil(CELLS_A_PAGE)).div_ceil(64)
    }

    #[inline]
    pub(crate) fn row_map_word(&self, session: SessionIndex, word: u64) -> Option<&AtomicU64> {
        if word >= self.row_map_words() {
            return None;
        }
        let place = self.row(session)? + word * 8;
        // SAFETY: of a row that there is, and in its page map, which has a bit for each page of cells.
        unsafe { self.grown::<Word>(place) }.map(|word| &word.0)
    }

    /// Start of a session's row.
    #[inline]
    pub(crate) fn row(&self, session: SessionIndex) -> Option<u64> {
        (u32::from(session.0) < self.map.capacities.sessions)
            .then(|| self.map.ledger + u64::from(session.0) * self.map.row)
    }

    /// The bytes of a payload, or nothing if they are not all inside the heap.
    #[inline]
    pub(crate) fn payload(&self, offset: Offset, len: u64) -> Option<NonNull<u8>> {
        let end = offset.0.checked_add(len)?;
        if offset.0 < self.map.heap || end > self.map.end {
            return None;
        }
        // SAFETY: inside the mapping, as checked.
        Some(unsafe { self.memory.base().add(offset.0 as usize) })
    }

    /// The words of a channel whose payload is here, or nothing if it can't be. Asks for its pages first: its creator may have died before it did.
    pub(crate) fn channel(&self, offset: Offset, len: u64) -> Option<(&ChannelHead, &[AtomicU64])> {
        self.payload(offset, len)?;
        let head = size_of::<ChannelHead>() as u64;
        let entries = len.checked_sub(head)? / CELL;
        if !self.presence.has_all(offset.0, len) {
            self.reserve(offset, len).ok()?;
        }
        let first: &Word = self.at(offset.0 + head)?;
        // SAFETY: atomics, valid whatever the bytes; all of them are inside the payload, as checked, and mapped while `self` is borrowed.
        let entries = unsafe { std::slice::from_raw_parts(&raw const first.0, entries as usize) };
        Some((self.at(offset.0)?, entries))
    }

    /// Clears the payload of a slot: see the feature `planted-bug`.
    #[cfg(feature = "planted-bug")]
    pub(crate) fn clear_payload(&self, index: SlotIndex) {
        // Not a channel's, whose objects would be lost: it is a wrong byte that is to be found.
        let Some(slot) = self.slot(index).filter(|slot| slot.flags.load(Ordering::Relaxed) & super::layout::BUILT == 0)
        else {
            return;
        };
        let len = slot.len.load(Ordering::Relaxed);
        if let Some(payload) = self.payload(Offset(slot.offset.load(Ordering::Relaxed)), len) {
            // SAFETY: inside the mapping, as checked. That others may read it meanwhile is the mistake that is planted.
            unsafe { payload.write_bytes(0, len as usize) };
            // Time for others to take up what is not dead yet.
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
    }

    /// The id of the object that a slot is for now.
    #[inline]
    pub(crate) fn id_of(&self, index: SlotIndex) -> Option<ObjectId> {
        let generation = self.slot(index)?.generation.load(Ordering::Acquire);
        Some(ObjectId::new(index, super::Generation(generation)))
    }

    /// The broker's name, as the header has it.
    pub(crate) fn broker_name(&self) -> String {
        read_text(&self.header().name, usize::MAX)
    }
}

/// A single word, for the cast.
#[repr(transparent)]
struct Word(AtomicU64);

// SAFETY: one atomic.
unsafe impl Shared for Word {
    const FINGERPRINT: u64 = 0;
}

/// An error that names both, unless the other side has this build's layout.
pub(crate) fn check_layout(version: u32, fingerprint: u64) -> Result<()> {
    if version == VERSION && fingerprint == FINGERPRINT {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LayoutMismatch,
        format!(
            "the broker's region has layout {version} with fingerprint {fingerprint:016x}, this program layout {VERSION} with {FINGERPRINT:016x}"
        ),
    )
    .help("build both with the same version of sharehold"))
}

/// Text as it is written: eight bytes a word, the last one filled up with zeros.
#[inline]
pub(crate) fn text_words(text: &str) -> impl Iterator<Item = u64> {
    let (whole, rest) = text.as_bytes().as_chunks::<8>();
    let last = (!rest.is_empty()).then(|| last_word(rest));
    whole.iter().map(|bytes| u64::from_le_bytes(*bytes)).chain(last)
}

/// Up to seven bytes as a word, without a loop: from both ends, which say the same where they meet.
#[inline]
fn last_word(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
            first | last << (8 * (len - 4))
        }
        _ => [0, len / 2, len.saturating_sub(1)]
            .into_iter()
            .fold(0, |word, at| word | bytes.get(at).map_or(0, |byte| u64::from(*byte) << (8 * at))),
    }
}

/// Writes text, cut to fit and filled up with zeros.
pub(crate) fn write_text(words: &[AtomicU64], text: &str) {
    let end = text.floor_char_boundary(words.len() * 8);
    write_words(words, text_words(&text[..end]));
}

/// Writes words, and zeros behind them.
pub(crate) fn write_words<'w>(words: impl IntoIterator<Item = &'w AtomicU64>, said: impl Iterator<Item = u64>) {
    words
        .into_iter()
        .zip(said.chain(std::iter::repeat(0)))
        .for_each(|(word, value)| word.store(value, Ordering::Relaxed));
}

/// Reads text up to `len` bytes or a zero. Whatever is not UTF-8 is replaced.
pub(crate) fn read_text<'w>(words: impl IntoIterator<Item = &'w AtomicU64>, len: usize) -> String {
    let mut bytes: Vec<u8> = words.into_iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end.min(len));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_is_the_words_that_are_written_and_read_again() {
        const LONGEST: usize = 192;
        let text: String = ('a'..='z').cycle().take(LONGEST).collect();
        for len in 0..=LONGEST {
            let text = &text[..len];
            let there: [AtomicU64; LONGEST / 8] = Default::default();
            write_text(&there, text);
            assert_eq!(read_text(&there, usize::MAX), text);
            let there: Vec<u64> = there.iter().map(|word| word.load(Ordering::Relaxed)).collect();
            let words: Vec<u64> = text_words(text).collect();
            assert_eq!(words, there[..len.div_ceil(8)]);
            assert!(there[words.len()..].iter().all(|word| *word == 0));
        }
    }
}
