//! The one door to atomics. The counting protocol names no other, so that a checker of interleavings can put its own behind it.

pub(crate) use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// The full fence between a read-modify-write of this thread and its look at other words. On x86 each of the former is one itself, so only the compiler is told.
/// Source: `smp_mb__after_atomic` in Linux, `Documentation/memory-barriers.txt`.
#[inline]
pub(crate) fn fence_after_change() {
    if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}
