//! Processes: who they are, and whether they still live.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Error, Result};

/// Start time of a process in clock ticks since boot, or `None` if there is no such process or it is a zombie.
/// Together with the pid it names one process for ever. Source: proc_pid_stat(5), fields 3 and 22.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    start_in(&read_stat(pid).ok()?)
}

fn read_stat(pid: u32) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/stat"))
}

fn start_in(stat: &str) -> Option<u64> {
    // The second field, the name, may contain anything; the last parenthesis ends it.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The core on which this thread runs, or ran a moment ago.
pub(crate) fn core() -> u32 {
    rustix::thread::sched_getcpu() as u32
}

/// Whether the process that had this pid and start time is still there. A start of 0 is not known yet: a child has just been forked.
pub(crate) fn is_alive(pid: u32, start: u64) -> bool {
    match read_stat(pid) {
        // 0: it was hidden from whoever wrote the time down, or has just been forked.
        Ok(stat) => start_in(&stat).is_some_and(|found| found == start || start == 0),
        // Mounted with `hidepid`, `/proc` does not show processes of other users, and none that can't be traced.
        Err(_) => exists(pid),
    }
}

/// Whether there is a process of this pid, whatever `/proc` shows.
fn exists(pid: u32) -> bool {
    as_pid(pid).is_some_and(|pid| !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// This very program, to be run again: the kernel's link to it, which is right also if another file has its path by now. Where the link leads to whatever executes the
/// program, as valgrind does, it is the path that it is said to have.
pub(crate) fn program() -> PathBuf {
    let link = Path::new("/proc/self/exe");
    let same = |path: &Path| {
        let (there, this) = (fs::metadata(path).ok()?, fs::metadata(link).ok()?);
        Some((there.dev(), there.ino()) == (this.dev(), this.ino()))
    };
    match fs::read_link(link) {
        // Of a file that was removed or replaced, the name has a mark of that in the end: there is no such one.
        Ok(path) if same(&path) == Some(false) => path,
        _ => link.to_owned(),
    }
}

/// Lets nobody but root trace this process, read its memory or environment, or take its descriptors, also of its own user. It leaves no core dumps.
pub(crate) fn refuse_tracers() {
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "this process can be traced");
    }
}

/// The program's short name, at most 15 bytes.
pub(crate) fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).map_or_else(|_| "?".into(), |comm| comm.trim_end().into())
}

/// A descriptor that becomes readable when the process ends.
pub(crate) fn pidfd(pid: u32) -> Result<OwnedFd> {
    let pid = as_pid(pid)
        .ok_or_else(|| Error::os(format!("watch process {pid}"), io::Error::from(io::ErrorKind::InvalidInput)))?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| Error::os("watch a process", error))
}

/// Whether the process of a pidfd has ended.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    super::socket::wait_readable(pidfd, Some(std::time::Instant::now())).unwrap_or(true)
}

/// Whether this process can open one more descriptor.
pub(crate) fn has_descriptors() -> bool {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).is_ok()
}

/// How many descriptors this process may have.
pub(crate) fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Lets this process have as many descriptors as its hard limit allows: a broker needs two and more a client.
pub(crate) fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// `SO_PEERPIDFD` of <asm-generic/socket.h>; the libc crate does not have it yet.
const SO_PEERPIDFD: libc::c_int = 77;

/// The pidfd of the process that connected a socket: unlike its pid it can't have been reused. `None` before Linux 6.5.
#[expect(unsafe_code, reason = "no safe binding of SO_PEERPIDFD")]
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    use std::os::fd::AsRawFd;
    let mut fd: libc::c_int = -1;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to locals of the sizes that are given.
    let status = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, (&raw mut fd).cast(), &raw mut size)
    };
    // SAFETY: on success the kernel has made a new descriptor that nobody else owns.
    (status == 0 && fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Random bytes of the kernel's, fit for keys.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::os("get random bytes", error))?;
    Ok(bytes)
}

/// Ends a forked child at once, without what its parent has registered for its own end.
#[expect(unsafe_code, reason = "no safe binding of _exit")]
pub(crate) fn leave_child() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

/// Bytes of memory of this machine.
pub(crate) fn total_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

/// Whether this program runs with more rights than the one who started it, as a set-user-id program does.
#[expect(unsafe_code, reason = "no safe binding of the auxiliary vector's AT_SECURE")]
pub(crate) fn is_secure() -> bool {
    // SAFETY: reads the process's auxiliary vector.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
