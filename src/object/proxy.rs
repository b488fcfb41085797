//! What all proxies have in common.

use std::fmt;

use serde::Serialize;

use super::payload::slot_of;
use super::ticket::{Ticket, TicketOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::region::{ObjectId, Region};
use crate::session::Hold;
use crate::sync::atomic::Ordering;
use crate::table::types::TypeRecord;

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
}

impl Kind {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Kind::Value, Kind::Array, Kind::Archive].into_iter().find(|kind| *kind as u32 == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Value => "value",
            Kind::Array => "array",
            Kind::Archive => "archive",
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
    }
}

/// Refuses an object of another kind or type, with an error that names both.
pub(crate) fn expect_type(
    region: &Region,
    id: ObjectId,
    kind: Kind,
    fingerprint: u64,
    wanted: impl Fn() -> String,
) -> Result<()> {
    let damaged = |what: String| Error::new(ErrorKind::Damaged, format!("object {id} {what}"));
    let slot = region.slot(id.slot()).ok_or_else(|| damaged("has no slot".into()))?;
    let found_kind = slot.kind.load(Ordering::Relaxed);
    let index = slot.type_index.load(Ordering::Relaxed);
    let is_known = index < region.header().types_used.load(Ordering::Acquire);
    let Some(entry) = is_known.then(|| region.type_entry(index)).flatten() else {
        return Err(damaged(format!("has type {index}, which does not exist")));
    };
    if found_kind == kind as u32 && entry.fingerprint.load(Ordering::Relaxed) == fingerprint {
        return Ok(());
    }
    let there = TypeRecord::read(region, index).map_or_else(String::new, |record| record.name);
    let wanted = wanted();
    let there_kind =
        Kind::from_number(found_kind).map_or_else(|| format!("kind {found_kind}"), |kind| kind.to_string());
    let error =
        Error::new(ErrorKind::TypeMismatch, format!("object {id} is {there_kind} of {there}, not {kind} of {wanted}"));
    Err(if there == wanted && found_kind == kind as u32 {
        error.help("the two programs declare this type with different fields or layouts")
    } else {
        error.help("ask for the type that it was created with; `sharehold ls` shows it")
    })
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
        let number = slot_of(&self.hold)?.kind.load(Ordering::Relaxed);
        Kind::from_number(number)
            .ok_or_else(|| Error::new(ErrorKind::Damaged, format!("object {} has kind {number}", self.hold.id())))
    }

    /// The name of its type, or of its elements' type.
    ///
    /// # Errors
    /// `Damaged` if the region says something impossible.
    pub fn type_name(&self) -> Result<String> {
        let index = slot_of(&self.hold)?.type_index.load(Ordering::Relaxed);
        TypeRecord::read(self.hold.session().region(), index)
            .map(|record| record.name)
            .ok_or_else(|| Error::new(ErrorKind::Damaged, format!("object {} has no type", self.hold.id())))
    }

    /// Bytes of its payload.
    ///
    /// # Errors
    /// `Damaged` if the region says something impossible.
    pub fn bytes(&self) -> Result<u64> {
        Ok(slot_of(&self.hold)?.len.load(Ordering::Relaxed))
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
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", self.hold.id())
    }
}
