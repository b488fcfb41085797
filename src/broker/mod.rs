//! The process that owns a region: grants objects, keeps the directory, and gives back what the dead held.
//!
//! [`server`] is the event loop, which never waits for a client or a method. [`host`] has the hosted objects, [`callers`] the threads that call them, [`mailbox`] what
//! those want from the loop, [`collect`] finds cycles. [`grants`] has the books, [`facts`] what each slot is known to say, [`patrol`] compares the region with both.
//!
//! Who comes: [`door`] lets connections in, [`gate`] asks them for the authkey, [`attached`] are the processes with a session, [`forked`] their children, [`lending`] counts
//! for those that only read. What they ask: [`directory`] has the names, [`freezer`] passes on what is frozen, [`room`] the line of those who wait for room, [`expiry`] ends tickets at their time. Who dies:
//! [`sweep`] is the end of a session; [`adopt`] takes over what a dead broker has left, [`handback`] gets it from its clients, [`structure`] keeps others out.
//!
//! [`child`] is the way in which a program becomes the broker of another.

mod adopt;
#[cfg(any(test, fuzzing))]
pub(crate) mod alone;
mod attached;
mod callers;
pub(crate) mod child;
mod collect;
pub(crate) mod config;
mod directory;
mod door;
mod expiry;
mod facts;
mod forked;
mod freezer;
mod gate;
mod grants;
mod handback;
pub(crate) mod host;
#[cfg(test)]
mod hostile;
mod lending;
mod mailbox;
mod patrol;
mod peer;
mod room;
mod server;
mod slabs;
#[cfg(test)]
mod smuggled;
mod structure;
mod sweep;

pub use config::{Broker, BrokerBuilder, RunningBroker};
