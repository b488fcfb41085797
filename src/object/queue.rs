//! The words of a channel, and what one does at an end of it: all that is the same whatever the type of what is in it.
//!
//! The order is that of `docs/protocol.md`, "Channels"; the words are in `table/ring.rs` and `table/seats.rs`.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::payload::{Payload, slot_of};
use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::{BUILT, ChannelHead};
use crate::region::{Generation, ObjectId, Offset, SessionIndex};
use crate::session::{Hold, KeptLane, Session};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Event, Owner, Spin};
use crate::table::SlotWords;
use crate::table::channels::{ChannelWords, MANY, SINGLE};
use crate::table::ring::Damaged;
use crate::table::seats::{CLOSED, DAMAGED, NO_RECEIVERS, NO_SENDERS, Refused, Side};
use crate::table::sessions;
use crate::table::words::Words;

/// How long one sleeps before it looks for itself whether the others live.
const SLICE: Duration = Duration::from_millis(100);

/// How many may have each end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Form {
    /// One sender and one receiver at a time.
    Single = SINGLE,
    Many = MANY,
}

/// A channel that is held, and where its words lie.
#[derive(Clone)]
pub(super) struct Queue {
    pub(super) hold: Hold,
    head: Payload<ChannelHead>,
    entries: Payload<AtomicU64>,
}

impl Queue {
    /// The words of a channel, which the caller knows it to be.
    pub(super) fn of(hold: Hold) -> Result<Self> {
        let region = hold.session().region();
        // The flag, and what the slot says, for any payload.
        let _bytes: Payload<u8> = Payload::of(&hold)?;
        let Words { offset, len, .. } = Words::of(region, hold.id())?;
        let size = size_of::<ChannelHead>() as u64;
        let is_built = slot_of(&hold)?.flags.load(Ordering::Acquire) & BUILT != 0;
        let parts = len.checked_sub(size).filter(|_| is_built).and_then(|entries| {
            let head: Payload<ChannelHead> = Payload::at(region, Offset(offset), size)?;
            let entries: Payload<AtomicU64> = Payload::at(region, Offset(offset + size), entries)?;
            entries.count().is_power_of_two().then_some((head, entries))
        });
        let (head, entries) = parts.ok_or_else(|| cut_off(hold.id()))?;
        Ok(Self { hold, head, entries })
    }

    pub(super) fn id(&self) -> ObjectId {
        self.hold.id()
    }

    pub(super) fn capacity(&self) -> usize {
        self.entries.count()
    }

    #[inline]
    pub(super) fn words(&self) -> Result<ChannelWords<'_>> {
        let head = self.head.shared(&self.hold).ok_or_else(|| cut_off(self.hold.id()))?;
        Ok(ChannelWords { head, entries: self.entries.words(&self.hold) })
    }

    #[inline]
    pub(super) fn state(&self) -> u32 {
        // Acquire: whoever sees that the senders are gone sees what they have sent.
        self.words().map_or(DAMAGED, |words| words.head.state.load(Ordering::Acquire))
    }

    pub(super) fn close(&self) -> Result<()> {
        self.hold.session().check_ours()?;
        self.hold.session().check_writes("close a channel")?;
        self.mark(CLOSED)
    }

    fn mark(&self, flag: u32) -> Result<()> {
        let words = self.words()?;
        words.head.state.fetch_or(flag, Ordering::AcqRel);
        words.wake();
        Ok(())
    }

    /// Nobody sends or receives any more in a channel that contradicts itself. What is in it stays held, and is looked for when it dies.
    #[cold]
    fn damaged(&self) -> Error {
        let _ = self.mark(DAMAGED);
        damaged(self.hold.id())
    }

    /// What somebody looks at who has waited in vain for a while.
    fn look_closely(&self) -> Result<()> {
        let words = self.words()?;
        let session = self.hold.session();
        words.vacate(|owner| session.is_dead(owner));
        if words.ring().is_consistent() { Ok(()) } else { Err(self.damaged()) }
    }
}

/// One end of a channel, in one process. One thread at a time uses it: nobody else moves the words of a channel that is for one, nor the lane.
/// Whoever has it has the channel's hold, and closes it.
pub(super) struct End {
    session: Arc<Session>,
    lane: Option<KeptLane>,
    /// Who has opened it: in a forked child it still is the parent's.
    me: Owner,
    side: for<'c> fn(ChannelWords<'c>) -> Side<'c>,
    spin: Spin,
    alone: PhantomData<Cell<()>>,
}

impl End {
    pub(super) fn sender(queue: &Queue) -> Result<Self> {
        Self::open(queue, "sender", |words| words.senders())
    }

    pub(super) fn receiver(queue: &Queue) -> Result<Self> {
        Self::open(queue, "receiver", |words| words.receivers())
    }

    fn open(queue: &Queue, what: &str, side: for<'c> fn(ChannelWords<'c>) -> Side<'c>) -> Result<Self> {
        let session = queue.hold.session();
        session.check_ours()?;
        session.check_writes("send or receive")?;
        let (words, me) = (queue.words()?, session.owner());
        let (form, is_single) = (words.head.form.load(Ordering::Relaxed), words.is_single());
        if !is_single && form != MANY || queue.state() & DAMAGED != 0 {
            return Err(queue.damaged());
        }
        let side_of = side(words);
        let opened = side_of.open(me.word(), is_single).or_else(|_| {
            // Those who are dead may have yet to be swept.
            words.vacate(|owner| session.is_dead(owner));
            side_of.open(me.word(), is_single)
        });
        match opened {
            Ok(()) => Ok(Self {
                session: queue.hold.session_arc(),
                lane: session.keep_lane(),
                me,
                side,
                spin: Spin::default(),
                alone: PhantomData,
            }),
            Err(Refused::Taken(by)) => Err(taken(queue, what, by)),
            Err(Refused::Full) => {
                let count = side_of.seats.len();
                let what = format!("channel {} has a {what} in {count} processes, and can't have more", queue.id());
                Err(Error::new(ErrorKind::TableFull, what))
            }
        }
    }

    /// Gives up its seat, and its lane. Does nothing in a forked child.
    pub(super) fn close(&mut self, queue: &Queue) {
        if !self.session.is_ours() || self.session.owner() != self.me {
            return;
        }
        if let Some(lane) = self.lane.take() {
            self.session.give_lane_back(lane);
        }
        if let Ok(words) = queue.words()
            && (self.side)(words).close(self.me.word())
        {
            words.wake();
        }
    }

    #[inline]
    fn check(&self, queue: &Queue) -> Result<()> {
        self.session.check_ours()?;
        if self.session.owner() == self.me { Ok(()) } else { Err(inherited(queue.id())) }
    }

    /// Stores what the hold counts; after `Some` it counts nothing any more, and must be forgotten. `None`: there is no room.
    pub(super) fn try_send(&self, queue: &Queue, hold: &Hold) -> Result<Option<()>> {
        self.check(queue)?;
        let words = queue.words()?;
        // Acquire: as `Queue::state`.
        let state = words.head.state.load(Ordering::Acquire);
        if state & (DAMAGED | CLOSED | NO_RECEIVERS) != 0 {
            return Err(if state & DAMAGED != 0 {
                damaged(queue.id())
            } else {
                disconnected(queue, state, "receiver")
            });
        }
        if !std::ptr::eq(hold.session(), &*self.session) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the object belongs to another broker"));
        }
        if hold.id() == queue.id() {
            return Err(Error::new(ErrorKind::InvalidArgument, "a channel can't hold itself: it would never be freed"));
        }
        let ring = words.ring();
        let Some(mut vacancy) = ring.vacancy().map_err(|Damaged| queue.damaged())? else { return Ok(None) };
        let is_stored = hold.store(self.lane.as_ref(), || {
            while !ring.fill(&vacancy, hold.id()) {
                match ring.vacancy() {
                    Ok(Some(next)) => vacancy = next,
                    // No room any more; damage is found by the next look.
                    Ok(None) | Err(Damaged) => return false,
                }
            }
            true
        })?;
        if is_stored {
            Event::new(&words.head.filled).wake_after_swap();
        }
        Ok(is_stored.then_some(()))
    }

    /// As [`End::try_send`], but waits for room, at most until `deadline`.
    pub(super) fn send(&self, queue: &Queue, hold: &Hold, deadline: Option<Instant>) -> Result<Option<()>> {
        let is_ready = |words: ChannelWords<'_>| {
            !matches!(words.ring().vacancy(), Ok(None))
                || words.head.state.load(Ordering::Relaxed) & (CLOSED | NO_RECEIVERS | DAMAGED) != 0
        };
        self.repeat(queue, deadline, |head| Event::new(&head.emptied), is_ready, || self.try_send(queue, hold))
    }

    /// Takes the oldest out. `None`: nothing is there yet.
    pub(super) fn try_receive(&self, queue: &Queue) -> Result<Option<Hold>> {
        self.check(queue)?;
        let words = queue.words()?;
        if let Some(hold) = self.take(queue, words)? {
            return Ok(Some(hold));
        }
        // Acquire: as `Queue::state`.
        let state = words.head.state.load(Ordering::Acquire);
        if state & (DAMAGED | CLOSED | NO_SENDERS) == 0 {
            return Ok(None);
        }
        if state & DAMAGED != 0 {
            return Err(damaged(queue.id()));
        }
        // What was sent before the last sender left is there by now.
        self.take(queue, words)?.map(Some).ok_or_else(|| disconnected(queue, state, "sender"))
    }

    /// As [`End::try_receive`], but waits for something, at most until `deadline`.
    pub(super) fn receive(&self, queue: &Queue, deadline: Option<Instant>) -> Result<Option<Hold>> {
        let is_ready = |words: ChannelWords<'_>| {
            !matches!(words.ring().oldest(), Ok(None))
                || words.head.state.load(Ordering::Relaxed) & (CLOSED | NO_SENDERS | DAMAGED) != 0
        };
        self.repeat(queue, deadline, |head| Event::new(&head.filled), is_ready, || self.try_receive(queue))
    }

    #[inline]
    fn take(&self, queue: &Queue, words: ChannelWords<'_>) -> Result<Option<Hold>> {
        let (ring, region) = (words.ring(), self.session.region());
        while let Some(oldest) = ring.oldest().map_err(|Damaged| queue.damaged())? {
            // One that was never used is none.
            let slot = region.used_slot(oldest.slot);
            // Acquire: as `Region::id_of`.
            let generation = |slot: &SlotWords<'_>| Generation(slot.generation.load(Ordering::Acquire));
            let found = slot.map(|slot| (ObjectId::new(oldest.slot, generation(&slot)), slot));
            let Some((id, slot)) = found.filter(|(id, _)| oldest.is_of(id.generation())) else {
                // Or another has taken it, and the object has died since.
                if ring.has(&oldest) {
                    return Err(queue.damaged());
                }
                continue;
            };
            if let Some(hold) = Hold::remove(&self.session, self.lane.as_ref(), id, &slot, || ring.take(&oldest))? {
                Event::new(&words.head.emptied).wake_after_swap();
                return Ok(Some(hold));
            }
        }
        Ok(None)
    }

    /// Does `attempt` until it gives something, at most until `deadline`. Sleeps between at `event`, unless `ready`.
    fn repeat<R>(
        &self,
        queue: &Queue,
        deadline: Option<Instant>,
        event: fn(&ChannelHead) -> Event<'_>,
        ready: impl Fn(ChannelWords<'_>) -> bool,
        mut attempt: impl FnMut() -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        loop {
            if let Some(done) = attempt()? {
                return Ok(Some(done));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            let words = queue.words()?;
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            let event = event(words.head);
            if event.wait(&self.spin, Some(slice), || ready(words).then_some(())).is_none() && slice == SLICE {
                queue.look_closely()?;
            }
        }
    }
}

#[cold]
fn inherited(id: ObjectId) -> Error {
    let what = format!("this end of channel {id} is the parent's of this process");
    Error::new(ErrorKind::Forked, what).help("open one of its own: the channel itself was inherited")
}

#[cold]
fn damaged(id: ObjectId) -> Error {
    let what = "contradicts itself: somebody has written what is not his";
    Error::new(ErrorKind::Damaged, format!("channel {id} {what}"))
        .help("make another one; what is in this one is held until it dies")
}

#[cold]
fn cut_off(id: ObjectId) -> Error {
    Error::new(ErrorKind::Damaged, format!("object {id} is not a whole channel"))
}

#[cold]
fn disconnected(queue: &Queue, state: u32, other: &str) -> Error {
    let id = queue.id();
    let what = if state & CLOSED != 0 {
        format!("channel {id} was closed")
    } else {
        format!("channel {id} has no {other} any more")
    };
    Error::new(ErrorKind::Disconnected, what)
}

fn taken(queue: &Queue, what: &str, by: u32) -> Error {
    let region = queue.hold.session().region();
    let by = Owner::of_word(by).and_then(|owner| sessions::read(region, SessionIndex(owner.session())));
    let by = by.map_or_else(String::new, |record| format!(": process {} ({})", record.pid, record.comm));
    let what = format!("channel {} is for one {what}, and has it{by}", queue.id());
    Error::new(ErrorKind::Refused, what).help("make it with Manager::channel, for any number")
}

/// Writes the words of a new channel that nobody else knows yet.
pub(crate) fn build(hold: &Hold, words: Payload<AtomicU64>, form: Form) -> Result<()> {
    // Relaxed: the flag publishes them.
    words.words(hold).iter().for_each(|word| word.store(0, Ordering::Relaxed));
    let region = hold.session().region();
    let Words { offset, .. } = Words::of(region, hold.id())?;
    let head: Option<Payload<ChannelHead>> = Payload::at(region, Offset(offset), size_of::<ChannelHead>() as u64);
    let head = head.and_then(|head| head.shared(hold)).ok_or_else(|| cut_off(hold.id()))?;
    head.form.store(form as u32, Ordering::Relaxed);
    // Release: whoever sees it sees an empty ring.
    slot_of(hold)?.flags.fetch_or(BUILT, Ordering::Release);
    Ok(())
}
