//! The one door to atomics. The counting protocol names no other, so that a checker of interleavings can put its own behind it.

pub(crate) use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
