//! A bare ping-pong by two words of shared memory: the floor of all that hands something to another process without the kernel, or with a futex alone.
#![expect(unsafe_code, reason = "two words of a mapping")]

use std::cell::Cell;
use std::fs::File;
use std::io::stdin;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::futex;

use super::echo::start;

const SIZE: usize = 4096;
/// Where the answer stands, in words: on lines of its own.
const ANSWER: usize = 32;
const END: u32 = u32::MAX;

/// Two words, and how a process waits for one of them.
struct Words {
    map: MmapRaw,
    sleeps: bool,
}

impl Words {
    fn of(file: &File, sleeps: bool) -> Self {
        Self { map: MmapOptions::new().len(SIZE).map_raw(file).expect("mapped"), sleeps }
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: inside the mapping.
        let word = unsafe { self.map.as_ptr().cast::<AtomicU32>().add(at) };
        // SAFETY: mapped as long as `self` lives, on its boundary, and nobody looks at it but by atomics.
        unsafe { &*word }
    }

    fn say(&self, at: usize, what: u32) {
        self.word(at).store(what, Ordering::Release);
        if self.sleeps {
            let _ = futex::wake(self.word(at), futex::Flags::empty(), 1);
        }
    }

    /// Waits until a word is another.
    fn hear(&self, at: usize, before: u32) -> u32 {
        loop {
            let now = self.word(at).load(Ordering::Acquire);
            if now != before {
                return now;
            }
            if self.sleeps {
                let _ = futex::wait(self.word(at), futex::Flags::empty(), before, None);
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

/// Plays the part of the one that answers.
pub fn answer(sleeps: bool) {
    let file = File::from(stdin().as_fd().try_clone_to_owned().expect("a file"));
    let words = Words::of(&file, sleeps);
    let mut heard = 0;
    while heard != END {
        heard = words.hear(0, heard);
        words.say(ANSWER, heard);
    }
}

/// Stops a process, or lets it go on: one that looks all the time is in the way of what is measured next.
pub fn pause(child: &Child, is_paused: bool) {
    let signal = if is_paused { Signal::STOP } else { Signal::CONT };
    kill_process(Pid::from_child(child), signal).expect("it lives");
}

/// A process that answers.
pub struct Pinger {
    child: Child,
    words: Words,
    last: Cell<u32>,
}

impl Pinger {
    /// `sleeps`: both wait by a futex; else both look all the time.
    pub fn start(sleeps: bool) -> Self {
        let fd = rustix::fs::memfd_create("words", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
        rustix::fs::ftruncate(&fd, SIZE as u64).expect("sized");
        let file = File::from(fd);
        let words = Words::of(&file, sleeps);
        let role = if sleeps { "words-asleep" } else { "words-awake" };
        Self { child: start(role, OwnedFd::from(file).into()), words, last: Cell::new(0) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As [`pause`].
    pub fn pause(&self, is_paused: bool) {
        pause(&self.child, is_paused);
    }

    pub fn ask(&self) {
        let last = self.last.get();
        self.words.say(0, last + 1);
        self.words.hear(ANSWER, last);
        self.last.set(last + 1);
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.pause(false);
        self.words.say(0, END);
        let _ = self.child.wait();
    }
}
