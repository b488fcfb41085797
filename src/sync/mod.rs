//! Atomics, and the lock that survives its owner.

pub(crate) mod atomic;
pub(crate) mod robust;

pub(crate) use robust::{Owner, RobustLock};
