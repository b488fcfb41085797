//! A thread of another process that is executed instruction by instruction.
#![expect(unsafe_code, reason = "ptrace has no safe binding")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

use crate::common::PATIENCE;

/// System calls that do not exist: a process makes them to tell its tracer where it is.
pub(crate) const BEGIN: u64 = 0x5348_0001;
pub(crate) const END: u64 = 0x5348_0002;

/// How a wait for another process is told from other calls of the same number.
pub(crate) const WAIT_FOR_OTHERS: u64 = libc::SYS_futex as u64 | 1 << 32;
/// The same of a wait for another thread that has an end: of one that has nothing to do.
pub(crate) const WAIT_FOR_WORK: u64 = libc::SYS_futex as u64 | 2 << 32;

/// Called by the process that is traced.
pub(crate) fn mark(number: u64) {
    // SAFETY: there is no such system call, so it fails and does nothing.
    unsafe { libc::syscall(number.cast_signed()) };
}

pub(crate) fn thread_id() -> i32 {
    // SAFETY: has no arguments and can't fail.
    unsafe { libc::gettid() }
}

/// The cores that this thread may use.
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: a set of bits is valid if all are zero.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local of the size that is given.
    let status = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
    // SAFETY: the set has so many bits.
    (0..8 * size_of_val(&set)).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Has this thread, and all processes that it starts from now on, run on one core: a step is two switches between two processes, and a core that sleeps is woken slowly.
pub(crate) fn pin(core: usize) {
    // SAFETY: a set of bits is valid if all are zero.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is a core that this process may use, and the set has room for a thousand.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the pointer is to a local of the size that is given.
    let status = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    assert_eq!(status, 0, "pinned: {}", io::Error::last_os_error());
    be_quick();
}

/// Where other programs want the core too, each would have a turn of milliseconds between two steps: asks for short turns, which come soon. May be refused; then it takes longer.
fn be_quick() {
    // SAFETY: numbers, which are valid if they are zero.
    let mut wish: libc::sched_attr = unsafe { std::mem::zeroed() };
    wish.size = size_of_val(&wish) as u32;
    wish.sched_nice = -10;
    wish.sched_runtime = 100_000;
    // SAFETY: the pointer is to a local that says its size.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wish, 0) };
}

/// What the next step is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Instruction,
    SystemCall(u64),
}

/// A thread that is stopped whenever nobody steps it. Its process is killed at the latest when this is dropped.
pub(crate) struct Tracee {
    pid: i32,
    tid: i32,
    /// Whether the instruction at an address makes a system call.
    calls: RefCell<HashMap<u64, bool>>,
    is_gone: bool,
    /// How often it was resumed.
    steps: Arc<AtomicU64>,
    /// Dropped when the process is gone: until then a thread sees to it that it does not hang.
    _watched: Sender<()>,
}

impl Tracee {
    /// Takes a thread of a process under control. It goes on until it is interrupted.
    pub(crate) fn seize(pid: u32, tid: i32) -> Self {
        let pid = pid.cast_signed();
        if let Err(error) = request(libc::PTRACE_SEIZE, tid, 0, libc::PTRACE_O_TRACESYSGOOD as u64) {
            panic!(
                "process {pid} can't be traced: {error}. This test needs ptrace: run it as root, or with /proc/sys/kernel/yama/ptrace_scope below 2 and in a \
                 container that allows it; SHAREHOLD_STEPS=off leaves it out"
            );
        }
        let (watched, end) = channel();
        let steps = Arc::<AtomicU64>::default();
        let seen = Arc::clone(&steps);
        std::thread::spawn(move || {
            let mut before = 0;
            while end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let now = seen.load(Ordering::Relaxed);
                if now == before {
                    return kill(pid);
                }
                before = now;
            }
        });
        Self { pid, tid, calls: RefCell::default(), is_gone: false, steps, _watched: watched }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// Stops the thread, in whatever it does.
    pub(crate) fn interrupt(&mut self) {
        self.order(libc::PTRACE_INTERRUPT, 0);
        self.wait();
    }

    /// Stops the thread where it has just been interrupted in a system call.
    pub(crate) fn interrupt_call(&mut self) {
        self.interrupt();
        self.resume(libc::PTRACE_SYSCALL);
        while self.is_before_call() {
            // It was not in one yet.
            self.order(libc::PTRACE_INTERRUPT, 0);
            self.resume(libc::PTRACE_SYSCALL);
        }
    }

    /// Runs until the thread has made this mark. It is stopped already, outside of a system call.
    pub(crate) fn run_to(&mut self, mark: u64) {
        while self.run_call() != mark {}
    }

    /// Runs until the next system call is over. Returns its number.
    pub(crate) fn run_call(&mut self) -> u64 {
        // Two stops a call: before it and after it.
        self.resume(libc::PTRACE_SYSCALL);
        while !self.is_before_call() {
            self.resume(libc::PTRACE_SYSCALL);
        }
        let number = self.call(self.register(libc::ORIG_RAX));
        self.resume(libc::PTRACE_SYSCALL);
        number
    }

    /// Whether the thread is stopped before a system call.
    fn is_before_call(&self) -> bool {
        // The first byte of what the kernel tells: see ptrace(2), PTRACE_GET_SYSCALL_INFO.
        const ENTRY: u8 = 1;
        let mut info = [0_u8; 128];
        // SAFETY: the pointer is to a local of the size that is given.
        let status = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, self.tid, info.len(), info.as_mut_ptr()) };
        assert!(status > 0, "{}", io::Error::last_os_error());
        info[0] == ENTRY
    }

    /// Where the thread is.
    pub(crate) fn place(&self) -> u64 {
        self.register(libc::RIP)
    }

    pub(crate) fn next(&self) -> Next {
        const SYSCALL: u64 = 0x050f;
        let place = self.place();
        let mut calls = self.calls.borrow_mut();
        let is_call =
            *calls.entry(place).or_insert_with(|| self.peek(libc::PTRACE_PEEKTEXT, place) & 0xffff == SYSCALL);
        if is_call { Next::SystemCall(self.call(self.register(libc::RAX))) } else { Next::Instruction }
    }

    /// The system call of this number that the thread is about to make.
    fn call(&self, number: u64) -> u64 {
        const WAIT: i32 = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        if number != libc::SYS_futex as u64 {
            return number;
        }
        match self.register(libc::RSI) as i32 {
            libc::FUTEX_WAIT => WAIT_FOR_OTHERS,
            WAIT if self.register(libc::R10) != 0 => WAIT_FOR_WORK,
            _ => number,
        }
    }

    /// Executes one instruction; a system call is one.
    pub(crate) fn step(&mut self) {
        self.resume(libc::PTRACE_SINGLESTEP);
    }

    /// Kills the process. It is gone for others soon, and surely after [`Tracee::reap`].
    pub(crate) fn kill(&mut self) {
        kill(self.pid);
    }

    /// Waits for the end of a process that was killed.
    pub(crate) fn reap(mut self) {
        self.wait_for_end();
    }

    fn wait_for_end(&mut self) {
        while !self.is_gone {
            let mut status = 0;
            // SAFETY: the pointer is to a local.
            let waited = unsafe { libc::waitpid(self.tid, &raw mut status, libc::__WALL) };
            self.is_gone = waited < 0 || libc::WIFEXITED(status) || libc::WIFSIGNALED(status);
        }
    }

    fn resume(&mut self, how: libc::c_uint) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        let mut signal = 0;
        loop {
            self.order(how, signal);
            let status = self.wait();
            let stop = libc::WSTOPSIG(status);
            if status >> 16 == libc::PTRACE_EVENT_STOP {
                // A request to stop that came late.
                signal = 0;
                continue;
            }
            if stop & !0x80 == libc::SIGTRAP {
                return;
            }
            // A signal of its own: it gets it.
            signal = stop as u64;
        }
    }

    /// Waits until the thread has stopped.
    fn wait(&mut self) -> i32 {
        let mut status = 0;
        // SAFETY: the pointer is to a local.
        let waited = unsafe { libc::waitpid(self.tid, &raw mut status, libc::__WALL) };
        assert_eq!(waited, self.tid, "{}", io::Error::last_os_error());
        if !libc::WIFSTOPPED(status) {
            self.is_gone = true;
            panic!("process {} has ended, or hung for {PATIENCE:?}: {status:#x}", self.pid);
        }
        status
    }

    fn order(&self, what: libc::c_uint, data: u64) {
        request(what, self.tid, 0, data).unwrap_or_else(|error| panic!("ptrace {what} of {}: {error}", self.pid));
    }

    fn register(&self, register: i32) -> u64 {
        self.peek(libc::PTRACE_PEEKUSER, register as u64 * 8)
    }

    fn peek(&self, what: libc::c_uint, place: u64) -> u64 {
        // SAFETY: reads a word of the other process; the C library returns it.
        let word = unsafe { libc::ptrace(what, self.tid, place, 0_u64) };
        word.cast_unsigned()
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if !self.is_gone {
            self.kill();
            self.wait_for_end();
        }
    }
}

fn kill(pid: i32) {
    // SAFETY: has no memory to do with. The process is a child that nobody has waited for, so its number is its own.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

fn request(what: libc::c_uint, tid: i32, place: u64, data: u64) -> io::Result<()> {
    // SAFETY: none of the requests that are made here writes to memory of this process.
    let status = unsafe { libc::ptrace(what, tid, place, data) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
