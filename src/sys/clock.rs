//! Clocks that mean the same in every process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot, suspended time included. All processes of a machine read the same clock.
pub(crate) fn boot_nanos() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The boot-clock time `after` from now; far enough away where it can't be represented.
pub(crate) fn boot_nanos_after(after: Duration) -> u64 {
    boot_nanos().saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX))
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
