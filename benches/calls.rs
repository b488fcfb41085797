//! What a call of a hosted object costs, beside a bare ping-pong over a Unix socket with the same bytes.
//!
//! As in `core.rs`, a floor and what stands on it run alternately. Results and what they mean: `docs/benchmarks.md`.
#![allow(missing_docs, clippy::expect_used, reason = "a benchmark that can't go on fails")]

mod common;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use common::cores::{affinity, pin, set_affinity};
use common::echo::{self, Echo, ROLE, SCALE, Sizes};
use common::magnifier::{Magnifier, MagnifierProxy};
use common::report::{Aim, Report, configured, repeat};
use common::words::Pinger;
use criterion::{Criterion, SamplingMode};
use sharehold::{Array, CallScope, Canceller, List, Manager, MethodError};

const MEGABYTE: usize = 1 << 20;
const BIG: Sizes = Sizes { request: MEGABYTE, reply: MEGABYTE };
const FEW: usize = 1000;

/// Gets bytes and gives bytes.
#[derive(Debug, Default)]
pub struct Inverter;

#[sharehold::class]
impl Inverter {
    pub fn new() -> Self {
        Self
    }

    /// Reads an array and answers with another one, both in place.
    pub fn invert(&self, bytes: &Array<u8>) -> Result<Array<u8>, MethodError> {
        let bytes = bytes.sealed()?;
        let inverted = Manager::current()?.array_with(bytes.len(), |place: &mut [u8]| {
            place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = !byte);
            Ok::<(), sharehold::Error>(())
        })?;
        inverted.seal()?;
        Ok(inverted)
    }

    /// Answers with what it got.
    pub fn same(&self, bytes: Array<u8>) -> Array<u8> {
        bytes
    }

    /// As `invert`, with bytes that the codec copies.
    pub fn invert_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes.into_iter().map(|byte| !byte).collect()
    }
}

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return echo::perform(&role.split('\n').collect::<Vec<_>>());
    }
    let (mut criterion, measures) = configured();
    let many = if measures { 1_000_000 } else { 2000 };
    let report = Report::default();
    scale(&report, &mut criterion);
    ring(&report, &mut criterion);
    create(&report, &mut criterion);
    megabyte(&report, &mut criterion);
    callers(&report, &mut criterion);
    crowd(&report, &mut criterion, many);
    criterion.final_summary();
    report.print();
}

fn start() -> Manager {
    Manager::builder().class::<Magnifier>().start().expect("a broker")
}

fn scale(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call");
    let manager = start();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let broker = manager.child_pid().expect("our broker");
    let bare = Echo::start(SCALE, false);
    let all = affinity(None);
    for (place, core) in [("one core", 0), ("two cores", 1)] {
        pin(None, 0);
        pin(Some(broker), core);
        pin(Some(bare.pid()), core);
        let name = format!("{place}: scale(f64) against ping-pong");
        report.beside(
            &mut group,
            &name,
            Aim::Ratio(1.3),
            |runs| repeat(runs, || bare.ask()),
            |runs| repeat(runs, || _ = black_box(lens.scale(black_box(1.5)).expect("called"))),
        );
        for pid in [None, Some(broker), Some(bare.pid())] {
            set_affinity(pid, &all);
        }
    }
    group.finish();
}

/// The call ring beside what it stands on, and beside the way over the socket, which calls take that can be cancelled.
fn ring(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call ring");
    let manager = start();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let broker = manager.child_pid().expect("our broker");
    // Before this thread keeps to a core, which they would take after. One of the two looks all the time: it stops until it is needed.
    let (asleep, awake) = (Pinger::start(true), Pinger::start(false));
    awake.pause(true);
    let all = affinity(None);
    let call = || _ = black_box(lens.scale(black_box(1.5)).expect("called"));
    let canceller = Canceller::new();
    pin(None, 0);
    for (place, core) in [("one core", 0), ("two cores", 1)] {
        for pid in [broker, asleep.pid()] {
            pin(Some(pid), core);
        }
        if core == 0 {
            let name = "one core: scale(f64) against a futex ping-pong";
            report.beside(
                &mut group,
                name,
                Aim::Ratio(1.5),
                |runs| repeat(runs, || asleep.ask()),
                |runs| repeat(runs, call),
            );
        } else {
            pin(Some(awake.pid()), core);
            let name = "two cores: scale(f64) against a ping-pong that looks all the time";
            let floor = |runs| {
                awake.pause(false);
                awake.ask();
                let took = repeat(runs, || awake.ask());
                awake.pause(true);
                took
            };
            report.beside(&mut group, name, Aim::Ratio(2.0), floor, |runs| repeat(runs, call));
        }
        let by_socket = |runs| CallScope::new().canceller(&canceller).run(|| repeat(runs, call));
        let name = format!("{place}: scale(f64) by the ring against over the socket");
        report.beside(&mut group, &name, Aim::None, by_socket, |runs| repeat(runs, call));
        for pid in [broker, asleep.pid()] {
            set_affinity(Some(pid), &all);
        }
    }
    set_affinity(None, &all);
    group.finish();
}

fn create(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("create hosted");
    let manager = start();
    let broker = manager.child_pid().expect("our broker");
    let bare = Echo::start(SCALE, false);
    let all = affinity(None);
    for pid in [None, Some(broker), Some(bare.pid())] {
        pin(pid, 0);
    }
    report.beside(
        &mut group,
        "one core: new, drop against ping-pong",
        Aim::None,
        |runs| repeat(runs, || bare.ask()),
        |runs| repeat(runs, || drop(black_box(MagnifierProxy::new(&manager, 2.0).expect("created")))),
    );
    let list = List::new(&manager).expect("created");
    list.push(MagnifierProxy::new(&manager, 2.0).expect("created")).expect("pushed");
    report.beside(
        &mut group,
        "one core: get of a proxy, drop against ping-pong",
        Aim::None,
        |runs| repeat(runs, || bare.ask()),
        |runs| repeat(runs, || drop(black_box(list.get(0).expect("there")))),
    );
    set_affinity(None, &all);
    group.finish();
}

fn megabyte(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("1 MB there and back");
    group.sample_size(20).sampling_mode(SamplingMode::Flat);
    let manager = Manager::builder().class::<Inverter>().start().expect("a broker");
    let inverter = InverterProxy::new(&manager).expect("created");
    let broker = manager.child_pid().expect("our broker");
    let bare = Echo::start(BIG, false);
    let all = affinity(None);
    for pid in [None, Some(broker), Some(bare.pid())] {
        pin(pid, 0);
    }
    let built = manager.array_with(MEGABYTE, |place: &mut [u8]| {
        place.fill(7);
        Ok::<(), sharehold::Error>(())
    });
    let built = built.expect("room");
    built.seal().expect("whole");
    report.beside(
        &mut group,
        "one core: an array handed there and back against the bytes through the socket",
        Aim::Ratio(0.2),
        |runs| repeat(runs, || bare.ask()),
        |runs| {
            repeat(runs, || {
                let back = inverter.same(built.clone()).expect("called");
                black_box(back.sealed().expect("sealed")[MEGABYTE - 1]);
            })
        },
    );
    let in_place = |runs| {
        repeat(runs, || {
            let bytes = manager.array_with(MEGABYTE, |place: &mut [u8]| {
                place.fill(black_box(7));
                Ok::<(), sharehold::Error>(())
            });
            let bytes = bytes.expect("room");
            bytes.seal().expect("whole");
            let inverted = inverter.invert(&bytes).expect("called");
            black_box(inverted.sealed().expect("sealed")[MEGABYTE - 1]);
        })
    };
    // Both build the same: on one core it does not matter which process does it.
    let (mut request, mut reply) = (vec![0_u8; MEGABYTE], vec![0_u8; MEGABYTE]);
    let mut built_and_sent = |runs| {
        repeat(runs, || {
            request.fill(black_box(7));
            reply.iter_mut().zip(&request).for_each(|(place, byte)| *place = !byte);
            black_box(&mut reply);
            bare.ask();
        })
    };
    let name = "one core: built in place on both sides against built and sent through the socket";
    report.beside(&mut group, name, Aim::None, &mut built_and_sent, in_place);
    let bytes = vec![7_u8; MEGABYTE];
    report.beside(
        &mut group,
        "one core: Vec<u8> there and back against the bytes through the socket",
        Aim::None,
        |runs| repeat(runs, || bare.ask()),
        |runs| repeat(runs, || drop(black_box(inverter.invert_bytes(bytes.clone()).expect("called")))),
    );
    set_affinity(None, &all);
    group.finish();
}

/// Many threads that each run a number of times.
fn together(threads: usize, runs: u64, work: impl Fn(usize) + Sync) -> Duration {
    let barrier = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                (0..runs).for_each(|_| work(thread));
                barrier.wait();
            });
        }
        barrier.wait();
        let started = Instant::now();
        barrier.wait();
        // Of one call, so that numbers of callers can be compared.
        started.elapsed() / threads as u32
    })
}

fn callers(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("callers");
    group.sampling_mode(SamplingMode::Flat);
    let manager = start();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    for threads in [1, 4, 16] {
        let bare: Vec<Echo> = (0..threads).map(|_| Echo::start(SCALE, false)).collect();
        report.beside(
            &mut group,
            &format!("{threads} callers, free: scale(f64) against as many ping-pongs"),
            Aim::None,
            |runs| together(threads, runs, |thread| bare[thread].ask()),
            |runs| together(threads, runs, |_| _ = black_box(lens.scale(1.5).expect("called"))),
        );
    }
    group.finish();
}

fn crowd(report: &Report, criterion: &mut Criterion, many: usize) {
    let mut group = criterion.benchmark_group("hosted objects");
    let (few, crowd) = (start(), Manager::builder().objects(1 << 21).class::<Magnifier>().start().expect("a broker"));
    let fill = |manager: &Manager, count: usize| -> Vec<MagnifierProxy> {
        (0..count).map(|i| MagnifierProxy::new(manager, i as f64).expect("created")).collect()
    };
    let (held, crowded) = (fill(&few, FEW), std::cell::LazyCell::new(|| fill(&crowd, many)));
    let all = affinity(None);
    for pid in [None, few.child_pid(), crowd.child_pid()] {
        pin(pid, 0);
    }
    report.beside(
        &mut group,
        "one core: scale(f64) among 1 M against 1 k",
        Aim::Ratio(1.3),
        |runs| repeat(runs, || _ = black_box(held[FEW / 2].scale(1.5).expect("called"))),
        |runs| {
            let lens = &crowded[many / 2];
            repeat(runs, || _ = black_box(lens.scale(1.5).expect("called")))
        },
    );
    report.beside(
        &mut group,
        "one core: new, drop among 1 M against 1 k",
        Aim::Ratio(1.3),
        |runs| repeat(runs, || drop(black_box(MagnifierProxy::new(&few, 2.0).expect("created")))),
        |runs| {
            assert!(crowded.len() == many);
            repeat(runs, || drop(black_box(MagnifierProxy::new(&crowd, 2.0).expect("created"))))
        },
    );
    set_affinity(None, &all);
    group.finish();
}
