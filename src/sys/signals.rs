//! Termination signals as a descriptor, for programs that do nothing but serve.
#![expect(unsafe_code, reason = "no safe binding of signal masks and signalfd")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::error::{Error, Result};

/// Blocks SIGTERM, SIGINT and SIGHUP in this thread and those it starts, and returns a descriptor that becomes readable with
/// the first of them. To be called before any other thread is started.
pub(crate) fn termination() -> Result<OwnedFd> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: the set was initialised above; the signal numbers are valid.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: the set is initialised; no old mask is asked for.
    let status = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
    if status != 0 {
        return Err(Error::os("block signals", io::Error::from_raw_os_error(status)));
    }
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(Error::os("make a signal descriptor", io::Error::last_os_error()));
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Interrupts whatever system call the calling thread waits in, again and again for so long, while it does some work. Whether the work has ended before.
#[cfg(test)]
pub(crate) fn ends_while_signals_come(long: std::time::Duration, work: impl FnOnce()) -> bool {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::time::{Duration, Instant};

    extern "C" fn nothing(_: libc::c_int) {}
    let (has_ended, in_vain) = (AtomicBool::new(false), AtomicBool::new(false));
    // SAFETY: all zeroes are an action: the default one, without flags, so calls are not restarted.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does nothing, and nobody else has a use for this signal.
    assert_eq!(unsafe { libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut()) }, 0);
    // SAFETY: it has no conditions.
    let worker = unsafe { libc::pthread_self() };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let until = Instant::now() + long;
            while !has_ended.load(Relaxed) && !in_vain.fetch_or(Instant::now() > until, Relaxed) {
                // SAFETY: the thread does not end before this one has.
                unsafe { libc::pthread_kill(worker, libc::SIGURG) };
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        work();
        has_ended.store(true, Relaxed);
    });
    !in_vain.into_inner()
}
