//! Atomics, the lock that survives its owner, and waiting for another process.

pub(crate) mod atomic;
pub(crate) mod event;
pub(crate) mod robust;
pub(crate) mod spin;

pub(crate) use event::Event;
pub(crate) use robust::{Owner, RobustLock};
pub(crate) use spin::Spin;
