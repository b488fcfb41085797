//! What it costs to hand an object over to another process and get it back through channels, beside the least that two processes can do: change a word, and see the other's change.
//!
//! As in `core.rs`, a floor and what stands on it run alternately. Results and what they mean: `docs/benchmarks.md`.
#![allow(missing_docs, clippy::expect_used, reason = "a benchmark that can't go on fails")]

mod common;

use std::hint::{black_box, spin_loop};
use std::process::{Child, Stdio};

use common::cores::{affinity, pin, set_affinity};
use common::echo::{self, ROLE, start};
use common::report::{Aim, Report, configured, repeat};
use common::words::{Pinger, pause};
use criterion::Criterion;
use sharehold::{Array, Channel, Manager, Receiver, Sender};

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
        _ => echo::perform(role),
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
    let bare = Pinger::start(waiting == Waiting::Asleep);
    let partner = Partner::start(&manager, waiting);
    let all = affinity(None);
    let core = usize::from(waiting == Waiting::Polled);
    pin(None, 0);
    pin(Some(bare.pid()), core);
    pin(Some(partner.child.id()), core);
    let (place, aim) = match waiting {
        Waiting::Polled => ("two cores, polled", Aim::Ratio(2.0)),
        Waiting::Asleep => ("one core, asleep", Aim::Ratio(1.4)),
    };
    for (size, bytes) in [("64 B", 64), ("64 KB", 64 << 10), ("1 MB", 1 << 20)] {
        let array = manager.array(&vec![7_u8; bytes]).expect("room");
        array.seal().expect("whole");
        let mut array = Some(array);
        let mut hand_over = || {
            let back = partner.hand_over(array.take().expect("here"));
            black_box(back.sealed().expect("sealed")[0]);
            array = Some(back);
        };
        bare.pause(true);
        // Both partners have the same core, and one that looks all the time is in the other's way.
        let floor = |runs| {
            pause(&partner.child, true);
            bare.pause(false);
            bare.ask();
            let took = repeat(runs, || bare.ask());
            bare.pause(true);
            pause(&partner.child, false);
            took
        };
        report.beside(
            &mut group,
            &format!("{place}: an array of {size} there and back against a word"),
            aim,
            floor,
            |runs| {
                hand_over();
                repeat(runs, &mut hand_over)
            },
        );
    }
    set_affinity(None, &all);
    group.finish();
}
