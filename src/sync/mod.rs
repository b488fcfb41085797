//! Atomics, the lock that survives its owner, and waiting for another process.

pub(crate) mod atomic;
#[allow(dead_code, reason = "for those who wait on shared words: calls and channels")]
pub(crate) mod event;
pub(crate) mod robust;
#[allow(dead_code, reason = "as `event`")]
pub(crate) mod spin;

#[allow(unused_imports, reason = "as `event`")]
pub(crate) use event::Event;
pub(crate) use robust::{Owner, RobustLock};
#[allow(unused_imports, reason = "as `event`")]
pub(crate) use spin::Spin;
