//! Shared-memory objects with counted proxies in any process.
//!
//! Objects live in one memory-mapped region that a broker process manages. A proxy is a counted reference; an object lives exactly as long as some
//! proxy, ticket or name holds it, whichever process dies meanwhile.
//!
//! ```
//! use sharehold::{Array, Manager, Proxy};
//!
//! let manager = Manager::start()?; // a broker of our own, as a child process
//! let prices = manager.array(&[1.0, 2.0, 3.0])?;
//! manager.publish("prices", &prices)?;
//!
//! // In any other process: `Manager::connect(name)?`, then
//! let same: Array<f64> = manager.lookup("prices")?;
//! same.write()?[0] = 10.0;
//! assert_eq!(prices.read()?[0], 10.0);
//! # Ok::<(), sharehold::Error>(())
//! ```
//!
//! The layers, each of which uses only what stands left of it: `sys`, `sync`, `region`, `table`, `session`, `heap`, `object`, `class`, `control`,
//! `broker`, `client`.

extern crate self as sharehold;

/// The README's programs compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod broker;
mod class;
mod client;
mod control;
mod error;
/// What the fuzz targets in `tests/fuzz` run. Not in any other build.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod heap;
mod object;
mod region;
mod session;
mod sync;
mod sys;
mod table;

pub use broker::{Broker, BrokerBuilder, RunningBroker};
pub use class::{
    Class, ClassBuilder, ClassProxy, ClassTable, Dict, Key, List, MethodError, Namespace, Snapshot, caller,
    is_cancelled,
};
pub use client::{
    AuditReport, CheckReport, ClassInfo, Holder, Manager, ManagerBuilder, ObjectInfo, PublishedName, Stats, TicketInfo,
    brokers, check, redeem,
};
pub use control::authkey::Authkey;
pub use error::{Cause, Error, ErrorKind, Place, RemoteError, Result};
pub use object::{
    Archivable, Archive, Array, CallScope, Canceller, Channel, Datum, Frozen, Kind, Object, Proxy, RawValue, ReadGuard,
    Receiver, Schema, SendError, Sender, Shareable, Ticket, TicketOptions, Value, Weak, WriteGuard,
};
pub use region::{Backing, ObjectId};
pub use sharehold_macros::{Shareable, class};

#[doc(hidden)]
pub use object::schema::fingerprint as __fingerprint;

/// For the code that the attribute `class` writes.
#[doc(hidden)]
pub mod __private {
    pub use {linkme, serde};

    pub use crate::broker::child::CLASSES;
    pub use crate::class::generated::{DebugFallback, MaybeDebug};
    pub use crate::class_proxy_traits as proxy_traits;
    pub use crate::client::host;
    pub use crate::object::transit::{deserialize_proxy, serialize_proxy};
}
