//! Objects: asked for through a channel, counted, claimed, and filled.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::message::{self, Create, CreateWithin, Granted, Request};
use super::slab;
use crate::error::{Error, ErrorKind, Result};
use crate::object::payload::{Payload, damaged, slot_of};
use crate::object::proxy::sealed::Typed;
use crate::object::queue::{Form, build};
use crate::object::{Array, Channel, Frozen, Kind, Proxy, Schema, Shareable};
use crate::region::layout::{CELL, ChannelHead, FILLED, TYPE_NAME_BYTES};
use crate::region::{ObjectId, Offset};
use crate::session::slabs::Shape;
use crate::session::{Hold, Session};
use crate::sync::atomic::Ordering;
use crate::sys::{self, clock};
use crate::table::refs::Refs;

/// How long a request that the broker answers at once may take. It is over only if the broker is stopped.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A way to ask the broker: a socket, or the broker itself.
pub(crate) trait ControlChannel: Send + Sync {
    /// Asks, waits for the answer, and reads it before anything else goes the same way: with the next message the broker takes back what was not taken.
    fn call_with(
        &self,
        request: Request,
        body: &[u8],
        patience: Duration,
        read: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()>;

    /// As [`ControlChannel::call_with`], where nothing has to be taken.
    fn call(&self, request: Request, body: &[u8], patience: Duration) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.call_with(request, body, patience, &mut |bytes| {
            answer.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(answer)
    }

    /// Asks for an object whose bytes are in a file that nobody can change, which goes along. Otherwise as [`ControlChannel::call_with`].
    fn freeze(&self, create: &Create, file: OwnedFd, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

    /// Asks for a slab, for a shelf, without waiting for the answer. Returns whether that could be done.
    fn order(&self, _shelf: (u64, u16), _body: &[u8]) -> bool {
        false
    }

    /// Waits for what was ordered. `None` if it will never come.
    fn delivered(&self, _shelf: (u64, u16)) -> Option<Vec<u8>> {
        None
    }

    /// Starts the broker again, if this process started it and it has died.
    fn restart(&self) -> Result<()> {
        Ok(())
    }

    /// The process id of the broker, if this process started it.
    fn child_pid(&self) -> Option<u32> {
        None
    }
}

/// Most entries of a channel.
const MOST_ENTRIES: usize = 1 << 20;
/// How often a grant that was withdrawn is asked for again.
const TRIES: u32 = 3;
/// How often memory is asked for that the system does not have, by one that waits for room: nobody tells when there is some.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// An object that was just created, with the place that the broker has told.
pub(crate) struct Created {
    pub(crate) hold: Hold,
    place: Offset,
    len: u64,
}

impl Created {
    pub(super) fn at(hold: Hold, place: Offset, len: u64) -> Self {
        Self { hold, place, len }
    }

    /// The bytes that the creator writes: those that it was granted, whatever the slot says.
    pub(crate) fn payload<T>(&self) -> Result<Payload<T>> {
        Payload::at(self.hold.session().region(), self.place, self.len)
            .ok_or_else(|| damaged(&self.hold, self.place, self.len))
    }
}

/// Creates an object, counted once, its memory reserved but not written. If there is no room for it, waits for `room` at most.
pub(crate) fn create(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    wanted: &Wanted<'_>,
    room: Duration,
) -> Result<Created> {
    session.check_ours()?;
    session.check_writes("create objects")?;
    match slab::create(session, channel, wanted)? {
        Some(created) => Ok(created),
        None => create_alone(session, channel, &wanted.create(), room),
    }
}

fn create_alone(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    create: &Create,
    room: Duration,
) -> Result<Created> {
    let most = session.region().capacities().heap;
    let until = clock::boot_nanos_after(room);
    loop {
        let left = Duration::from_nanos(until.saturating_sub(clock::boot_nanos()));
        match create_once(session, channel, create, left) {
            // The broker has waited already; the rest is memory that the system does not have.
            Err(error)
                if error.kind() == ErrorKind::RegionFull
                    && create.len <= most
                    && until.saturating_sub(clock::boot_nanos()) > ASK_AGAIN.as_nanos() as u64 =>
            {
                std::thread::sleep(ASK_AGAIN);
            }
            other => return other,
        }
    }
}

fn create_once(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    create: &Create,
    room: Duration,
) -> Result<Created> {
    let (request, body) = if room.is_zero() {
        (Request::Create, message::archive(create)?)
    } else {
        let millis = u64::try_from(room.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        (Request::CreateWithin, message::archive(&CreateWithin { create: create.clone(), millis })?)
    };
    for _ in 0..TRIES {
        let mut claimed = None;
        channel.call_with(request, &body, PATIENCE.saturating_add(room), &mut |answer| {
            let granted: Granted = message::fixed(answer)?;
            let hold = Hold::claim(session, ObjectId::from_bits(granted.object), Refs(granted.refs))?;
            claimed = hold.map(|hold| (granted, hold));
            Ok(())
        })?;
        let Some((granted, hold)) = claimed else { continue };
        let place = Offset(granted.offset);
        // That memory is warm the broker knows from those who had it before: the system knows better. What is small was reserved by the broker itself.
        if granted.warm == 0 || !slab::is_small(create.len) && !session.region().is_backed(place, create.len) {
            // On failure the hold is dropped, and with it the object.
            session.region().reserve(place, create.len)?;
        }
        slot_of(&hold)?.flags.fetch_or(FILLED, Ordering::Relaxed);
        return Ok(Created::at(hold, place, create.len));
    }
    Err(withdrawn())
}

fn withdrawn() -> Error {
    Error::new(ErrorKind::BrokerGone, "the broker withdrew what it had granted")
}

/// Creates an array that `fill` writes in place.
pub(crate) fn array<T: Shareable, E: From<Error>>(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    len: usize,
    align: usize,
    room: Duration,
    fill: impl FnOnce(&mut [T]) -> Result<(), E>,
) -> Result<Array<T>, E> {
    let (hold, payload) = filled(session, channel, &Element::of::<T>(), len, align, room, fill)?;
    Ok(Array::created(hold, payload))
}

/// Creates an array of elements of a type that is known only now, whose bytes `fill` writes in place.
pub(crate) fn array_of<E: From<Error>>(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    schema: &Schema,
    len: usize,
    room: Duration,
    fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
) -> Result<Array<u8>, E> {
    let name = || schema.name.clone();
    let (hold, payload) = filled(session, channel, &Element::of_schema(schema, &name), len, 1, room, fill)?;
    Ok(Array::created(hold, payload))
}

/// Creates an array of `len` elements, of which `fill` gets the memory as `T`s.
#[expect(unsafe_code, reason = "an object that nobody else knows yet is written in place")]
fn filled<T: Shareable, E: From<Error>>(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    element: &Element<'_>,
    len: usize,
    align: usize,
    room: Duration,
    fill: impl FnOnce(&mut [T]) -> Result<(), E>,
) -> Result<(Hold, Payload<T>), E> {
    if element.size == 0 {
        return Err(Error::new(ErrorKind::InvalidArgument, "an array's elements have at least one byte").into());
    }
    let bytes = u64::try_from(len).ok().and_then(|len| len.checked_mul(element.size)).ok_or_else(|| {
        Error::new(ErrorKind::RegionFull, format!("{len} elements of {} bytes do not fit any memory", element.size))
    })?;
    let align = (align as u64).max(element.align.into());
    let created = create(session, channel, &Wanted::of(element, Kind::Array, bytes, align), room)?;
    let place: Payload<T> = created.payload()?;
    // SAFETY: only this call has the object's id, so nobody else reads or writes it yet.
    fill(unsafe { place.slice_mut() })?;
    Ok((created.hold, place))
}

/// Creates a channel with room for so many objects, or somewhat more.
pub(crate) fn channel<P: Proxy>(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    capacity: usize,
    form: Form,
    room: Duration,
) -> Result<Channel<P>> {
    let (head, cell) = (size_of::<ChannelHead>() as u64, CELL);
    let entries = capacity.checked_next_power_of_two().filter(|entries| (1..=MOST_ENTRIES).contains(entries));
    let entries = entries.filter(|_| capacity > 0).ok_or_else(|| {
        let what = format!("a channel can't have room for {capacity} objects");
        Error::new(ErrorKind::InvalidArgument, what).help("give it room for 1 to 1048576")
    })?;
    let (type_fingerprint, name) = P::item();
    let create_it = Create {
        kind: Kind::Channel as u32,
        type_name: cut(name),
        type_fingerprint,
        element_size: cell,
        element_align: 8,
        len: head + entries as u64 * cell,
        align: 128,
    };
    session.check_ours()?;
    session.check_writes("create objects")?;
    // Not of a slab: what is in a dead one is taken out by the broker.
    let created = create_alone(session, channel, &create_it, room)?;
    build(&created.hold, created.payload()?, form)?;
    <Channel<P> as Typed>::of(created.hold)
}

/// Creates an object whose bytes nobody can change.
pub(crate) fn frozen<T: Shareable>(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    elements: &[T],
) -> Result<Frozen<T>> {
    let bytes: &[u8] = bytemuck::try_cast_slice(elements).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, format!("elements of {} have no bytes: {error}", T::type_name()))
    })?;
    let (hold, _mapped) = frozen_hold(session, channel, &Schema::of::<T>(), bytes)?;
    <Frozen<T> as Typed>::of(hold)
}

/// As [`frozen`], of elements of a type that is known only now.
pub(crate) fn frozen_of(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    schema: &Schema,
    bytes: &[u8],
) -> Result<Frozen<u8>> {
    if schema.size == 0 || !(bytes.len() as u64).is_multiple_of(schema.size) {
        let what = format!("{} bytes are not a number of elements of {} bytes", bytes.len(), schema.size);
        return Err(Error::new(ErrorKind::InvalidArgument, what));
    }
    let (hold, _mapped) = frozen_hold(session, channel, schema, bytes)?;
    Frozen::bytes_of(hold)
}

/// The object, and its bytes, which the next proxy finds mapped as long as they are there.
fn frozen_hold(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    schema: &Schema,
    bytes: &[u8],
) -> Result<(Hold, Arc<sys::frozen::Frozen>)> {
    session.check_ours()?;
    session.check_writes("create objects")?;
    let create =
        Wanted::of(&Element::of_schema(schema, &|| schema.name.clone()), Kind::Frozen, bytes.len() as u64, 1).create();
    let file = sys::frozen::Frozen::write(&format!("sharehold-frozen:{}", session.broker_name()), bytes)?;
    let mine = file.try_clone().map_err(|error| Error::os("keep a descriptor", error))?;
    let mut claimed = None;
    channel.freeze(&create, file, &mut |answer| {
        let granted: Granted = message::fixed(answer)?;
        claimed = Hold::claim(session, ObjectId::from_bits(granted.object), Refs(granted.refs))?;
        Ok(())
    })?;
    let hold = claimed.ok_or_else(withdrawn)?;
    let mapped = session.keep_frozen(hold.id(), mine)?;
    Ok((hold, mapped))
}

/// Creates a sealed array of bytes.
pub(crate) fn bytes(session: &Arc<Session>, channel: &dyn ControlChannel, bytes: &[u8]) -> Result<Array<u8>> {
    let array = array(session, channel, bytes.len(), 1, Duration::ZERO, |place| {
        place.copy_from_slice(bytes);
        Ok::<(), Error>(())
    })?;
    array.seal()?;
    Ok(array)
}

/// What the elements of an object are. Their name is made only where it is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) fingerprint: u64,
    pub(crate) size: u64,
    pub(crate) align: u32,
    pub(crate) name: &'a dyn Fn() -> String,
}

impl<'a> Element<'a> {
    pub(crate) fn of<T: Shareable>() -> Element<'static> {
        let (fingerprint, size, align) = (T::FINGERPRINT, size_of::<T>() as u64, align_of::<T>() as u32);
        Element { fingerprint, size, align, name: &T::type_name }
    }

    /// Of a type that is known only now.
    pub(crate) fn of_schema(schema: &Schema, name: &'a dyn Fn() -> String) -> Self {
        Self { fingerprint: schema.fingerprint, size: schema.size, align: schema.align, name }
    }
}

/// An object that is to be created.
pub(crate) struct Wanted<'a> {
    pub(crate) shape: Shape,
    pub(crate) element: Element<'a>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn of(element: &Element<'a>, kind: Kind, len: u64, align: u64) -> Self {
        let shape = Shape { kind: kind as u32, type_fingerprint: element.fingerprint, len, align };
        Self { shape, element: *element }
    }

    /// The request for it.
    pub(crate) fn create(&self) -> Create {
        let Shape { kind, type_fingerprint, len, align } = self.shape;
        Create {
            kind,
            type_name: cut((self.element.name)()),
            type_fingerprint,
            element_size: self.element.size,
            element_align: self.element.align,
            len,
            align,
        }
    }
}

/// A type's name as the region has room for it.
pub(crate) fn cut(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(TYPE_NAME_BYTES));
    name
}
