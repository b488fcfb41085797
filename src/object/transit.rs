//! References on their way through a call: arguments and results are MessagePack, a proxy in them is an extension value.
//!
//! In arguments a proxy is its object's id alone: the caller keeps its own until the answer is there, and the broker takes one for itself. In a result it is a
//! ticket as well, which holds the object until the caller has it; the broker cancels those that never arrive.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use rmp_serde::{MSGPACK_EXT_STRUCT_NAME, config::BytesMode};
use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};

use super::proxy::sealed::Typed;
use super::proxy::{Object, Proxy};
use crate::error::{Error, ErrorKind, Result};
use crate::region::{ObjectId, Region};
use crate::session::{Ask, Hold, Session};
use crate::sync::atomic::Ordering;
use crate::table::tickets::{self, LiveTicket, Terms, TicketPlace};

/// Deepest nesting of what is sent: reading it takes stack.
const DEPTH: usize = 128;
/// The same of arguments. Less, so that what a container took fits into all that it answers.
const ARGUMENT_DEPTH: usize = DEPTH - 8;
/// The extension type of a reference.
const REFERENCE: i8 = 1;
/// Object id; in a result also index and serial of the ticket.
const ID: usize = 8;
const ID_AND_TICKET: usize = 16;

const EMPTY_LIST: &[u8] = &[0x90];
const UNIT: &[u8] = &[0xc0];

/// What this thread is writing or reading.
enum Transit {
    /// Something that is for no call, perhaps in the middle of one.
    Outside,
    WriteArguments {
        region: u64,
    },
    WriteResult {
        region: u64,
        issued: Vec<LiveTicket>,
    },
    ReadArguments {
        session: Arc<Session>,
    },
    ReadResult {
        session: Arc<Session>,
    },
}

thread_local! {
    /// A stack: a value that is written may make a call of its own. Beside it the error that the codec only passes on as text.
    static TRANSITS: RefCell<Vec<(Transit, Option<Error>)>> = const { RefCell::new(Vec::new()) };
}

/// Works with a transit on the stack, and takes it off also if the work panics.
fn with<R>(transit: Transit, work: impl FnOnce() -> R) -> (R, Transit, Option<Error>) {
    struct Pop(bool);
    impl Drop for Pop {
        fn drop(&mut self) {
            if self.0 {
                TRANSITS.with_borrow_mut(Vec::pop);
            }
        }
    }
    TRANSITS.with_borrow_mut(|stack| stack.push((transit, None)));
    let mut pop = Pop(true);
    let result = work();
    pop.0 = false;
    match TRANSITS.with_borrow_mut(Vec::pop) {
        Some((transit, error)) => (result, transit, error),
        None => unreachable!("each `with` takes off what it put on"),
    }
}

/// Keeps an error for the one that started the transit.
fn keep<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|error| {
        let text = error.message().to_owned();
        TRANSITS.with_borrow_mut(|stack| {
            if let Some((_, kept)) = stack.last_mut() {
                kept.get_or_insert(error);
            }
        });
        text
    })
}

/// Room that is left in front of a result for the heads that go before it.
pub(crate) const ROOM: usize = 40;

/// What is written is at first no longer, and a buffer that was is not used again.
const SHORT: usize = 128;
const LONG: usize = 4096;

thread_local! {
    /// A buffer for what this thread writes next.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Takes back what was written, once it was sent.
pub(crate) fn recycle(bytes: Vec<u8>) {
    if bytes.capacity() <= LONG {
        // At the end of a thread there is nothing to keep.
        let _ = SPARE.try_with(|spare| spare.set(bytes));
    }
}

fn write<T: Serialize + ?Sized>(value: &T, room: usize) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = SPARE.try_with(Cell::take).unwrap_or_default();
    bytes.clear();
    bytes.reserve(SHORT);
    bytes.resize(room, 0);
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_bytes(BytesMode::ForceIterables);
    serializer.unstable_set_max_depth(DEPTH);
    value.serialize(&mut serializer)?;
    Ok(bytes)
}

fn read<T: DeserializeOwned>(bytes: &[u8], depth: usize) -> Result<T, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(depth);
    T::deserialize(&mut deserializer)
}

fn unwritable(error: rmp_serde::encode::Error, kept: Option<Error>, what: &str) -> Error {
    kept.unwrap_or_else(|| Error::new(ErrorKind::Unserializable, format!("{what} can't be written: {error}")))
}

/// Writes a value that is for no call, so that no proxy can be in it.
pub(crate) fn pack<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let (written, _, kept) = with(Transit::Outside, || write(value, 0));
    written.map_err(|error| unwritable(error, kept, "the value"))
}

/// Reads a value that is of no call: one, and nothing after it.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (value, _, kept) = with(Transit::Outside, || {
        let mut rest = bytes;
        let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
        deserializer.set_max_depth(ARGUMENT_DEPTH);
        T::deserialize(&mut deserializer).map(|value| (value, rest.len()))
    });
    match value {
        Ok((value, 0)) => Ok(value),
        Ok((_, left)) => {
            Err(Error::new(ErrorKind::TypeMismatch, format!("{left} bytes are left after the value that was read")))
        }
        Err(error) => Err(kept.unwrap_or_else(|| Error::new(ErrorKind::TypeMismatch, error.to_string()))),
    }
}

/// Writes arguments. The proxies in them must live until the answer is there.
pub(crate) fn write_arguments<T: Serialize + ?Sized>(region: &Region, arguments: &T) -> Result<Vec<u8>> {
    let (written, _, kept) = with(Transit::WriteArguments { region: identity(region) }, || write(arguments, 0));
    written.map_err(|error| unwritable(error, kept, "the arguments"))
}

/// A result that was written, with the references in it, which hold their objects until they are redeemed or cancelled.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// After [`ROOM`].
    pub(crate) bytes: Vec<u8>,
    pub(crate) issued: Vec<LiveTicket>,
}

impl Written {
    /// The result itself.
    pub(crate) fn value(&self) -> &[u8] {
        &self.bytes[ROOM.min(self.bytes.len())..]
    }

    /// Gives up what nobody has redeemed.
    pub(crate) fn cancel(issued: &[LiveTicket], session: &Session) {
        for ticket in issued.iter().filter(|ticket| tickets::is_live(session.region(), ticket)) {
            session.with_lane(|lane| tickets::cancel(session.region(), session.index(), lane, ticket));
        }
    }
}

/// Writes a result.
pub(crate) fn write_result<T: Serialize + ?Sized>(session: &Session, result: &T) -> Result<Written> {
    let transit = Transit::WriteResult { region: identity(session.region()), issued: Vec::new() };
    // How a value is written is the user's code: if it panics, what was issued before is given up.
    let (written, transit, kept) = with(transit, || catch_unwind(AssertUnwindSafe(|| write(result, ROOM))));
    let Transit::WriteResult { issued, .. } = transit else { unreachable!("it is what was put on") };
    let fault = match written {
        Ok(Ok(bytes)) => return Ok(Written { bytes, issued }),
        Ok(Err(error)) => Ok(error),
        Err(panic) => Err(panic),
    };
    Written::cancel(&issued, session);
    match fault {
        Ok(error) => Err(unwritable(error, kept, "the result")),
        Err(panic) => resume_unwind(panic),
    }
}

/// Reads arguments, taking a reference for each proxy in them.
pub(crate) fn read_arguments<T: DeserializeOwned>(session: &Arc<Session>, bytes: &[u8]) -> Result<T> {
    let (value, _, kept) = with(Transit::ReadArguments { session: Arc::clone(session) }, || {
        // A call without arguments has a unit; other languages may send an empty list.
        let read = |bytes| read(bytes, ARGUMENT_DEPTH);
        read(bytes).or_else(|error| if bytes == EMPTY_LIST { read(UNIT) } else { Err(error) })
    });
    value.map_err(|error| kept.unwrap_or_else(|| Error::new(ErrorKind::TypeMismatch, error.to_string())))
}

/// Reads a result, redeeming the references in it.
pub(crate) fn read_result<T: DeserializeOwned>(session: &Arc<Session>, bytes: &[u8]) -> Result<T> {
    let (value, _, kept) = with(Transit::ReadResult { session: Arc::clone(session) }, || read(bytes, DEPTH));
    value.map_err(|error| {
        kept.unwrap_or_else(|| {
            let wanted = super::schema::short_name::<T>();
            Error::new(ErrorKind::TypeMismatch, format!("the result is not of type {wanted}: {error}"))
                .help("ask for the type that the method returns, or for a Datum")
        })
    })
}

/// Asks the broker through the session's link, and reads the result.
pub(crate) fn ask<T: DeserializeOwned>(session: &Arc<Session>, ask: Ask<'_>) -> Result<T> {
    session.check_ours()?;
    session.check_writes("call methods")?;
    let mut result = None;
    session.to_broker()?.call(session, ask, &mut |bytes| {
        result = Some(read_result(session, bytes)?);
        Ok(())
    })?;
    result.ok_or_else(|| Error::new(ErrorKind::Protocol, "a call was answered without a result"))
}

fn identity(region: &Region) -> u64 {
    region.header().region_id.load(Ordering::Relaxed)
}

/// Bytes as such, where the standard implementations make lists of numbers.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Writes a proxy.
pub(crate) fn serialize<S: Serializer>(hold: &Hold, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(MSGPACK_EXT_STRUCT_NAME, &Referred(hold))
}

/// What an extension value is made of. Only this writes for good: the codec offers values of lists to a trial serializer first, which refuses all but bytes.
struct Referred<'a>(&'a Hold);

impl Serialize for Referred<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = [0; ID_AND_TICKET];
        let len = keep(refer(self.0, &mut bytes)).map_err(serde::ser::Error::custom)?;
        (REFERENCE, Raw(&bytes[..len])).serialize(serializer)
    }
}

/// Fills in what stands for a proxy; returns the length.
fn refer(hold: &Hold, bytes: &mut [u8; ID_AND_TICKET]) -> Result<usize> {
    let session = hold.session();
    session.check_ours()?;
    let here = identity(session.region());
    TRANSITS.with_borrow_mut(|stack| {
        bytes[..ID].copy_from_slice(&hold.id().to_bits().to_le_bytes());
        match stack.last_mut() {
            Some((Transit::WriteArguments { region } | Transit::WriteResult { region, .. }, _)) if *region != here => {
                Err(Error::new(
                    ErrorKind::TicketForeign,
                    format!(
                        "object {} is of broker '{}', not of the one that is called",
                        hold.id(),
                        session.broker_name()
                    ),
                )
                .help("send a ticket as text: it names its broker"))
            }
            Some((Transit::WriteArguments { .. }, _)) => Ok(ID),
            Some((Transit::WriteResult { issued, .. }, _)) => {
                let place = issue(hold, issued)?;
                bytes[ID..12].copy_from_slice(&place.index.to_le_bytes());
                bytes[12..].copy_from_slice(&place.serial.to_le_bytes());
                Ok(ID_AND_TICKET)
            }
            _ => Err(Error::new(
                ErrorKind::Unserializable,
                "a proxy can only be written as an argument or a result of a call",
            )
            .help("everywhere else send proxy.ticket()")),
        }
    })
}

/// Issues what holds an object on its way to a caller.
pub(crate) fn issue(hold: &Hold, issued: &mut Vec<LiveTicket>) -> Result<TicketPlace> {
    let terms = Terms { uses: 1, deadline: 0, issuer: hold.session().pid(), in_reply: true };
    let place = hold.issue(terms, |_| 0)?;
    issued.push(LiveTicket { place, object: hold.id(), uses: 1, deadline: 0, issuer: terms.issuer, in_reply: true });
    Ok(place)
}

/// Reads a proxy of any type.
pub(crate) fn deserialize<'de, P: Typed, D: Deserializer<'de>>(deserializer: D) -> Result<P, D::Error> {
    let object = deserializer.deserialize_newtype_struct(MSGPACK_EXT_STRUCT_NAME, Reference)?;
    keep(P::of(object.into_hold())).map_err(de::Error::custom)
}

/// Writes a generated proxy.
pub fn serialize_proxy<P: Proxy, S: Serializer>(proxy: &P, serializer: S) -> Result<S::Ok, S::Error> {
    serialize(proxy.hold(), serializer)
}

/// Reads a generated proxy.
pub fn deserialize_proxy<'de, P: Proxy, D: Deserializer<'de>>(deserializer: D) -> Result<P, D::Error> {
    deserialize(deserializer)
}

/// Reads an extension value as a reference.
pub(crate) struct Reference;

impl<'de> Visitor<'de> for Reference {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a proxy")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Object, A::Error> {
        let tag: Option<i8> = parts.next_element()?;
        let body: Option<Body> = parts.next_element()?;
        match (tag, body) {
            (Some(REFERENCE), Some(body)) => keep(take(&body)).map_err(de::Error::custom),
            _ => Err(de::Error::custom("this extension value is not a reference")),
        }
    }
}

/// The bytes of an extension value.
struct Body {
    bytes: [u8; ID_AND_TICKET],
    len: usize,
}

impl<'de> serde::Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("8 or 16 bytes")
            }

            fn visit_bytes<E: de::Error>(self, found: &[u8]) -> Result<Body, E> {
                let mut bytes = [0; ID_AND_TICKET];
                let len = found.len();
                bytes.get_mut(..len).ok_or_else(|| E::invalid_length(len, &self))?.copy_from_slice(found);
                Ok(Body { bytes, len })
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Takes the reference that the bytes stand for.
fn take(body: &Body) -> Result<Object> {
    let number =
        |at: usize| u32::from_le_bytes([body.bytes[at], body.bytes[at + 1], body.bytes[at + 2], body.bytes[at + 3]]);
    let id = ObjectId::from_bits(u64::from(number(4)) << 32 | u64::from(number(0)));
    // Not borrowed while the reference is taken: dropping one may call for this stack.
    let (session, is_result) = TRANSITS
        .with_borrow(|stack| match stack.last() {
            Some((Transit::ReadArguments { session }, _)) => Some((Arc::clone(session), false)),
            Some((Transit::ReadResult { session }, _)) => Some((Arc::clone(session), true)),
            _ => None,
        })
        .ok_or_else(|| {
            Error::new(ErrorKind::Unserializable, "a proxy can only be read from the arguments or the result of a call")
        })?;
    let hold = match (is_result, body.len) {
        (false, ID) => Hold::take(&session, id)?,
        (true, ID_AND_TICKET) => Hold::redeem(&session, TicketPlace { index: number(8), serial: number(12) }, id)?.ok(),
        _ => return Err(Error::new(ErrorKind::Protocol, "a reference has the wrong length")),
    };
    Object::of(hold.ok_or_else(|| tickets::gone(id))?)
}

/// Implements the traits of `serde` for proxies, which can be written in calls only.
macro_rules! transits {
    ($($proxy:ty [$($generics:tt)*];)*) => {$(
        impl<$($generics)*> serde::Serialize for $proxy {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::object::transit::serialize($crate::object::proxy::sealed::Typed::hold(self), serializer)
            }
        }

        impl<'de, $($generics)*> serde::Deserialize<'de> for $proxy {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::object::transit::deserialize(deserializer)
            }
        }
    )*};
}

transits! {
    Object [];
    super::Value<T> [T: super::Shareable];
    super::Array<T> [T: super::Shareable];
    super::Archive<T> [T: super::Archivable];
    super::Frozen<T> [T: super::Shareable];
    super::Channel<T> [T: Proxy];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Datum;
    use super::*;

    #[test]
    fn bytes_are_sent_as_bytes_and_not_as_a_list_of_numbers() {
        let written = write(&(vec![200_u8; 1000],), 0).expect("written");
        assert!(written.len() < 1010, "{} bytes", written.len());
        assert_eq!(read::<(Vec<u8>,)>(&written, DEPTH).expect("read").0, [200; 1000]);
    }

    #[test]
    fn a_missing_argument_and_one_too_many_are_refused() {
        let written = write(&(1.5, "a"), 0).expect("written");
        assert_eq!(read::<(f64, String)>(&written, DEPTH).expect("read"), (1.5, "a".into()));
        assert!(read::<(f64,)>(&written, DEPTH).is_err());
        assert!(read::<(f64, String, u8)>(&written, DEPTH).is_err());
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_and_takes_no_stack() {
        let bytes = vec![0x91; 1_000_000];
        assert!(read::<Datum>(&bytes, DEPTH).is_err());
    }

    #[test]
    fn a_proxy_is_not_read_outside_of_a_call() {
        let bytes = [&[0xd7, 1][..], &[0; 8]].concat();
        let error = read::<Datum>(&bytes, DEPTH).expect_err("refused");
        assert!(error.to_string().contains("arguments or the result of a call"), "{error}");
    }

    #[test]
    fn what_is_for_no_call_is_one_value_without_proxies() {
        let bytes = pack(&Datum::from(vec![Datum::from(-1), Datum::from(u64::MAX), Datum::Unit])).expect("written");
        assert_eq!(unpack::<Datum>(&bytes).expect("read").to_string(), "[-1, 18446744073709551615, ()]");
        for wrong in [&[][..], &bytes[..bytes.len() - 1], &[&bytes[..], &[0xc0]].concat(), &vec![0x91; 1_000_000]] {
            assert_eq!(unpack::<Datum>(wrong).expect_err("refused").kind(), ErrorKind::TypeMismatch);
        }
        let reference = [&[0xd7, 1][..], &[0; 8]].concat();
        assert_eq!(unpack::<Datum>(&reference).expect_err("refused").kind(), ErrorKind::Unserializable);
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read::<Datum>(&bytes, DEPTH);
            let _ = read::<(f64, String, Vec<Option<i32>>)>(&bytes, DEPTH);
            let _ = read::<std::collections::BTreeMap<String, Vec<u8>>>(&bytes, DEPTH);
        }
    }
}
