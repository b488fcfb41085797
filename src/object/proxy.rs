//! What all proxies have in common.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::payload::slot_of;
use super::schema::{Schema, fingerprint};
use super::ticket::{Ticket, TicketOptions};
use super::{Array, Frozen, RawValue, transit};
use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::{CHANNEL, FROZEN, HOSTED};
use crate::region::{ObjectId, Region};
use crate::session::{Ask, Hold, Session};
use crate::sync::atomic::Ordering;
use crate::table::types::TypeRecord;
use crate::table::words::Words;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[repr(u32)]
pub enum Kind {
    /// One plain value, changed as a whole.
    Value = 1,
    /// Many plain values, changed in place.
    Array = 2,
    /// An immutable archive of any `rkyv` type.
    Archive = 3,
    /// An object of a class, in the broker: its methods are called.
    Hosted = HOSTED,
    /// Many plain values that the kernel keeps from being changed.
    Frozen = FROZEN,
    /// A queue of references to other objects.
    Channel = CHANNEL,
}

impl Kind {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Kind::Value, Kind::Array, Kind::Archive, Kind::Hosted, Kind::Frozen, Kind::Channel]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Value => "value",
            Kind::Array => "array",
            Kind::Archive => "archive",
            Kind::Hosted => "hosted",
            Kind::Frozen => "frozen",
            Kind::Channel => "channel",
        })
    }
}

/// A counted reference to an object: the object lives as long as any proxy, ticket or name for it does.
///
/// Clone and drop are one atomic instruction on this process's own row of the ledger, without a system call. A proxy can be sent to any process as
/// a [`Ticket`]; what comes out there can do all that this one can.
///
/// ```
/// use sharehold::{Array, Manager, Proxy};
///
/// let manager = Manager::start()?;
/// let array = manager.array(&[1.0, 2.5])?;
/// let ticket = array.ticket()?;
/// drop(array); // the ticket keeps it alive
/// let again: Array<f64> = manager.redeem(&ticket)?;
/// assert_eq!(again.read()?[1], 2.5);
/// # Ok::<(), sharehold::Error>(())
/// ```
pub trait Proxy: Clone + Sized + sealed::Typed {
    /// The object's identity, the same in every process.
    fn id(&self) -> ObjectId {
        self.hold().id()
    }

    /// A reference that does not keep the object alive.
    fn downgrade(&self) -> Weak<Self> {
        let session = self.hold().session_weak();
        Weak { session, id: self.id(), proxy: PhantomData }
    }

    /// A proxy of the same object that says nothing of its type.
    fn untyped(&self) -> Object {
        Object::from_hold(self.hold().clone())
    }

    /// A ticket that one process can redeem once, at any time.
    ///
    /// # Errors
    /// `TableFull` if all tickets are in use, `Forked` in a forked child.
    fn ticket(&self) -> Result<Ticket> {
        self.ticket_with(TicketOptions::default())
    }

    /// A ticket with a number of uses, a deadline, or both.
    ///
    /// # Errors
    /// As [`Proxy::ticket`], and `InvalidArgument` for no uses or too many.
    fn ticket_with(&self, options: TicketOptions) -> Result<Ticket> {
        Ticket::issue(self.hold(), options)
    }
}

impl<P: sealed::Typed + Clone> Proxy for P {}

pub(crate) mod sealed {
    use super::{Hold, ObjectId, Region, Result};

    /// What only this crate may do with a proxy.
    pub trait Typed: Sized {
        /// Whether the slot of this object says that it is of this kind and type.
        #[doc(hidden)]
        #[expect(private_interfaces, reason = "only this crate can call it")]
        fn check(region: &Region, id: ObjectId) -> Result<()>;
        #[doc(hidden)]
        #[expect(private_interfaces, reason = "only this crate can call it")]
        fn of(hold: Hold) -> Result<Self>;
        #[doc(hidden)]
        #[expect(private_interfaces, reason = "only this crate can call it")]
        fn hold(&self) -> &Hold;
        /// What a channel of such proxies is a channel of: a number that tells it from others, and the name that users see.
        #[doc(hidden)]
        fn item() -> (u64, String);
        /// Gives up a proxy whose hold counts nothing any more.
        #[doc(hidden)]
        fn forget(self) {
            std::mem::forget(self);
        }
    }
}

/// What a channel is a channel of: `proxy`, of a type with this fingerprint and name.
pub(crate) fn item(proxy: &str, of: u64, name: Option<String>) -> (u64, String) {
    (fingerprint(proxy, 0, 1, &[("of", 0, of)]), name.map_or_else(|| proxy.into(), |name| format!("{proxy}<{name}>")))
}

/// Refuses an object of another kind or type, with an error that names both.
pub(crate) fn expect_type(
    region: &Region,
    id: ObjectId,
    kind: Kind,
    fingerprint: u64,
    wanted: impl Fn() -> String,
) -> Result<()> {
    typed_words(region, id, kind, fingerprint, wanted).map(|_| ())
}

/// What the slot of an object of this kind and type says.
#[inline]
pub(crate) fn typed_words(
    region: &Region,
    id: ObjectId,
    kind: Kind,
    fingerprint: u64,
    wanted: impl Fn() -> String,
) -> Result<Words> {
    let words = Words::of(region, id)?;
    let is_known = words.type_index < region.header().types_used.load(Ordering::Acquire);
    let entry = is_known.then(|| region.type_entry(words.type_index)).flatten();
    let is_right = entry.is_some_and(|entry| entry.fingerprint.load(Ordering::Relaxed) == fingerprint);
    if is_right && words.kind == kind as u32 { Ok(words) } else { Err(mistaken(region, id, words, kind, wanted())) }
}

#[cold]
fn mistaken(region: &Region, id: ObjectId, words: Words, kind: Kind, wanted: String) -> Error {
    let Words { kind: found_kind, type_index: index, .. } = words;
    let Some(there) = TypeRecord::read(region, index).map(|record| record.name) else {
        let what = format!("object {id} has type {index}, which does not exist");
        return Error::new(ErrorKind::Damaged, what);
    };
    let there_kind =
        Kind::from_number(found_kind).map_or_else(|| format!("kind {found_kind}"), |kind| kind.to_string());
    let error =
        Error::new(ErrorKind::TypeMismatch, format!("object {id} is {there_kind} of {there}, not {kind} of {wanted}"));
    if there == wanted && found_kind == kind as u32 {
        error.help("the two programs declare this type with different fields or layouts")
    } else {
        error.help("ask for the type that it was created with; `sharehold ls` shows it")
    }
}

/// Refuses an object of another kind, whatever its type is.
pub(crate) fn expect_kind(hold: &Hold, kind: Kind) -> Result<()> {
    let Words { kind: found, .. } = Words::of(hold.session().region(), hold.id())?;
    if found == kind as u32 {
        return Ok(());
    }
    let there = Kind::from_number(found).map_or_else(|| format!("kind {found}"), |kind| kind.to_string());
    Err(Error::new(ErrorKind::TypeMismatch, format!("object {} is {there}, not {kind}", hold.id())))
}

/// A reference that does not keep its object alive, as a cache has it. Made by [`Proxy::downgrade`].
///
/// It ends with the last manager and proxy of its process, too.
///
/// ```
/// use sharehold::{Manager, Proxy};
///
/// let manager = Manager::start()?;
/// let value = manager.value(7_u8)?;
/// let weak = value.downgrade();
/// assert_eq!(weak.upgrade().unwrap().get()?, 7);
/// drop(value);
/// assert!(weak.upgrade().is_none());
/// # Ok::<(), sharehold::Error>(())
/// ```
pub struct Weak<P> {
    session: std::sync::Weak<Session>,
    id: ObjectId,
    proxy: PhantomData<fn() -> P>,
}

impl<P: Proxy> Weak<P> {
    /// A proxy, if the object is still alive: also while another thread or process drops the last one, it is either alive afterwards or it is not.
    pub fn upgrade(&self) -> Option<P> {
        let session = self.session.upgrade()?;
        P::of(Hold::take(&session, self.id).ok()??).ok()
    }
}

impl<P> Weak<P> {
    /// The object's identity.
    pub fn id(&self) -> ObjectId {
        self.id
    }
}

impl<P> Clone for Weak<P> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), id: self.id, proxy: PhantomData }
    }
}

impl<P> fmt::Debug for Weak<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weak({})", self.id)
    }
}

/// A proxy of an object of any kind and type: to hold it, to send it on, or to find out what it is.
#[derive(Clone)]
pub struct Object {
    hold: Hold,
}

impl Object {
    /// What kind of object it is.
    ///
    /// # Errors
    /// `Damaged` if the region says something impossible.
    pub fn kind(&self) -> Result<Kind> {
        let number = slot_of(&self.hold)?.kind.load(Ordering::Relaxed).into();
        Kind::from_number(number)
            .ok_or_else(|| Error::new(ErrorKind::Damaged, format!("object {} has kind {number}", self.hold.id())))
    }

    /// The name of its type, or of its elements' type.
    ///
    /// # Errors
    /// `Damaged` if the region says something impossible.
    pub fn type_name(&self) -> Result<String> {
        self.schema().map(|schema| schema.name)
    }

    /// Its type, or its elements' type.
    ///
    /// # Errors
    /// `Damaged` if the region says something impossible.
    pub fn schema(&self) -> Result<Schema> {
        let index = slot_of(&self.hold)?.type_index.load(Ordering::Relaxed);
        let TypeRecord { name, fingerprint, size, align } = TypeRecord::read(self.hold.session().region(), index)
            .ok_or_else(|| Error::new(ErrorKind::Damaged, format!("object {} has no type", self.hold.id())))?;
        Ok(Schema { name, fingerprint, size, align })
    }

    /// Refuses it unless it is plain data of this type; tells which kind it is: a value, an array or a frozen one.
    ///
    /// ```
    /// use sharehold::{Kind, Manager, Proxy, Schema};
    ///
    /// let prices = Manager::start()?.array(&[1.0, 2.5])?.untyped();
    /// assert_eq!(prices.expect(&Schema::of::<f64>())?, Kind::Array);
    /// assert!(prices.expect(&Schema::of::<u64>()).unwrap_err().to_string().contains("array of f64"));
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TypeMismatch`, with both types.
    pub fn expect(&self, schema: &Schema) -> Result<Kind> {
        let kind = self.kind().ok().filter(|kind| matches!(kind, Kind::Value | Kind::Frozen)).unwrap_or(Kind::Array);
        expect_type(self.hold.session().region(), self.hold.id(), kind, schema.fingerprint, || schema.name.clone())?;
        Ok(kind)
    }

    /// The bytes of a value, whatever it is: what it is [`Object::schema`] says.
    ///
    /// ```
    /// use sharehold::{Manager, Proxy};
    ///
    /// let price = Manager::start()?.value(41.5)?;
    /// let bytes = price.untyped().value_bytes()?;
    /// bytes.set(&42.0_f64.to_ne_bytes())?;
    /// assert_eq!(price.get()?, 42.0);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TypeMismatch` if it is no value.
    pub fn value_bytes(&self) -> Result<RawValue> {
        RawValue::of(self.hold.clone())
    }

    /// The bytes of an array, whatever its elements are: what they are [`Object::schema`] says.
    ///
    /// ```
    /// use sharehold::{Array, Manager, Object, Proxy};
    ///
    /// let manager = Manager::start()?;
    /// let array = manager.array(&[1.0, 2.5])?;
    /// let object: Object = manager.redeem(&array.ticket()?)?;
    /// assert_eq!(object.schema()?.name(), "f64");
    /// object.array_bytes()?.write()?[8..].copy_from_slice(&4.5_f64.to_ne_bytes());
    /// assert_eq!(array.read()?[1], 4.5);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TypeMismatch` if it is no array.
    pub fn array_bytes(&self) -> Result<Array<u8>> {
        Array::bytes_of(self.hold.clone())
    }

    /// The bytes of a frozen object, whatever its elements are.
    ///
    /// # Errors
    /// `TypeMismatch` if it is not frozen; `Lost`, `BrokerGone`.
    pub fn frozen_bytes(&self) -> Result<Frozen<u8>> {
        Frozen::bytes_of(self.hold.clone())
    }

    /// Calls a method of a hosted object, without the generated proxy of its class: by name, with the arguments as a tuple.
    ///
    /// The result is read as an `R`: what the method returns, or a [`Datum`](crate::Datum), which takes everything.
    /// Limits of time are set with [`CallScope`](crate::CallScope).
    ///
    /// ```
    /// use sharehold::{Dict, Manager};
    ///
    /// let manager = Manager::start()?;
    /// let dict = manager.create::<sharehold::Object>("Dict", &())?;
    /// dict.call::<()>("set", &("answer", 42))?;
    /// assert_eq!(dict.call::<u64>("get", &("answer",))?, 42);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `MethodNotFound`, with those that there are; `TypeMismatch` for arguments or a result of another type; `MethodFailed` and `MethodPanicked` with
    /// [`Error::remote`]; `Poisoned` if an earlier call panicked while it changed the object; `Timeout`, `Cancelled`, `BrokerGone`.
    pub fn call<R: DeserializeOwned>(&self, method: &str, arguments: &(impl Serialize + ?Sized)) -> Result<R> {
        self.hold.in_session(|session| {
            let arguments = transit::write_arguments(session.region(), arguments)?;
            let result = transit::ask(session, Ask::Call { object: self.hold.id(), method, arguments: &arguments });
            transit::recycle(arguments);
            result
        })
    }

    /// The debug form of a hosted object, as it is at this moment.
    ///
    /// # Errors
    /// `InvalidArgument` if it is not hosted; `BrokerGone`.
    pub fn describe(&self) -> Result<String> {
        transit::ask(&self.hold.session_arc(), Ask::Describe { object: self.hold.id() })
    }

    /// Bytes of its payload.
    ///
    /// # Errors
    /// `Damaged` if the region says something impossible.
    pub fn bytes(&self) -> Result<u64> {
        Ok(slot_of(&self.hold)?.len.load(Ordering::Relaxed))
    }

    pub(crate) fn from_hold(hold: Hold) -> Self {
        Self { hold }
    }

    pub(crate) fn into_hold(self) -> Hold {
        self.hold
    }

    /// A typed proxy of the same object.
    ///
    /// # Errors
    /// `TypeMismatch`, with both types, if it is of another kind or type.
    pub fn downcast<P: Proxy>(&self) -> Result<P> {
        P::of(self.hold.clone())
    }
}

#[expect(private_interfaces, reason = "only this crate can call it")]
impl sealed::Typed for Object {
    fn check(_region: &Region, _id: ObjectId) -> Result<()> {
        Ok(())
    }

    fn of(hold: Hold) -> Result<Self> {
        Ok(Self { hold })
    }

    fn hold(&self) -> &Hold {
        &self.hold
    }

    fn item() -> (u64, String) {
        item("Object", 0, None)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", self.hold.id())
    }
}
