//! Clocks that mean the same in every process.

use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

use crate::error::{Error, Result};

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

/// A descriptor that becomes readable at a time that is set.
pub(crate) fn alarm() -> Result<OwnedFd> {
    timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
        .map_err(|error| Error::os("make a timer", error))
}

/// Sets an alarm, once. Less than a second from now.
pub(crate) fn set_alarm(alarm: &OwnedFd, after: Duration) -> Result<()> {
    // Zero would be never.
    let it_value = Timespec { tv_sec: 0, tv_nsec: i64::from(after.subsec_nanos().max(1)) };
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
    timerfd_settime(alarm, TimerfdTimerFlags::empty(), &once).map(drop).map_err(|error| Error::os("set a timer", error))
}

/// Ends the ringing.
pub(crate) fn silence(alarm: &OwnedFd) {
    let _ = rustix::io::read(alarm, &mut [0; 8]);
}
