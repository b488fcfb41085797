//! A process's handle on a broker.
//!
//! [`attach`] joins a region, [`manager`] is what users call, [`report`] what they are told about objects, [`checkup`] looks at a region from outside, [`fork`] gives a forked child sessions of its own, [`watch`] waits for the
//! end of a broker and for the next one.

mod attach;
mod checkup;
mod fork;
mod manager;
mod orders;
mod report;
mod watch;

pub use checkup::{CheckReport, brokers, check};
pub use manager::{Manager, ManagerBuilder, host, redeem};
pub use report::{AuditReport, ClassInfo, Holder, ObjectInfo, PublishedName, Stats, TicketInfo};
