//! The process that owns a region: grants objects, keeps the directory, and gives back what the dead held.
//!
//! [`server`] is the event loop, which never waits for a client or a method. [`host`] has the hosted objects, [`callers`] the threads that call them,
//! [`mailbox`] what those want from the loop. [`grants`] has the books, [`facts`] what each slot is known to say, [`patrol`] compares the region with both; [`door`] lets connections in, [`gate`] asks them for the authkey,
//! [`room`] has the line of those who wait for room; [`lending`] counts for sessions that only read; [`sweep`] is the end of a session, [`adopt`] takes over what a dead broker has left, [`structure`] keeps others out, [`collect`] finds cycles, [`child`] is the way in which a
//! program becomes the broker of another.

mod adopt;
#[cfg(any(test, fuzzing))]
pub(crate) mod alone;
mod callers;
pub(crate) mod child;
mod collect;
pub(crate) mod config;
mod directory;
mod door;
mod facts;
mod forked;
mod gate;
mod grants;
pub(crate) mod host;
#[cfg(test)]
mod hostile;
mod lending;
mod mailbox;
mod patrol;
mod peer;
mod room;
mod server;
#[cfg(test)]
mod smuggled;
mod structure;
mod sweep;

pub use config::{Broker, BrokerBuilder, RunningBroker};
