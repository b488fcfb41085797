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
//! The layers, each of which uses only what stands left of it: `sys`, `sync`, `region`, `table`, `session`, `heap`, `object`, `control`, `broker`, `client`.

extern crate self as sharehold;

/// The README's programs compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod broker;
mod client;
mod control;
mod error;
mod heap;
mod object;
mod region;
mod session;
mod sync;
mod sys;
mod table;

pub use broker::{Broker, BrokerBuilder, RunningBroker};
pub use client::{
    AuditReport, CheckReport, Holder, Manager, ManagerBuilder, ObjectInfo, PublishedName, Stats, TicketInfo, brokers,
    check, redeem,
};
pub use error::{Error, ErrorKind, Result};
pub use object::{
    Archivable, Archive, Array, Kind, Object, Proxy, ReadGuard, Shareable, Ticket, TicketOptions, Value, WriteGuard,
};
pub use region::{Backing, ObjectId};
pub use sharehold_macros::Shareable;

#[doc(hidden)]
pub use object::schema::fingerprint as __fingerprint;
