//! The process that owns a region: grants objects, keeps the directory, and gives back what the dead held.
//!
//! One thread, one event loop: nothing it does waits for a client. [`grants`] has the books, [`sweep`] the end of a session, [`server`] the loop,
//! [`child`] the way in which a program becomes the broker of another.

pub(crate) mod child;
pub(crate) mod config;
mod grants;
mod peer;
mod server;
mod sweep;

pub use config::{Broker, BrokerBuilder, RunningBroker};
