//! A queue of references in shared memory: objects are handed over without a copy, without the broker, and without a system call unless somebody sleeps.
//!
//! What is in it is held by a pin, until somebody has taken it. What does not depend on its type is in [`super::queue`].

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::proxy::{Kind, Proxy, expect_type, item, sealed};
use super::queue::{End, Queue};
use crate::error::{Error, ErrorKind, Result};
use crate::region::{ObjectId, Region};
use crate::session::Hold;
use crate::table::seats::CLOSED;

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
    queue: Queue,
    item: PhantomData<fn() -> T>,
}

impl<T: Proxy> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), item: PhantomData }
    }
}

impl<T: Proxy> Channel<T> {
    /// How many objects it has room for.
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// How many objects are in it, while others may be sending and receiving.
    pub fn len(&self) -> usize {
        self.queue.words().map_or(0, |words| words.ring().len())
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
        Ok(Sender(Handle { end: End::sender(&self.queue)?, channel: self.clone() }))
    }

    /// A handle to receive with.
    ///
    /// # Errors
    /// As [`Channel::sender`].
    pub fn receiver(&self) -> Result<Receiver<T>> {
        Ok(Receiver(Handle { end: End::receiver(&self.queue)?, channel: self.clone() }))
    }

    /// Closes the channel for good: nothing is sent any more, and what is in it is received until it is empty. All who wait are woken.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`.
    pub fn close(&self) -> Result<()> {
        self.queue.close()
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.queue.state() & CLOSED != 0
    }
}

#[expect(private_interfaces, reason = "only this crate can call it")]
impl<T: Proxy> sealed::Typed for Channel<T> {
    fn check(region: &Region, id: ObjectId) -> Result<()> {
        let (fingerprint, name) = T::item();
        expect_type(region, id, Kind::Channel, fingerprint, || name.clone())
    }

    fn of(hold: Hold) -> Result<Self> {
        Self::check(hold.session().region(), hold.id())?;
        Ok(Self { queue: Queue::of(hold)?, item: PhantomData })
    }

    fn hold(&self) -> &Hold {
        &self.queue.hold
    }

    fn item() -> (u64, String) {
        let (fingerprint, name) = T::item();
        item("Channel", fingerprint, Some(name))
    }
}

impl<T: Proxy> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel<{}>({}, {} of {})", T::item().1, self.queue.id(), self.len(), self.capacity())
    }
}

/// What an end of a channel is, of either side.
struct Handle<T: Proxy> {
    end: End,
    channel: Channel<T>,
}

impl<T: Proxy> Drop for Handle<T> {
    fn drop(&mut self) {
        self.end.close(&self.channel.queue);
    }
}

/// An end of a channel that sends. Made by [`Channel::sender`]. It may be moved to another thread; threads that send at the same time have one each.
///
/// ```compile_fail
/// # fn of(sender: sharehold::Sender<sharehold::Value<u8>>) {
/// sender.recv();
/// # }
/// ```
pub struct Sender<T: Proxy>(Handle<T>);

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
        match self.0.end.try_send(&self.0.channel.queue, proxy.hold()) {
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
        let sent = self.0.end.send(&self.0.channel.queue, proxy.hold(), deadline);
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
}

/// An end of a channel that receives. Made by [`Channel::receiver`]. It may be moved to another thread; threads that receive at the same time have one each.
///
/// ```compile_fail
/// # fn of(receiver: sharehold::Receiver<sharehold::Value<u8>>, value: sharehold::Value<u8>) {
/// receiver.send(value);
/// # }
/// ```
pub struct Receiver<T: Proxy>(Handle<T>);

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
        self.0.end.try_receive(&self.0.channel.queue)?.map(T::of).transpose()
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
        let hold = self.0.end.receive(&self.0.channel.queue, deadline)?;
        T::of(hold.ok_or_else(|| late(self.channel(), "an object in", timeout))?)
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

fn late<T: Proxy>(channel: &Channel<T>, what: &str, timeout: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("waited {timeout:?} for {what} channel {}", channel.id()))
}
