//! A queue of references in shared memory: objects are handed over without a copy, without the broker, and without a system call unless somebody sleeps.
//!
//! What is in it is held by a pin, until somebody has taken it. The order is that of `docs/protocol.md`, "Channels"; the words are in `table/ring.rs` and `table/seats.rs`.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::payload::{Payload, slot_of};
use super::proxy::{Kind, Proxy, expect_type, item, sealed};
use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::{BUILT, ChannelHead};
use crate::region::{ObjectId, Offset, Region};
use crate::session::{Hold, KeptLane, Session};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Event, Owner, Spin};
use crate::table::channels::{ChannelWords, MANY, SINGLE};
use crate::table::ring::{Damaged, Ring};
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

/// A queue of proxies in shared memory, by which processes hand objects over: a few hundred nanoseconds for an object of any size.
///
/// Made by [`Manager::channel`](crate::Manager::channel), for any number of senders and receivers, or
/// [`Manager::single_channel`](crate::Manager::single_channel), for one of each. It is an object like any other: it can be published, and sent as a ticket or through another channel. It lives as long as somebody
/// holds it, and dies with what is in it. `T` is any proxy, [`Object`](crate::Object) too.
///
/// What is sent belongs to the channel until it is received, whatever becomes of the sender. A process that dies loses what it had received, and nothing else; none that is stopped is waited for.
/// A channel that contains itself, also by way of others, is never freed before its broker ends.
///
/// ```
/// use sharehold::{Array, Channel, Manager};
///
/// let manager = Manager::start()?;
/// let channel: Channel<Array<f64>> = manager.channel(16)?;
/// manager.publish("samples", &channel)?;
/// let sender = channel.sender()?;
/// sender.send(manager.array(&[1.0, 2.5])?)?;
/// drop(sender); // there is nobody left who sends
///
/// // In any other process:
/// let channel: Channel<Array<f64>> = manager.lookup("samples")?;
/// for samples in channel.receiver()?.iter() {
///     assert_eq!(samples?.read()?[1], 2.5);
/// }
/// # Ok::<(), sharehold::Error>(())
/// ```
pub struct Channel<T: Proxy> {
    hold: Hold,
    head: Payload<ChannelHead>,
    entries: Payload<AtomicU64>,
    item: PhantomData<fn() -> T>,
}

impl<T: Proxy> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Self { hold: self.hold.clone(), head: self.head, entries: self.entries, item: PhantomData }
    }
}

impl<T: Proxy> Channel<T> {
    fn words(&self) -> Result<ChannelWords<'_>> {
        let head = self.head.shared(&self.hold).ok_or_else(|| cut_off(self.hold.id()))?;
        Ok(ChannelWords { head, entries: self.entries.words(&self.hold) })
    }

    /// How many objects it has room for.
    pub fn capacity(&self) -> usize {
        self.entries.count()
    }

    /// How many objects are in it, while others may be sending and receiving.
    pub fn len(&self) -> usize {
        self.words().map_or(0, |words| words.ring().len())
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A handle to send with.
    ///
    /// # Errors
    /// `Refused` if the channel is for one sender and there is one; `TableFull` if 64 other processes send; `ReadOnly`, `Forked`; `Damaged`.
    pub fn sender(&self) -> Result<Sender<T>> {
        End::open(self, "sender", |words| words.senders()).map(Sender)
    }

    /// A handle to receive with.
    ///
    /// # Errors
    /// As [`Channel::sender`].
    pub fn receiver(&self) -> Result<Receiver<T>> {
        End::open(self, "receiver", |words| words.receivers()).map(Receiver)
    }

    /// Closes the channel for good: nothing is sent any more, and what is in it is received until it is empty. All who wait are woken.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`.
    pub fn close(&self) -> Result<()> {
        self.hold.session().check_ours()?;
        self.hold.session().check_writes("close a channel")?;
        self.mark(CLOSED)
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.state() & CLOSED != 0
    }

    fn state(&self) -> u32 {
        // Acquire: whoever sees that the senders are gone sees what they have sent.
        self.words().map_or(DAMAGED, |words| words.head.state.load(Ordering::Acquire))
    }

    fn mark(&self, flag: u32) -> Result<()> {
        let words = self.words()?;
        words.head.state.fetch_or(flag, Ordering::AcqRel);
        words.wake();
        Ok(())
    }

    /// Nobody sends or receives any more in a channel that contradicts itself. What is in it stays held, and is looked for when it dies.
    fn damaged(&self) -> Error {
        let _ = self.mark(DAMAGED);
        damaged(self.hold.id())
    }

    fn look<R>(&self, look: impl FnOnce(Ring<'_>) -> Result<R, Damaged>) -> Result<R> {
        look(self.words()?.ring()).map_err(|Damaged| self.damaged())
    }

    /// What somebody looks at who has waited in vain for a while.
    fn look_closely(&self) -> Result<()> {
        let words = self.words()?;
        let session = self.hold.session();
        words.vacate(|owner| session.is_dead(owner));
        if words.ring().is_consistent() { Ok(()) } else { Err(self.damaged()) }
    }
}

#[expect(private_interfaces, reason = "only this crate can call it")]
impl<T: Proxy> sealed::Typed for Channel<T> {
    fn check(region: &Region, id: ObjectId) -> Result<()> {
        let (fingerprint, name) = T::item();
        expect_type(region, id, Kind::Channel, fingerprint, || name.clone())
    }

    fn of(hold: Hold) -> Result<Self> {
        let region = hold.session().region();
        Self::check(region, hold.id())?;
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
        Ok(Self { hold, head, entries, item: PhantomData })
    }

    fn hold(&self) -> &Hold {
        &self.hold
    }

    fn item() -> (u64, String) {
        let (fingerprint, name) = T::item();
        item("Channel", fingerprint, Some(name))
    }
}

impl<T: Proxy> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel<{}>({}, {} of {})", T::item().1, self.hold.id(), self.len(), self.capacity())
    }
}

/// One end of a channel, in one process. One thread at a time uses it: nobody else moves the words of a channel that is for one, nor the lane.
struct End<T: Proxy> {
    session: Arc<Session>,
    channel: Channel<T>,
    lane: Option<KeptLane>,
    /// Who has opened it: in a forked child it still is the parent's.
    me: Owner,
    side: for<'c> fn(ChannelWords<'c>) -> Side<'c>,
    spin: Spin,
    alone: PhantomData<Cell<()>>,
}

impl<T: Proxy> End<T> {
    fn open(channel: &Channel<T>, what: &str, side: for<'c> fn(ChannelWords<'c>) -> Side<'c>) -> Result<Self> {
        let session = channel.hold.session();
        session.check_ours()?;
        session.check_writes("send or receive")?;
        let (words, me) = (channel.words()?, session.owner());
        let (form, is_single) = (words.head.form.load(Ordering::Relaxed), words.is_single());
        if !is_single && form != MANY || channel.state() & DAMAGED != 0 {
            return Err(channel.damaged());
        }
        let side_of = side(words);
        let opened = side_of.open(me.word(), is_single).or_else(|_| {
            // Those who are dead may have yet to be swept.
            words.vacate(|owner| session.is_dead(owner));
            side_of.open(me.word(), is_single)
        });
        match opened {
            Ok(()) => Ok(Self {
                session: channel.hold.session_arc(),
                channel: channel.clone(),
                lane: session.keep_lane(),
                me,
                side,
                spin: Spin::default(),
                alone: PhantomData,
            }),
            Err(Refused::Taken(by)) => Err(taken(channel, what, by)),
            Err(Refused::Full) => {
                let count = side_of.seats.len();
                let what = format!("channel {} has a {what} in {count} processes, and can't have more", channel.id());
                Err(Error::new(ErrorKind::TableFull, what))
            }
        }
    }

    fn is_mine(&self) -> bool {
        self.session.is_ours() && self.session.owner() == self.me
    }

    fn check(&self) -> Result<()> {
        self.session.check_ours()?;
        if self.is_mine() {
            return Ok(());
        }
        let what = format!("this end of channel {} is the parent's of this process", self.channel.id());
        Err(Error::new(ErrorKind::Forked, what).help("open one of its own: the channel itself was inherited"))
    }

    /// Does `attempt` until it gives something, at most until `deadline`. Sleeps between at `event`, unless `ready`.
    fn repeat<R>(
        &self,
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
            let words = self.channel.words()?;
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            let event = event(words.head);
            if event.wait(&self.spin, Some(slice), || ready(words).then_some(())).is_none() && slice == SLICE {
                self.channel.look_closely()?;
            }
        }
    }
}

impl<T: Proxy> Drop for End<T> {
    fn drop(&mut self) {
        if !self.is_mine() {
            return;
        }
        if let Some(lane) = self.lane.take() {
            self.session.give_lane_back(lane);
        }
        if let Ok(words) = self.channel.words()
            && (self.side)(words).close(self.me.word())
        {
            words.wake();
        }
    }
}

/// An end of a channel that sends. Made by [`Channel::sender`]. It may be moved to another thread; threads that send at the same time have one each.
///
/// ```compile_fail
/// # fn of(sender: sharehold::Sender<sharehold::Value<u8>>) {
/// sender.recv();
/// # }
/// ```
pub struct Sender<T: Proxy>(End<T>);

impl<T: Proxy> Sender<T> {
    /// Moves a proxy into the channel. Waits for room.
    ///
    /// # Errors
    /// Each gives the proxy back. `Disconnected` if there were receivers and all are gone, or the channel was closed; `InvalidArgument` for a proxy of another broker, or of the channel itself; `Damaged`, `Forked`.
    pub fn send(&self, proxy: T) -> Result<(), SendError<T>> {
        self.send_until(proxy, None, Duration::ZERO)
    }

    /// As [`Sender::send`], but waits at most this long.
    ///
    /// # Errors
    /// As [`Sender::send`], and `Timeout`.
    pub fn send_timeout(&self, proxy: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.send_until(proxy, Instant::now().checked_add(timeout), timeout)
    }

    /// As [`Sender::send`], but does not wait.
    ///
    /// # Errors
    /// As [`Sender::send`], and `ChannelFull`.
    pub fn try_send(&self, proxy: T) -> Result<(), SendError<T>> {
        match self.offer(&proxy) {
            Ok(Some(())) => {
                proxy.forget();
                Ok(())
            }
            Ok(None) => {
                let what =
                    format!("channel {} is full: it has room for {}", self.channel().id(), self.channel().capacity());
                Err(SendError { error: Error::new(ErrorKind::ChannelFull, what), proxy })
            }
            Err(error) => Err(SendError { error, proxy }),
        }
    }

    /// The channel.
    pub fn channel(&self) -> &Channel<T> {
        &self.0.channel
    }

    fn send_until(&self, proxy: T, deadline: Option<Instant>, timeout: Duration) -> Result<(), SendError<T>> {
        let is_ready = |words: ChannelWords<'_>| {
            !matches!(words.ring().vacancy(), Ok(None))
                || words.head.state.load(Ordering::Relaxed) & (CLOSED | NO_RECEIVERS | DAMAGED) != 0
        };
        let sent = self.0.repeat(deadline, |head| Event::new(&head.emptied), is_ready, || self.offer(&proxy));
        let error = match sent {
            Ok(Some(())) => {
                proxy.forget();
                return Ok(());
            }
            Ok(None) => late(self.channel(), "room in", timeout),
            Err(error) => error,
        };
        Err(SendError { error, proxy })
    }

    /// Stores what the proxy holds. `None`: there is no room.
    fn offer(&self, proxy: &T) -> Result<Option<()>> {
        self.0.check()?;
        let (channel, hold) = (self.channel(), proxy.hold());
        let state = channel.state();
        if state & DAMAGED != 0 {
            return Err(damaged(channel.id()));
        }
        if state & (CLOSED | NO_RECEIVERS) != 0 {
            return Err(disconnected(channel, state, "receiver"));
        }
        if !std::ptr::eq(hold.session(), &*self.0.session) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the object belongs to another broker"));
        }
        if hold.id() == channel.id() {
            return Err(Error::new(ErrorKind::InvalidArgument, "a channel can't hold itself: it would never be freed"));
        }
        let Some(mut vacancy) = channel.look(|ring| ring.vacancy())? else { return Ok(None) };
        let words = channel.words()?;
        let stored = hold.store(self.0.lane.as_ref(), || {
            let ring = words.ring();
            while !ring.fill(&vacancy, hold.id()) {
                match ring.vacancy() {
                    Ok(Some(next)) => vacancy = next,
                    // No room any more; damage is found by the next look.
                    Ok(None) | Err(Damaged) => return false,
                }
            }
            true
        })?;
        if stored {
            Event::new(&words.head.filled).wake_after_swap();
        }
        Ok(stored.then_some(()))
    }
}

/// An end of a channel that receives. Made by [`Channel::receiver`]. It may be moved to another thread; threads that receive at the same time have one each.
///
/// ```compile_fail
/// # fn of(receiver: sharehold::Receiver<sharehold::Value<u8>>, value: sharehold::Value<u8>) {
/// receiver.send(value);
/// # }
/// ```
pub struct Receiver<T: Proxy>(End<T>);

impl<T: Proxy> Receiver<T> {
    /// The oldest object in the channel. Waits for one.
    ///
    /// # Errors
    /// `Disconnected` if the channel is empty, and was closed or had senders and has none; `Damaged`, `Forked`. An object that can't be opened is dropped: the error is that of opening it.
    pub fn recv(&self) -> Result<T> {
        self.recv_until(None, Duration::ZERO)
    }

    /// As [`Receiver::recv`], but waits at most this long.
    ///
    /// # Errors
    /// As [`Receiver::recv`], and `Timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T> {
        self.recv_until(Instant::now().checked_add(timeout), timeout)
    }

    /// As [`Receiver::recv`], but does not wait: `None` if nothing is there yet.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn try_recv(&self) -> Result<Option<T>> {
        if let Some(proxy) = self.take()? {
            return Ok(Some(proxy));
        }
        let state = self.channel().state();
        if state & DAMAGED != 0 {
            return Err(damaged(self.channel().id()));
        }
        if state & (CLOSED | NO_SENDERS) == 0 {
            return Ok(None);
        }
        // What was sent before the last sender left is there by now.
        self.take()?.map(Some).ok_or_else(|| disconnected(self.channel(), state, "sender"))
    }

    /// All that comes, until the channel is disconnected.
    pub fn iter(&self) -> impl Iterator<Item = Result<T>> {
        std::iter::from_fn(|| match self.recv() {
            Err(error) if error.kind() == ErrorKind::Disconnected => None,
            received => Some(received),
        })
    }

    /// All that is there.
    pub fn try_iter(&self) -> impl Iterator<Item = Result<T>> {
        std::iter::from_fn(|| match self.try_recv() {
            Err(error) if error.kind() == ErrorKind::Disconnected => None,
            received => received.transpose(),
        })
    }

    /// The channel.
    pub fn channel(&self) -> &Channel<T> {
        &self.0.channel
    }

    fn recv_until(&self, deadline: Option<Instant>, timeout: Duration) -> Result<T> {
        let is_ready = |words: ChannelWords<'_>| {
            !matches!(words.ring().oldest(), Ok(None))
                || words.head.state.load(Ordering::Relaxed) & (CLOSED | NO_SENDERS | DAMAGED) != 0
        };
        self.0
            .repeat(deadline, |head| Event::new(&head.filled), is_ready, || self.try_recv())?
            .ok_or_else(|| late(self.channel(), "an object in", timeout))
    }

    /// Takes the oldest out.
    fn take(&self) -> Result<Option<T>> {
        self.0.check()?;
        let channel = self.channel();
        let (session, lane) = (&self.0.session, self.0.lane.as_ref());
        let words = channel.words()?;
        while let Some(oldest) = channel.look(|ring| ring.oldest())? {
            // One that was never used is none.
            let is_used = oldest.slot.0 < session.region().slots_used();
            let id = is_used.then(|| session.region().id_of(oldest.slot)).flatten();
            let Some(id) = id.filter(|id| oldest.is_of(id.generation())) else {
                // Or another has taken it, and the object has died since.
                if words.ring().has(&oldest) {
                    return Err(channel.damaged());
                }
                continue;
            };
            if let Some(hold) = Hold::remove(session, lane, id, || words.ring().take(&oldest))? {
                Event::new(&words.head.emptied).wake_after_swap();
                return T::of(hold).map(Some);
            }
        }
        Ok(None)
    }
}

impl<T: Proxy> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender of {:?}", self.channel())
    }
}

impl<T: Proxy> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver of {:?}", self.channel())
    }
}

/// Why a proxy was not sent, and the proxy.
pub struct SendError<T> {
    /// What happened.
    pub error: Error,
    /// What was to be sent.
    pub proxy: T,
}

impl<T> SendError<T> {
    /// The stable kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }
}

impl<T> From<SendError<T>> for Error {
    fn from(error: SendError<T>) -> Self {
        error.error
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendError({:?})", self.error)
    }
}

impl<T> std::error::Error for SendError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

fn damaged(id: ObjectId) -> Error {
    let what = "contradicts itself: somebody has written what is not his";
    Error::new(ErrorKind::Damaged, format!("channel {id} {what}"))
        .help("make another one; what is in this one is held until it dies")
}

fn cut_off(id: ObjectId) -> Error {
    Error::new(ErrorKind::Damaged, format!("object {id} is not a whole channel"))
}

fn disconnected<T: Proxy>(channel: &Channel<T>, state: u32, other: &str) -> Error {
    let id = channel.id();
    let what = if state & CLOSED != 0 {
        format!("channel {id} was closed")
    } else {
        format!("channel {id} has no {other} any more")
    };
    Error::new(ErrorKind::Disconnected, what)
}

fn late<T: Proxy>(channel: &Channel<T>, what: &str, timeout: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("waited {timeout:?} for {what} channel {}", channel.id()))
}

fn taken<T: Proxy>(channel: &Channel<T>, what: &str, by: u32) -> Error {
    let region = channel.hold.session().region();
    let by = Owner::of_word(by).and_then(|owner| sessions::read(region, crate::region::SessionIndex(owner.session())));
    let by = by.map_or_else(String::new, |record| format!(": process {} ({})", record.pid, record.comm));
    let what = format!("channel {} is for one {what}, and has it{by}", channel.id());
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
