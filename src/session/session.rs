//! An attached process.

use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64 as PrivateU64};
use std::sync::{Arc, OnceLock};

use super::files::Files;
use super::row::Row;
use super::slabs::Slabs;
use super::takings::Takings;
use super::tokens::Tokens;
use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::{CHANNEL, FROZEN, HOSTED, LANES};
use crate::region::{Generation, ObjectId, Region, Rights, SessionIndex, SlotIndex};
use crate::sync::Owner;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys::fork::{ForkToken, PerProcess};
use crate::sys::frozen::Frozen;
use crate::table::counting::SessionState;
use crate::table::tickets::TicketPlace;
use crate::table::words::Words;
use crate::table::{Counting, sessions};

/// A way to the broker, as far as the layers below the control channel need one. It ends with the session.
pub(crate) trait Link: Send + Sync {
    /// An object died that is to be given back soon: a large one, a frozen one, whose file is open, a hosted one or a channel, which may hold others. One way; never waits.
    fn returned(&self);
    /// Slots are lost that were on their way back to a slab of this session. One way.
    fn lost(&self) {}
    /// A ticket expires at this time of the boot clock. One way.
    fn deadline(&self, at: u64);
    /// Has kept, in the broker itself, what brings an object back.
    fn keep(&self, object: ObjectId, snapshot: &[u8]) -> Result<()> {
        Err(Error::new(
            ErrorKind::Refused,
            format!("only its broker keeps {} bytes for object {object}", snapshot.len()),
        ))
    }
    /// Does, in a forked child, what the handler of the fork may not.
    fn begin_anew(&self) {}
    /// Has the broker count a reference in the row of this session, which only reads.
    fn take(&self, object: ObjectId, _ticket: Option<TicketPlace>) -> Result<()> {
        Err(Error::new(
            ErrorKind::Refused,
            format!("this session counts its references itself, also of object {object}"),
        ))
    }
    /// The file of a frozen object, as the broker has it.
    fn fetch(&self, object: ObjectId) -> Result<OwnedFd>;
    /// Has the broker count so many less.
    fn give_back(&self, _object: ObjectId, _count: u64) -> Result<()> {
        Ok(())
    }
    /// Has a call made in the broker. `read` gets the bytes of the result while the references in it still stand for it.
    fn call(&self, session: &Arc<Session>, ask: Ask<'_>, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// What a session can ask of the objects that the broker hosts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask<'a> {
    /// Call a method of an object.
    Call { object: ObjectId, method: &'a str, arguments: &'a [u8] },
    /// Make an object of a class.
    New { class: &'a str, arguments: &'a [u8] },
    /// Give the debug form of an object.
    Describe { object: ObjectId },
    /// Find and free cycles that nobody can reach.
    Collect,
    /// List the classes and what can be called.
    Classes,
}

/// From this size on a dead object is announced to the broker at once, as a hosted one is; others wait for its next visit.
pub(crate) const BIG: u64 = 1 << 20;

/// A session: a row of the ledger and lanes to move references, which only this process uses.
///
/// It lives as long as a manager or any proxy does. In a forked child it has another number and row; if none was prepared, it does nothing there: the row belongs to the parent.
pub(crate) struct Session {
    region: Arc<Region>,
    broker_name: Arc<str>,
    /// Asked for once: the C library makes a system call of it.
    pub(super) pid: AtomicU32,
    /// Generation (high half) and index.
    number: PrivateU64,
    pub(super) row: Row,
    pub(super) token: ForkToken,
    /// One bit a lane: taken by a thread. Private to the process.
    pub(super) lanes_taken: PrivateU64,
    /// The session of a child that is being forked, + 1. Private, as are the next two.
    pub(super) forking: AtomicU32,
    /// Threads that count for that child.
    pub(super) late: AtomicU32,
    /// A forked child that has yet to begin anew.
    pub(super) is_new: AtomicBool,
    pub(super) tokens: Tokens,
    /// Of a session that only reads: what it counts instead of its row.
    takings: Option<Takings>,
    pub(super) slabs: PerProcess<Slabs>,
    /// What this process has mapped of frozen objects.
    files: Arc<Files>,
    /// Where this process last found a free ticket.
    pub(crate) ticket_hint: AtomicU32,
    link: OnceLock<Box<dyn Link>>,
}

/// A lane that one thread at a time uses, until it is given back.
pub(crate) struct KeptLane(u32);

impl Session {
    pub(crate) fn new(
        region: Arc<Region>,
        index: SessionIndex,
        generation: Generation,
        rights: Rights,
    ) -> Result<Arc<Self>> {
        let takings = (rights == Rights::Read).then(|| Takings::new(region.capacities().objects));
        let cells = takings.as_ref().map_or_else(|| region.first_cell(index), |takings| Some(takings.first_cell()));
        let (Some(_), Some(cells)) = (region.session(index), cells) else {
            return Err(Error::new(ErrorKind::Protocol, format!("there is no session {}", index.0)));
        };
        // Each process starts elsewhere in the ticket table, so that they do not meet.
        let stripe = u32::from(index.0).wrapping_mul(64) % region.capacities().tickets;
        let broker_name = region.broker_name().into();
        // The broker needs none, and who only reads creates nothing.
        let has_slabs = index != SessionIndex::BROKER && rights == Rights::All;
        let slabs = if has_slabs {
            Slabs::new(number(index, generation), region.capacities().objects)
        } else {
            Slabs::new(0, 0)
        };
        let row = Row::new(cells, region.capacities().objects);
        let session = Self {
            tokens: Tokens::new(region.capacities().objects),
            slabs: PerProcess::new(slabs),
            takings,
            region,
            broker_name,
            pid: AtomicU32::new(std::process::id()),
            number: PrivateU64::new(number(index, generation)),
            row,
            token: ForkToken::of_this_process()?,
            lanes_taken: PrivateU64::new(0),
            files: Arc::default(),
            forking: AtomicU32::new(0),
            late: AtomicU32::new(0),
            is_new: AtomicBool::new(false),
            ticket_hint: AtomicU32::new(stripe),
            link: OnceLock::new(),
        };
        Ok(Arc::new(session))
    }

    /// Has another number and row from now on, in a forked child, which has one thread.
    pub(super) fn become_another(&self, index: SessionIndex, generation: Generation, cells: NonNull<AtomicU64>) {
        self.number.store(number(index, generation), Ordering::Relaxed);
        self.row.become_another(cells);
    }

    /// Gives the session its way to the broker, once.
    pub(crate) fn set_link(&self, link: Box<dyn Link>) {
        let _ = self.link.set(link);
    }

    /// See [`Link::keep`].
    pub(crate) fn keep(&self, object: ObjectId, snapshot: &[u8]) -> Result<()> {
        self.link().map_or(Ok(()), |link| link.keep(object, snapshot))
    }

    pub(crate) fn link(&self) -> Option<&dyn Link> {
        self.link.get().map(|link| &**link)
    }

    /// The way to the broker, for what can't be done without one.
    pub(crate) fn to_broker(&self) -> Result<&dyn Link> {
        self.link().ok_or_else(|| Error::new(ErrorKind::BrokerGone, "this session has no way to its broker"))
    }

    #[inline]
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn region_arc(&self) -> Arc<Region> {
        Arc::clone(&self.region)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    pub(crate) fn broker_name(&self) -> &Arc<str> {
        &self.broker_name
    }

    #[inline]
    pub(crate) fn index(&self) -> SessionIndex {
        SessionIndex(self.number.load(Ordering::Relaxed) as u16)
    }

    /// Generation (high half) and index.
    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn generation(&self) -> Generation {
        Generation((self.number.load(Ordering::Relaxed) >> 32) as u32)
    }

    /// Whether this is the process whose row it is, and no forked child of it.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.token.is_ours()
    }

    /// Whether this session has the region mapped for reading.
    #[inline]
    pub(crate) fn only_reads(&self) -> bool {
        self.takings.is_some()
    }

    /// An error in a session that only reads. `what` can't be done there.
    #[inline]
    pub(crate) fn check_writes(&self, what: &str) -> Result<()> {
        if self.only_reads() { Err(Self::read_only(what)) } else { Ok(()) }
    }

    #[cold]
    fn read_only(what: &str) -> Error {
        Error::new(ErrorKind::ReadOnly, format!("this manager only reads, and can't {what}"))
            .help("connect without read_only")
    }

    /// Has a reference counted by the broker, in a session that only reads. `None`: this session counts for itself.
    pub(super) fn take(self: &Arc<Self>, id: ObjectId, ticket: Option<TicketPlace>) -> Option<Result<&AtomicU64>> {
        let takings = self.takings.as_ref()?;
        Some(self.to_broker().and_then(|link| {
            if takings.take(link, id, ticket)? {
                self.let_cell_own(id.slot());
            }
            takings.cell(id.slot())
        }))
    }

    /// The bytes of a frozen object that is held: mapped once a process, and only if nobody can change them.
    ///
    /// # Errors
    /// `Lost`, if its broker has died and another has followed; `Refused`, `BrokerGone`.
    pub(crate) fn frozen(&self, id: ObjectId) -> Result<Arc<Frozen>> {
        self.check_ours()?;
        if let Some(bytes) = self.files.find(id) {
            return Ok(bytes);
        }
        let file = self.to_broker()?.fetch(id)?;
        self.keep_frozen(id, file)
    }

    /// Maps the file of a frozen object.
    pub(crate) fn keep_frozen(&self, id: ObjectId, file: OwnedFd) -> Result<Arc<Frozen>> {
        let bytes = Arc::new(Frozen::map(file, Words::of(&self.region, id)?.len)?);
        self.files.keep(id, &bytes);
        Ok(bytes)
    }

    /// What this process has mapped of frozen objects.
    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// Whether what the cell of a slot says can be believed: it was not swept, and nobody but this process writes private ones.
    pub(super) fn is_counting(&self) -> bool {
        self.only_reads() || self.is_attached()
    }

    /// Whether the region says that this session is active: the broker has not ended it.
    pub(super) fn is_attached(&self) -> bool {
        self.region.session(self.index()).is_some_and(|entry| {
            let state = entry.state.load(Ordering::Acquire);
            sessions::generation(state) == self.generation() && SessionState::of_word(state) == SessionState::Active
        })
    }

    /// An error in a forked child.
    #[inline]
    pub(crate) fn check_ours(&self) -> Result<()> {
        if self.is_ours() {
            if self.is_new.load(Ordering::Relaxed) {
                self.begin_anew();
            }
            return Ok(());
        }
        Err(Self::forked())
    }

    #[cold]
    fn forked() -> Error {
        Error::new(
            ErrorKind::Forked,
            "this proxy was inherited through a fork for which the broker had no session, and does nothing here",
        )
        .help("connect in the child, and hand objects over with tickets")
    }

    #[cold]
    fn begin_anew(&self) {
        if !self.is_new.swap(false, Ordering::Relaxed) {
            return;
        }
        // Those that it has inherited are granted to its parent.
        self.slabs.renew(Box::new(Slabs::new(self.number(), self.region.capacities().objects)));
        if let Some(link) = self.link() {
            link.begin_anew();
        }
    }

    #[inline]
    pub(crate) fn counting(&self) -> Counting<'_, Region> {
        Counting::new(&*self.region, self.index())
    }

    /// Lets the cell of a slot own a strong count of the session, because it has left zero. The last hold gives it back.
    #[inline]
    pub(crate) fn let_cell_own(self: &Arc<Self>, slot: SlotIndex) {
        self.tokens.take(slot);
        std::mem::forget(Arc::clone(self));
    }

    /// This session as the owner of a lock.
    #[inline]
    pub(crate) fn owner(&self) -> Owner {
        Owner::new(self.index().0, self.generation().0)
    }

    /// Whether the owner of a lock is gone.
    pub(crate) fn is_dead(&self, owner: Owner) -> bool {
        sessions::is_dead(&self.region, owner)
    }

    /// The own cell of a slot, its memory reserved.
    #[inline]
    pub(crate) fn own_cell(&self, slot: SlotIndex) -> Result<&AtomicU64> {
        match self.row.cell(slot) {
            Some(cell) => Ok(cell),
            None => self.first_own_cell(slot),
        }
    }

    /// The same where it may be the first of its page.
    #[cold]
    fn first_own_cell(&self, slot: SlotIndex) -> Result<&AtomicU64> {
        if !self.region.cell_is_reserved(self.index(), slot) {
            self.region.reserve_cell(self.index(), slot)?;
        }
        let cell = self.region.cell(self.index(), slot);
        let cell =
            cell.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("there is no slot {}", slot.0)))?;
        self.row.note(slot);
        Ok(cell)
    }

    /// Has the processor fetch what taking and dropping a reference to the object of a slot will look at, so that one wait is enough for all of it.
    #[inline]
    pub(crate) fn prefetch(&self, slot: SlotIndex) {
        self.region.prefetch_slot(slot);
        self.row.prefetch(slot);
        self.tokens.prefetch(slot);
        self.slabs.get().prefetch(slot);
    }

    /// Keeps a lane for one that moves references often, as long as there are enough for others.
    pub(crate) fn keep_lane(&self) -> Option<KeptLane> {
        let keep = |taken: u64| {
            let free = taken.trailing_ones();
            (taken.count_ones() < LANES as u32 / 2 && (free as usize) < LANES).then(|| taken | 1 << free)
        };
        let before = self.lanes_taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, keep).ok()?;
        Some(KeptLane(before.trailing_ones()))
    }

    /// Gives it back, in the process that has kept it.
    pub(crate) fn give_lane_back(&self, lane: KeptLane) {
        self.lanes_taken.fetch_and(!(1 << lane.0), Ordering::Release);
    }

    /// Does something with a lane that was kept, or else with a free one.
    #[inline]
    pub(crate) fn with_lane_kept<R>(&self, kept: Option<&KeptLane>, work: impl FnOnce(&AtomicU32) -> R) -> R {
        match kept.and_then(|kept| self.lane(kept.0 as usize)) {
            Some(lane) => work(lane),
            None => self.with_lane(work),
        }
    }

    /// Does something with a free lane. More threads than lanes wait for each other, for some hundred nanoseconds.
    pub(crate) fn with_lane<R>(&self, work: impl FnOnce(&AtomicU32) -> R) -> R {
        const { assert!(LANES <= 64) };
        loop {
            // Relaxed here, Acquire in the swap: it pairs with the release below.
            let taken = self.lanes_taken.load(Ordering::Relaxed);
            let free = taken.trailing_ones();
            if free as usize >= LANES {
                std::thread::yield_now();
                continue;
            }
            let bit = 1 << free;
            if self.lanes_taken.compare_exchange_weak(taken, taken | bit, Ordering::Acquire, Ordering::Relaxed).is_err()
            {
                continue;
            }
            let result = self.lane(free as usize).map(work);
            self.lanes_taken.fetch_and(!bit, Ordering::Release);
            match result {
                Some(result) => return result,
                // `new` has checked that the entry exists, and the index is below LANES.
                None => unreachable!("a session has its lanes"),
            }
        }
    }

    #[inline]
    fn lane(&self, lane: usize) -> Option<&AtomicU32> {
        self.region.session(self.index())?.lanes.get(lane)
    }

    /// Whether somebody waits for room. Asked after something was returned.
    fn is_room_wanted(&self) -> bool {
        // Pairs with the fence of the broker before it looks for what was returned.
        fence(Ordering::SeqCst);
        self.region.header().wanted.load(Ordering::Relaxed) != 0
    }

    /// After the last proxy of this process has gone, by a change of its cell.
    pub(crate) fn check(&self, id: ObjectId) {
        if let Some(takings) = &self.takings {
            return self.link().map_or((), |link| takings.give_back(link, id));
        }
        let slot = id.slot();
        // Most are held elsewhere: those cost no lane.
        if self.check_own(slot) || !self.counting().is_unheld(slot) {
            return;
        }
        let is_awaited = self.region.slot(slot).is_some_and(|slot| {
            slot.len.load(Ordering::Relaxed) >= BIG
                || matches!(u32::from(slot.kind.load(Ordering::Relaxed)), HOSTED | FROZEN | CHANNEL)
        });
        if self.with_lane(|lane| self.counting().check(slot, lane))
            && (is_awaited || self.is_room_wanted())
            && let Some(link) = self.link()
        {
            link.returned();
        }
    }
}

#[inline]
fn number(index: SessionIndex, generation: Generation) -> u64 {
    u64::from(generation.0) << 32 | u64::from(index.0)
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("index", &self.index().0).finish_non_exhaustive()
    }
}
