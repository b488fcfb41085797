//! How far a process gets before it is killed.
//!
//! A kill between two instructions differs for everybody else from a kill at the instruction before only if shared memory or the state of the kernel has changed in
//! between: registers and private memory go with the process. So it is enough to kill at these points: before the first instruction; after each instruction that has changed
//! the region, or other memory that it shares; after each system call that others can see, at once, and once more when all others have done what they do because of it.

use std::time::Instant;

use crate::common::PATIENCE;
use crate::tracer::{END, Next, Tracee, WAIT_FOR_OTHERS, WAIT_FOR_WORK};
use crate::view::{Changed, View};

/// Which points are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Points {
    /// All that others can tell apart.
    Changes,
    /// Every instruction, and the points after system calls.
    All,
}

/// At which of the points something is killed: at the first one, then at each one that comes so many later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Which {
    pub(crate) points: Points,
    pub(crate) first: u64,
    pub(crate) every: u64,
}

impl Which {
    /// As `SHAREHOLD_STEPS` says; `None` if the test is left out.
    pub(crate) fn asked() -> Option<Self> {
        let asked = std::env::var("SHAREHOLD_STEPS").unwrap_or_else(|_| "changes".into());
        let which = |points, every, first| Self { points, first, every };
        // `all/7+3`: the third of all, and each seventh after it.
        let part = |part: &str| {
            let (every, first) = part.split_once('+').unwrap_or((part, "0"));
            Some(which(Points::All, every.parse().ok().filter(|every| *every > 0)?, first.parse().ok()?))
        };
        match asked.as_str() {
            "off" => None,
            "changes" => Some(which(Points::Changes, 1, 0)),
            "all" => Some(which(Points::All, 1, 0)),
            other => Some(other.strip_prefix("all/").and_then(part).unwrap_or_else(|| {
                panic!("SHAREHOLD_STEPS is changes, all, all/EVERY, all/EVERY+FIRST or off, not {other}")
            })),
        }
    }
}

/// What a walk has come by.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Walked {
    pub(crate) instructions: u64,
    pub(crate) calls: u64,
    pub(crate) changes: u64,
    /// How often anything has changed outside of the region, also by others.
    pub(crate) elsewhere: u64,
    points: u64,
    /// Whether the point was reached; if not, what was to be done has been done.
    pub(crate) reached: bool,
}

/// The system calls on the way, each with what was walked when it was over and all others had come to rest. Whoever walks the same way again runs from call to call, and
/// steps only where the point is: the number of instructions that are stepped would else grow with the square of their number.
#[derive(Debug, Default)]
pub(crate) struct Track(Vec<(u64, Walked)>);

/// Where a process is walked.
pub(crate) struct Walk<'w> {
    pub(crate) tracee: &'w mut Tracee,
    pub(crate) view: &'w mut View,
    /// The processes that may do something because of what this one does.
    pub(crate) others: &'w [u32],
    pub(crate) points: Points,
}

impl Walk<'_> {
    /// Walks to a point. `None`: it was another way than the last time, and is to be tried once more.
    pub(crate) fn to(
        &mut self,
        point: u64,
        track: &mut Track,
        mut is_done: impl FnMut(&View) -> bool,
    ) -> Option<Walked> {
        self.begin();
        let begun = self.run(|walked| walked.points <= point, track, &mut is_done)?;
        Some(self.until(begun, |walked| walked.points == point, track, is_done))
    }

    /// Walks until there have been so many changes, of an operation that ends with a mark.
    pub(crate) fn until_change(&mut self, changes: u64) {
        self.begin();
        let walked =
            self.until(Walked::default(), |walked| walked.changes == changes, &mut Track::default(), |_| false);
        assert!(walked.reached, "there are only {} changes", walked.changes);
    }

    fn begin(&mut self) {
        self.view.follow(self.tracee.pid());
        self.settle();
    }

    /// Runs the part of the way that is known and lies before the point.
    fn run(
        &mut self,
        is_before: impl Fn(&Walked) -> bool,
        track: &mut Track,
        is_done: &mut impl FnMut(&View) -> bool,
    ) -> Option<Walked> {
        let known = track.0.partition_point(|(_, walked)| is_before(walked));
        for index in 0..known {
            if waits_for_events(track.0[index].0) {
                self.view.changed();
                if is_done(self.view) {
                    // Sooner than the last time: it would wait for ever.
                    track.0.truncate(index);
                    return None;
                }
            }
            let number = self.tracee.run_call();
            if number != track.0[index].0 {
                track.0.truncate(index);
                return None;
            }
            if is_seen(number) || self.points == Points::All {
                self.settle();
            }
        }
        self.view.follow(self.tracee.pid());
        Some(known.checked_sub(1).map_or_else(Walked::default, |last| track.0[last].1))
    }

    /// Without an END mark, what was to be done has been done when the thread has nothing to do any more, or when it asks for more to do and `is_done` says so.
    fn until(
        &mut self,
        mut walked: Walked,
        is_there: impl Fn(&Walked) -> bool,
        track: &mut Track,
        mut is_done: impl FnMut(&View) -> bool,
    ) -> Walked {
        loop {
            if is_there(&walked) {
                walked.reached = true;
                return walked;
            }
            let next = self.tracee.next();
            match next {
                Next::SystemCall(END | WAIT_FOR_WORK) => return walked,
                Next::SystemCall(number) if waits_for_events(number) && is_done(self.view) => return walked,
                _ => {}
            }
            self.tracee.step();
            walked.instructions += 1;
            if let Next::SystemCall(number) = next {
                walked.calls += 1;
                if maps(number) {
                    self.view.follow(self.tracee.pid());
                }
                if is_seen(number) || self.points == Points::All {
                    walked.points += 1;
                    if is_there(&walked) {
                        walked.reached = true;
                        return walked;
                    }
                    let changed = self.settle();
                    walked.elsewhere += u64::from(changed.elsewhere);
                    walked.points += u64::from(changed.is_any() || wakes(number));
                }
                if track.0.len() < walked.calls as usize {
                    track.0.push((number, walked));
                }
                continue;
            }
            let changed = self.view.changed();
            walked.changes += u64::from(changed.is_any());
            walked.elsewhere += u64::from(changed.elsewhere);
            walked.points += u64::from(changed.is_any() || self.points == Points::All);
        }
    }

    /// Waits until all others sleep. Returns what has changed.
    fn settle(&mut self) -> Changed {
        let until = Instant::now() + PATIENCE;
        // Twice: one may have woken another behind this one's back.
        let mut quiet = 0;
        while quiet < 2 {
            assert!(Instant::now() < until, "the others do not come to rest");
            if self.others.iter().all(|pid| is_asleep(*pid)) {
                quiet += 1;
            } else {
                quiet = 0;
                std::thread::yield_now();
            }
        }
        self.view.changed()
    }
}

/// Whether others may do something because of a system call that can't be seen in the region.
fn wakes(number: u64) -> bool {
    matches!(
        number as i64,
        libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_write
            | libc::SYS_close
            | libc::SYS_shutdown
            | libc::SYS_futex
            | libc::SYS_connect
            | libc::SYS_listen
    )
}

/// Whether a thread of a broker asks for more to do.
fn waits_for_events(number: u64) -> bool {
    number == WAIT_FOR_OTHERS
        || matches!(
            number as i64,
            libc::SYS_epoll_wait
                | libc::SYS_epoll_pwait
                | libc::SYS_epoll_pwait2
                | libc::SYS_recvfrom
                | libc::SYS_recvmsg
        )
}

/// Whether a system call may change what the process shares.
fn maps(number: u64) -> bool {
    matches!(number as i64, libc::SYS_mmap | libc::SYS_munmap | libc::SYS_mremap)
}

/// Whether a system call does something outside of its process, as far as this library makes it.
fn is_seen(number: u64) -> bool {
    !matches!(
        number as i64,
        libc::SYS_brk
            | libc::SYS_mmap
            | libc::SYS_munmap
            | libc::SYS_mremap
            | libc::SYS_mprotect
            | libc::SYS_getrandom
            | libc::SYS_clock_gettime
            | libc::SYS_gettid
            | libc::SYS_getpid
            | libc::SYS_sched_yield
            | libc::SYS_rt_sigprocmask
            | libc::SYS_read
            | libc::SYS_fstat
            | libc::SYS_statx
            | libc::SYS_lseek
            | libc::SYS_mincore
    )
}

/// Whether all threads of a process wait for something.
fn is_asleep(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The second field, the name, may contain anything; the state follows its parenthesis.
        let state = stat.rfind(')').and_then(|end| stat[end + 1..].trim_start().chars().next());
        matches!(state, None | Some('S' | 't' | 'T' | 'Z' | 'X'))
    })
}
