//! What it costs to hand an object over to another process and get it back through channels, beside the least that two processes can do: change a word, and see the other's change.
//!
//! As in `core.rs`, a floor and what stands on it run alternately. Results and what they mean: `docs/benchmarks.md`.
#![allow(missing_docs, clippy::expect_used, reason = "a benchmark that can't go on fails")]
#![expect(unsafe_code, reason = "maps two words for the floors")]

mod common;

use std::fs::File;
use std::hint::{black_box, spin_loop};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use common::cores::{affinity, pin, set_affinity};
use common::echo::{ROLE, start};
use common::report::{Aim, Report, configured, repeat};
use criterion::Criterion;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::thread::futex;
use sharehold::{Array, Channel, Manager, Receiver, Sender};

const PAGE: u64 = 4096;
/// Words that two processes write lie apart.
const APART: usize = 128;
/// Ends the floor's other process.
const END: u32 = u32::MAX;

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return perform(&role.split('\n').collect::<Vec<_>>());
    }
    let (mut criterion, _) = configured();
    let report = Report::default();
    hand_over(&report, &mut criterion, Waiting::Polled);
    hand_over(&report, &mut criterion, Waiting::Asleep);
    criterion.final_summary();
    report.print();
}

/// How one waits for the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// It looks again and again, on a core of its own.
    Polled,
    /// It sleeps, on the same core.
    Asleep,
}

impl Waiting {
    fn name(self) -> &'static str {
        if self == Self::Polled { "polled" } else { "asleep" }
    }

    fn of(name: &str) -> Self {
        if name == "polled" { Self::Polled } else { Self::Asleep }
    }
}

fn perform(role: &[&str]) {
    match role {
        ["words", waiting] => Words::of_stdin().answer(Waiting::of(waiting)),
        ["channels", broker, waiting] => {
            let manager = Manager::connect(broker).expect("connected");
            let there: Channel<Array<u8>> = manager.lookup("there").expect("published");
            let back: Channel<Array<u8>> = manager.lookup("back").expect("published");
            let ends = Ends { sender: back.sender().expect("free"), receiver: there.receiver().expect("free") };
            while let Some(array) = ends.receive(Waiting::of(waiting)) {
                if ends.sender.send(array).is_err() {
                    return;
                }
            }
        }
        _ => std::process::exit(2),
    }
}

/// Two words that two processes share.
struct Words {
    mapping: MmapRaw,
}

impl Words {
    fn of(file: &File) -> Self {
        Self { mapping: MmapOptions::new().len(PAGE as usize).map_raw(file).expect("mapped") }
    }

    /// Of the file that stands where the standard input would.
    fn of_stdin() -> Self {
        Self::of(&File::from(std::io::stdin().as_fd().try_clone_to_owned().expect("a file")))
    }

    fn word(&self, number: usize) -> &AtomicU32 {
        // SAFETY: inside the mapping, which lives as long as `self`.
        let word = unsafe { self.mapping.as_mut_ptr().add(number * APART) };
        // SAFETY: aligned, and nobody uses it otherwise than as an atomic.
        unsafe { &*word.cast::<AtomicU32>() }
    }

    fn set(&self, number: usize, to: u32, waiting: Waiting) {
        self.word(number).store(to, Ordering::Release);
        if waiting == Waiting::Asleep {
            futex::wake(self.word(number), futex::Flags::empty(), 1).expect("woken");
        }
    }

    /// Waits until a word is not what it was.
    fn wait(&self, number: usize, was: u32, waiting: Waiting) -> u32 {
        loop {
            let now = self.word(number).load(Ordering::Acquire);
            if now != was {
                return now;
            }
            match waiting {
                Waiting::Polled => spin_loop(),
                // An error means that it has changed.
                Waiting::Asleep => drop(futex::wait(self.word(number), futex::Flags::empty(), was, None)),
            }
        }
    }

    fn answer(&self, waiting: Waiting) {
        let mut was = 0;
        while was != END {
            was = self.wait(0, was, waiting);
            self.set(1, was, waiting);
        }
    }
}

/// A process that answers with the word that it is given.
struct Bare {
    words: Words,
    child: Child,
    waiting: Waiting,
    turn: u32,
}

impl Bare {
    fn start(waiting: Waiting) -> Self {
        let file = File::from(memfd_create("floor", MemfdFlags::CLOEXEC).expect("memory"));
        ftruncate(&file, PAGE).expect("memory");
        let words = Words::of(&file);
        let child = start(&format!("words\n{}", waiting.name()), Stdio::from(file));
        let mut bare = Self { words, child, waiting, turn: 0 };
        bare.ask();
        bare
    }

    fn ask(&mut self) {
        let was = self.turn;
        self.turn = if was + 1 == END { 1 } else { was + 1 };
        self.words.set(0, self.turn, self.waiting);
        self.words.wait(1, was, self.waiting);
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.words.set(0, END, self.waiting);
        let _ = self.child.wait();
    }
}

struct Ends {
    sender: Sender<Array<u8>>,
    receiver: Receiver<Array<u8>>,
}

impl Ends {
    fn receive(&self, waiting: Waiting) -> Option<Array<u8>> {
        if waiting == Waiting::Asleep {
            return self.receiver.recv().ok();
        }
        loop {
            match self.receiver.try_recv() {
                Ok(Some(array)) => return Some(array),
                Ok(None) => spin_loop(),
                Err(_) => return None,
            }
        }
    }
}

/// A process that hands back what it is given.
struct Partner {
    ends: Option<Ends>,
    child: Child,
    waiting: Waiting,
}

impl Partner {
    fn start(manager: &Manager, waiting: Waiting) -> Self {
        let there: Channel<Array<u8>> = manager.single_channel(16).expect("created");
        let back: Channel<Array<u8>> = manager.single_channel(16).expect("created");
        manager.publish_over("there", &there).expect("published");
        manager.publish_over("back", &back).expect("published");
        let ends = Ends { sender: there.sender().expect("free"), receiver: back.receiver().expect("free") };
        let role = format!("channels\n{}\n{}", manager.name(), waiting.name());
        let child = start(&role, Stdio::null());
        let partner = Self { ends: Some(ends), child, waiting };
        drop(partner.hand_over(manager.array(&[1]).expect("created")));
        partner
    }

    fn hand_over(&self, array: Array<u8>) -> Array<u8> {
        let ends = self.ends.as_ref().expect("not ended");
        ends.sender.send(array).expect("sent");
        ends.receive(self.waiting).expect("handed back")
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.ends.take();
        let _ = self.child.wait();
    }
}

fn hand_over(report: &Report, criterion: &mut Criterion, waiting: Waiting) {
    let mut group = criterion.benchmark_group(format!("hand over, {}", waiting.name()));
    let manager = Manager::start().expect("a broker");
    let mut bare = Bare::start(waiting);
    let partner = Partner::start(&manager, waiting);
    let all = affinity(None);
    let core = usize::from(waiting == Waiting::Polled);
    pin(None, 0);
    pin(Some(bare.child.id()), core);
    pin(Some(partner.child.id()), core);
    let (place, aim) = match waiting {
        Waiting::Polled => ("two cores, polled", Aim::Ratio(2.0)),
        Waiting::Asleep => ("one core, asleep", Aim::Ratio(1.4)),
    };
    for (size, bytes) in [("64 B", 64), ("64 KB", 64 << 10), ("1 MB", 1 << 20)] {
        let array = manager.array(&vec![7_u8; bytes]).expect("room");
        array.seal().expect("whole");
        let mut array = Some(array);
        report.beside(
            &mut group,
            &format!("{place}: an array of {size} there and back against a word"),
            aim,
            |runs| repeat(runs, || bare.ask()),
            |runs| {
                repeat(runs, || {
                    let back = partner.hand_over(array.take().expect("here"));
                    black_box(back.sealed().expect("sealed")[0]);
                    array = Some(back);
                })
            },
        );
    }
    set_affinity(None, &all);
    group.finish();
}
