//! What the promises cost, each beside the floor that it is measured against.
//!
//! A floor and what stands on it run alternately, in pieces of one sample: whatever else the machine does meanwhile slows both down. Criterion shows the
//! times; the table at the end has medians over the pieces, also of the ratios. Results and what they mean: `docs/benchmarks.md`.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that can't go on fails, and what it finds it prints"
)]

mod common;

use std::hint::black_box;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::cores::{affinity, pin, set_affinity};
use common::echo::{self, Echo, ROLE, Sizes, start};
use common::fork;
use common::report::{Aim, Report, configured, repeat};
use criterion::{Criterion, SamplingMode};
use sharehold::{Manager, Proxy, Ticket, TicketOptions, Value};

/// What `Manager::value` sends and what comes back.
const CREATE: Sizes = Sizes { request: 80, reply: 48 };
/// The most that a ticket can have.
const MANY_USES: u32 = (1 << 24) - 1;
const FEW: usize = 1000;
const BIG_ARRAY: usize = 64 << 20;

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return perform(&role);
    }
    let (mut criterion, measures) = configured();
    let many = if measures { 1_000_000 } else { 10_000 };
    let report = Report::default();
    clone_drop(&report, &mut criterion);
    value_get(&report, &mut criterion);
    tickets(&report, &mut criterion);
    create(&report, &mut criterion);
    slab(&report, &mut criterion);
    get(&report, &mut criterion);
    big_array(&report, &mut criterion);
    fork(&report, &mut criterion, if measures { 100_000 } else { 1000 });
    crowd(&report, &mut criterion, many);
    criterion.final_summary();
    report.print();
}

// --- the benchmarks ---

#[inline]
fn clone_and_drop<T: Clone>(held: &T) {
    let copy = black_box(held).clone();
    black_box(&copy);
}

fn clone_drop(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("clone and drop");
    let manager = Manager::start().expect("a broker");
    let arc = Arc::new(1_u64);
    let value = manager.value(1_u64).expect("room");
    let array = manager.array(&[1_u8; 64]).expect("room");
    let aim = Aim::Ratio(1.5);
    let floor = |runs| repeat(runs, || clone_and_drop(&arc));
    report.beside(&mut group, "Value against Arc", aim, floor, |runs| repeat(runs, || clone_and_drop(&value)));
    report.beside(&mut group, "Array against Arc", aim, floor, |runs| repeat(runs, || clone_and_drop(&array)));

    // Both find their cores before this thread keeps to its own.
    let neighbour = Neighbour::start(&manager, &value);
    let works = Arc::new(AtomicBool::new(false));
    let ends = Arc::new(AtomicBool::new(false));
    let thread = {
        let (arc, works, ends) = (Arc::clone(&arc), Arc::clone(&works), Arc::clone(&ends));
        std::thread::spawn(move || {
            pin(None, 1);
            while !ends.load(Ordering::Relaxed) {
                if works.load(Ordering::Relaxed) {
                    (0..4096).for_each(|_| clone_and_drop(&arc));
                } else {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        })
    };
    let all = affinity(None);
    pin(None, 0);
    report.beside(
        &mut group,
        "Value, another process at it against idle",
        aim,
        |runs| {
            neighbour.rest();
            repeat(runs, || clone_and_drop(&value))
        },
        |runs| {
            neighbour.work();
            repeat(runs, || clone_and_drop(&value))
        },
    );
    drop(neighbour);

    let switched = |on: bool, runs| {
        works.store(on, Ordering::Relaxed);
        std::thread::sleep(SETTLING);
        repeat(runs, || clone_and_drop(&arc))
    };
    report.beside(
        &mut group,
        "Arc, another thread at it against idle",
        Aim::None,
        |runs| switched(false, runs),
        |runs| switched(true, runs),
    );
    ends.store(true, Ordering::Relaxed);
    thread.join().expect("it ends");
    set_affinity(None, &all);
    group.finish();
}

fn value_get(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("value");
    let manager = Manager::start().expect("a broker");
    let word = AtomicU64::new(1);
    let value = manager.value(1_u64).expect("room");
    report.beside(
        &mut group,
        "get against an atomic load",
        Aim::None,
        |runs| repeat(runs, || _ = black_box(black_box(&word).load(Ordering::Acquire))),
        |runs| repeat(runs, || _ = black_box(black_box(&value).get().expect("whole"))),
    );
    group.finish();
}

fn tickets(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ticket");
    let manager = Manager::start().expect("a broker");
    let value = manager.value(1_u64).expect("room");
    let words: [AtomicU64; 10] = Default::default();
    // As many as issue, redeem and drop make.
    let floor = |runs| repeat(runs, || words.iter().for_each(|word| _ = word.fetch_add(1, Ordering::AcqRel)));
    report.beside(&mut group, "ticket, redeem, drop against 10 atomic adds", Aim::Nanos(300.0), floor, |runs| {
        repeat(runs, || ticket_and_redeem(&manager, &value))
    });
    let options = TicketOptions { uses: MANY_USES, deadline: None };
    let mut ticket = value.ticket_with(options).expect("a free ticket");
    let floor = |runs| repeat(runs, || words[..3].iter().for_each(|word| _ = word.fetch_add(1, Ordering::AcqRel)));
    report.beside(
        &mut group,
        "redeem, drop of what is held, with uses left, against 3 atomic adds",
        Aim::None,
        floor,
        |runs| {
            repeat(runs, || match manager.redeem::<Value<u64>>(black_box(&ticket)) {
                Ok(redeemed) => drop(black_box(redeemed)),
                Err(_) => ticket = value.ticket_with(options).expect("a free ticket"),
            })
        },
    );
    let mut moving = Some(manager.value(1_u64).expect("room"));
    report.beside(
        &mut group,
        "ticket, drop, redeem (the only proxy moves)",
        Aim::Nanos(300.0),
        |runs| repeat(runs, || ticket_and_redeem(&manager, &value)),
        |runs| {
            repeat(runs, || {
                let ticket = moving.take().expect("held").ticket().expect("a free ticket");
                moving = Some(manager.redeem(&ticket).expect("one use"));
            })
        },
    );
    group.finish();
}

fn create(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("create");
    let manager = Manager::start().expect("a broker");
    let (bare, same) = (Echo::start(CREATE, false), Echo::start(CREATE, true));
    let broker = manager.child_pid().expect("our broker");
    let all = affinity(None);
    for (place, one_core) in [("one core", true), ("free", false)] {
        if one_core {
            for pid in [None, Some(broker), Some(bare.pid()), Some(same.pid())] {
                pin(pid, 0);
            }
        }
        let create = |runs| repeat(runs, || drop(black_box(manager.value(1_u64).expect("room"))));
        let (aim, name) = (Aim::Ratio(1.5), format!("{place}: value, drop against ping-pong"));
        report.beside(&mut group, &name, aim, |runs| repeat(runs, || bare.ask()), create);
        let name = format!("{place}: value, drop against ping-pong that polls");
        report.beside(&mut group, &name, Aim::None, |runs| repeat(runs, || same.ask_polling()), create);
        for pid in [None, Some(broker), Some(bare.pid()), Some(same.pid())] {
            set_affinity(pid, &all);
        }
    }
    group.finish();
}

/// As many atomic additions, each on a word of its own.
fn adds(words: &[AtomicU64]) -> impl Fn(u64) -> Duration {
    |runs| repeat(runs, || words.iter().for_each(|word| _ = word.fetch_add(1, Ordering::AcqRel)))
}

/// Creates an array of 64 bytes that nobody can change any more, reads it in place, and lets it die.
#[inline]
fn small_array(manager: &Manager, elements: &[u64; 8]) {
    let array = manager.array(black_box(elements)).expect("room");
    black_box(array.seal().expect("nobody writes")[7]);
}

fn slab(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slab");
    let manager = Manager::start().expect("a broker");
    let elements = [7_u64; 8];
    // As many locked instructions and full fences as the protocol makes.
    let words: [AtomicU64; 11] = Default::default();
    report.beside(
        &mut group,
        "64 B created, sealed, read, dropped against 11 atomic adds",
        Aim::Nanos(150.0),
        adds(&words),
        |runs| repeat(runs, || small_array(&manager, &elements)),
    );
    report.beside(&mut group, "value created, dropped against 8 atomic adds", Aim::None, adds(&words[..8]), |runs| {
        repeat(runs, || drop(black_box(manager.value(1_u64).expect("room"))))
    });
    // The same by another process meanwhile, each on its own core.
    let value = manager.value(1_u64).expect("room");
    let neighbour = Neighbour::start_as("creator", &manager, &value);
    let all = affinity(None);
    pin(None, 0);
    report.beside(
        &mut group,
        "64 B, another process at it against idle",
        Aim::Ratio(1.1),
        |runs| {
            neighbour.rest();
            repeat(runs, || small_array(&manager, &elements))
        },
        |runs| {
            neighbour.work();
            repeat(runs, || small_array(&manager, &elements))
        },
    );
    drop(neighbour);
    set_affinity(None, &all);
    // Created here, and dropped by another thread: it comes back to where it was made by a batch at a time.
    let (send, receive) = std::sync::mpsc::sync_channel::<sharehold::Array<u64>>(256);
    let dropper = std::thread::spawn(move || receive.into_iter().for_each(drop));
    let (to_same, same) = std::sync::mpsc::sync_channel::<Arc<[u64; 8]>>(256);
    let their_dropper = std::thread::spawn(move || same.into_iter().for_each(drop));
    report.beside(
        &mut group,
        "64 B created, dropped by another thread, against an Arc",
        Aim::None,
        |runs| repeat(runs, || to_same.send(Arc::new(elements)).expect("it lives")),
        |runs| repeat(runs, || send.send(manager.array(&elements).expect("room")).expect("it lives")),
    );
    drop((send, to_same));
    dropper.join().expect("it ends");
    their_dropper.join().expect("it ends");
    for (size, len) in [("64 B", 64), ("1 MB", 1 << 20)] {
        let mut arrays: Vec<sharehold::Array<u8>> = Vec::new();
        let name = format!("seal of {size} against 3 atomic adds");
        report.beside(&mut group, &name, Aim::Nanos(100.0), adds(&words[..3]), |runs| {
            let mut took = Duration::ZERO;
            for _ in 0..runs.div_ceil(32) {
                arrays.clear();
                arrays.extend(
                    (0..32).map(|_| manager.array_with::<u8, sharehold::Error>(len, |_| Ok(())).expect("room")),
                );
                let started = Instant::now();
                arrays.iter().for_each(|array| _ = black_box(array.seal().expect("nobody writes")));
                took += started.elapsed();
            }
            took.mul_f64(runs as f64 / (runs.div_ceil(32) * 32) as f64)
        });
    }
    group.finish();
}

/// A proxy of an object that this process does not hold, got and dropped, at random among so many.
fn get(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get");
    let words: [AtomicU64; 9] = Default::default();
    for (count, size, aim) in [(1000, "1 k", Aim::Nanos(60.0)), (100_000, "100 k", Aim::Nanos(250.0))] {
        let manager = Manager::builder().tickets(1 << 18).names(1 << 18).start().expect("a broker");
        let held: Vec<Value<u64>> = (0..count as u64).map(|i| manager.value(i).expect("room")).collect();
        let names: Vec<String> = (0..count).map(|i| format!("value {i}")).collect();
        names.iter().zip(&held).for_each(|(name, value)| manager.publish(name, value).expect("a free name"));
        let weak: Vec<sharehold::Weak<Value<u64>>> = held.iter().map(Proxy::downgrade).collect();
        drop(held);
        let (mut dice, mut their_dice) = (Dice(1), Dice(1));
        let name = format!("by name, dropped, among {size} against 6 atomic adds");
        report.beside(&mut group, &name, aim, adds(&words[..6]), |runs| {
            repeat(runs, || {
                drop(black_box(manager.lookup::<Value<u64>>(&names[dice.below(count)]).expect("published")))
            })
        });
        let name = format!("by id, dropped, among {size} against 9 atomic adds");
        report.beside(&mut group, &name, aim, adds(&words), |runs| {
            repeat(runs, || drop(black_box(weak[their_dice.below(count)].upgrade().expect("alive"))))
        });
    }
    group.finish();
}

fn big_array(report: &Report, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("64 MB");
    group.sample_size(20).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(2));
    let manager = Manager::start().expect("a broker");
    let data: Vec<u8> = (0..BIG_ARRAY).map(|i| i as u8).collect();
    let mut private = data.clone();
    let mut copy = |runs| {
        repeat(runs, || {
            private.copy_from_slice(black_box(&data));
            black_box(&mut private);
        })
    };
    report.beside(&mut group, "array, drop against memcpy", Aim::Ratio(1.2), &mut copy, |runs| {
        repeat(runs, || drop(black_box(manager.array(black_box(&data)).expect("room"))))
    });
    report.beside(&mut group, "of it all but the writing against memcpy", Aim::None, &mut copy, |runs| {
        repeat(runs, || {
            let array = manager.array_with::<u8, sharehold::Error>(BIG_ARRAY, |_| Ok(()));
            drop(black_box(array.expect("room")));
        })
    });
    let array = manager.array(&data).expect("room");
    report.beside(&mut group, "write in place against memcpy", Aim::None, &mut copy, |runs| {
        repeat(runs, || array.write().expect("not sealed").copy_from_slice(black_box(&data)))
    });
    group.finish();
}

/// What a fork costs of a process that holds nothing, one object, or many: the child gets a session and all counts, and the broker sweeps it.
fn fork(report: &Report, criterion: &mut Criterion, many: usize) {
    let mut group = criterion.benchmark_group("fork");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for held in [0, 1, many] {
        let _held = Crowd::new(held);
        let name = format!("fork, end of the child with {held} objects against a bare one");
        let (bare, ours) = (|runs| repeat(runs, fork::fork_bare), |runs| repeat(runs, fork::fork));
        report.beside(&mut group, &name, Aim::None, bare, ours);
    }
    group.finish();
}

/// How much more it costs among many objects than among few, and what an object costs.
fn crowd(report: &Report, criterion: &mut Criterion, many: usize) {
    let mut group = criterion.benchmark_group("flatness");
    let few = Crowd::new(FEW);
    // Only if something is measured, for it takes seconds.
    let crowd = std::cell::LazyCell::new(|| {
        let crowd = Crowd::new(many);
        report.notes.borrow_mut().push(crowd.cost());
        crowd
    });
    let aim = Aim::Ratio(1.3);
    report.beside(
        &mut group,
        "clone, drop among 1 M against 1 k",
        aim,
        |runs| repeat(runs, || clone_and_drop(few.middle())),
        |runs| {
            let held = crowd.middle();
            repeat(runs, || clone_and_drop(held))
        },
    );
    report.beside(
        &mut group,
        "ticket, redeem, drop among 1 M against 1 k",
        aim,
        |runs| repeat(runs, || ticket_and_redeem(&few.manager, few.middle())),
        |runs| {
            let (manager, held) = (&crowd.manager, crowd.middle());
            repeat(runs, || ticket_and_redeem(manager, held))
        },
    );
    report.beside(
        &mut group,
        "create, drop among 1 M against 1 k",
        aim,
        |runs| repeat(runs, || drop(black_box(few.manager.value(1_u64).expect("room")))),
        |runs| {
            let manager = &crowd.manager;
            repeat(runs, || drop(black_box(manager.value(1_u64).expect("room"))))
        },
    );
    let arcs: Vec<Arc<u64>> = (0..many as u64).map(Arc::new).collect();
    let (mut dice, mut their_dice) = (Dice(1), Dice(1));
    report.beside(
        &mut group,
        "clone, drop of any of 1 M against any of 1 M Arcs",
        Aim::None,
        |runs| repeat(runs, || clone_and_drop(&arcs[their_dice.below(many)])),
        |runs| {
            let held = &crowd.objects;
            repeat(runs, || clone_and_drop(&held[dice.below(many)]))
        },
    );
    group.finish();
}

#[inline]
fn ticket_and_redeem(manager: &Manager, value: &Value<u64>) {
    let ticket = value.ticket().expect("a free ticket");
    let redeemed: Value<u64> = manager.redeem(black_box(&ticket)).expect("one use");
    black_box(&redeemed);
}

/// A broker with that many live values.
struct Crowd {
    manager: Manager,
    objects: Vec<Value<u64>>,
    took: Duration,
    /// Before: bytes of the region, of payload, and of the broker's own memory.
    before: [u64; 3],
}

impl Crowd {
    fn new(count: usize) -> Self {
        let manager = Manager::builder().objects(1 << 21).start().expect("a broker");
        let before = sizes(&manager);
        let started = Instant::now();
        let objects = (0..count as u64).map(|i| manager.value(i).expect("room")).collect();
        Self { manager, objects, took: started.elapsed(), before }
    }

    fn middle(&self) -> &Value<u64> {
        &self.objects[self.objects.len() / 2]
    }

    fn cost(&self) -> String {
        let count = self.objects.len() as f64;
        let now = sizes(&self.manager);
        let [region, payload, broker] = std::array::from_fn(|i| now[i].saturating_sub(self.before[i]) as f64 / count);
        format!(
            "{count} objects, created in {:.1} s: {:.1} bytes each beside {payload:.1} of payload and its rounding\n\
             (region {region:.1} in all, broker {broker:.1}); aim 128. A proxy takes {} bytes of its holder.",
            self.took.as_secs_f64(),
            region - payload + broker,
            size_of::<Value<u64>>(),
        )
    }
}

fn sizes(manager: &Manager) -> [u64; 3] {
    let stats = manager.stats().expect("the broker answers");
    let status = std::fs::read_to_string(format!("/proc/{}/status", stats.broker_pid)).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says");
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    [stats.resident, stats.heap_used, kilobytes << 10]
}

/// Numbers without a pattern that a cache could follow: a linear congruential generator, by its high bits.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

// --- second processes ---

fn perform(role: &str) {
    let parts: Vec<&str> = role.split('\n').collect();
    match parts[..] {
        [how @ ("neighbour" | "creator"), object, switch, rounds] => neighbour(how, object, switch, rounds),
        ref other => echo::perform(other),
    }
}

const REST: u64 = 0;
const WORK: u64 = 1;
const END: u64 = 2;
/// How long after a switch everybody does what it says.
const SETTLING: Duration = Duration::from_millis(3);

/// Clones and drops a proxy of the same object, or creates and drops, in its own process and on its own core, when told to.
fn neighbour(how: &str, object: &str, switch: &str, rounds: &str) {
    let parent = std::os::unix::process::parent_id();
    let redeem = |text: &str| -> Value<u64> {
        let ticket: Ticket = text.parse().expect("a ticket");
        sharehold::redeem(&ticket).expect("one use")
    };
    let broker = object.parse::<Ticket>().expect("a ticket").broker().to_owned();
    let (object, switch, rounds) = (redeem(object), redeem(switch), redeem(rounds));
    let manager = Manager::connect(&broker).expect("the same");
    pin(None, 1);
    while std::os::unix::process::parent_id() == parent {
        match switch.get().expect("whole") {
            REST => std::thread::sleep(Duration::from_millis(1)),
            WORK => {
                match how {
                    "creator" => (0..1024).for_each(|_| small_array(&manager, &[7; 8])),
                    _ => (0..4096).for_each(|_| clone_and_drop(&object)),
                }
                rounds.update(|rounds| *rounds += 1).expect("not sealed");
            }
            _ => return,
        }
    }
}

struct Neighbour {
    child: Child,
    switch: Value<u64>,
    rounds: Value<u64>,
}

impl Neighbour {
    fn start(manager: &Manager, object: &Value<u64>) -> Self {
        Self::start_as("neighbour", manager, object)
    }

    fn start_as(how: &str, manager: &Manager, object: &Value<u64>) -> Self {
        let (switch, rounds) = (manager.value(REST).expect("room"), manager.value(0_u64).expect("room"));
        let ticket = |value: &Value<u64>| value.ticket().expect("a free ticket").to_string();
        let role = [how, &ticket(object), &ticket(&switch), &ticket(&rounds)].join("\n");
        Self { child: start(&role, Stdio::null()), switch, rounds }
    }

    fn rest(&self) {
        self.switch.set(REST).expect("not sealed");
        std::thread::sleep(SETTLING);
    }

    /// Returns when it really works.
    fn work(&self) {
        self.switch.set(WORK).expect("not sealed");
        let before = self.rounds.get().expect("whole");
        while self.rounds.get().expect("whole") < before + 2 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.switch.set(END);
        let _ = self.child.wait();
    }
}
