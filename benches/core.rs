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

use std::cell::RefCell;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sharehold::{Manager, Proxy, Ticket, TicketOptions, Value};

/// Names the part that a second process of this program plays.
const ROLE: &str = "SHAREHOLD_BENCH_ROLE";
/// What `Manager::value` sends and what comes back, in bytes.
const REQUEST: usize = 80;
const REPLY: usize = 48;
/// Into how many pieces a sample is cut, between which floor and ours take turns. A piece is shorter than the time that the scheduler gives a process, so
/// that most are not interrupted.
const TURNS: u64 = 32;
/// The same where a turn begins with a pause.
const SLOW_TURNS: u64 = 2;
/// The most that a ticket can have.
const MANY_USES: u32 = (1 << 24) - 1;
const FEW: usize = 1000;
const BIG_ARRAY: usize = 64 << 20;

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return perform(&role);
    }
    // `cargo bench` says so; without it everything runs once, to see that it works.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let many = if measures { 1_000_000 } else { 10_000 };
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let report = Report::default();
    report.clone_drop(&mut criterion);
    report.value_get(&mut criterion);
    report.tickets(&mut criterion);
    report.create(&mut criterion);
    report.big_array(&mut criterion);
    report.crowd(&mut criterion, many);
    criterion.final_summary();
    report.print();
}

// --- the report ---

/// What is promised of a measurement.
#[derive(Clone, Copy)]
enum Aim {
    /// At most this many times the floor.
    Ratio(f64),
    /// At most this many nanoseconds.
    Nanos(f64),
    /// Nothing: it explains another line.
    None,
}

struct Line {
    what: String,
    floor: f64,
    ours: f64,
    ratio: f64,
    aim: Aim,
}

#[derive(Default)]
struct Report {
    lines: RefCell<Vec<Line>>,
    /// Findings that are not times.
    notes: RefCell<Vec<String>>,
}

/// How many runs, and how long all of them took.
struct Turn {
    runs: u64,
    floor: Duration,
    ours: Duration,
}

impl Report {
    /// Measures `ours` beside `floor`. Both get a number of runs and return how long they took.
    fn beside(
        &self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        what: &str,
        aim: Aim,
        mut floor: impl FnMut(u64) -> Duration,
        mut ours: impl FnMut(u64) -> Duration,
    ) {
        let turns = if what.contains(" at it ") { SLOW_TURNS } else { TURNS };
        let mut all: Vec<Turn> = Vec::new();
        group.bench_function(format!("{what}/floor"), |bencher| bencher.iter_custom(&mut floor));
        group.bench_function(format!("{what}/ours"), |bencher| {
            bencher.iter_custom(|runs| {
                let mut took = Duration::ZERO;
                for turn in 0..turns.min(runs) {
                    let runs = runs / turns + u64::from(turn < runs % turns);
                    let turn = Turn { runs, floor: floor(runs), ours: ours(runs) };
                    took += turn.ours;
                    all.push(turn);
                }
                took
            });
        });
        // Those of the warm-up are too short to be compared.
        let most = all.iter().map(|turn| turn.runs).max().unwrap_or(0);
        all.retain(|turn| turn.runs * 2 >= most);
        if all.is_empty() {
            return;
        }
        let of = |value: &dyn Fn(&Turn) -> f64| median(all.iter().map(value).collect());
        self.lines.borrow_mut().push(Line {
            what: what.to_owned(),
            floor: of(&|turn| turn.floor.as_nanos() as f64 / turn.runs as f64),
            ours: of(&|turn| turn.ours.as_nanos() as f64 / turn.runs as f64),
            ratio: of(&|turn| turn.ours.as_secs_f64() / turn.floor.as_secs_f64()),
            aim,
        });
    }

    fn print(&self) {
        println!("\n| what | floor | ours | ratio | aim | met |\n|---|---|---|---|---|---|");
        for line in self.lines.borrow().iter() {
            let (aim, met) = match line.aim {
                Aim::Ratio(most) => (format!("{most}x"), line.ratio <= most),
                Aim::Nanos(most) => (time(most), line.ours <= most),
                Aim::None => ("-".into(), true),
            };
            let met = match line.aim {
                Aim::None => "-",
                _ if met => "yes",
                _ => "**no**",
            };
            println!(
                "| {} | {} | {} | {:.2} | {aim} | {met} |",
                line.what,
                time(line.floor),
                time(line.ours),
                line.ratio
            );
        }
        for note in self.notes.borrow().iter() {
            println!("\n{note}");
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn time(nanos: f64) -> String {
    match nanos {
        0.0..1e3 => format!("{nanos:.1} ns"),
        1e3..1e6 => format!("{:.2} us", nanos / 1e3),
        _ => format!("{:.2} ms", nanos / 1e6),
    }
}

/// Times a number of runs.
#[inline]
fn repeat(runs: u64, mut work: impl FnMut()) -> Duration {
    let started = Instant::now();
    for _ in 0..runs {
        work();
    }
    started.elapsed()
}

// --- the benchmarks ---

#[inline]
fn clone_and_drop<T: Clone>(held: &T) {
    let copy = black_box(held).clone();
    black_box(&copy);
}

impl Report {
    fn clone_drop(&self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("clone and drop");
        let manager = Manager::start().expect("a broker");
        let arc = Arc::new(1_u64);
        let value = manager.value(1_u64).expect("room");
        let array = manager.array(&[1_u8; 64]).expect("room");
        let aim = Aim::Ratio(1.5);
        let floor = |runs| repeat(runs, || clone_and_drop(&arc));
        self.beside(&mut group, "Value against Arc", aim, floor, |runs| repeat(runs, || clone_and_drop(&value)));
        self.beside(&mut group, "Array against Arc", aim, floor, |runs| repeat(runs, || clone_and_drop(&array)));

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
        self.beside(
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
        self.beside(
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

    fn value_get(&self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("value");
        let manager = Manager::start().expect("a broker");
        let word = AtomicU64::new(1);
        let value = manager.value(1_u64).expect("room");
        self.beside(
            &mut group,
            "get against an atomic load",
            Aim::None,
            |runs| repeat(runs, || _ = black_box(black_box(&word).load(Ordering::Acquire))),
            |runs| repeat(runs, || _ = black_box(black_box(&value).get().expect("whole"))),
        );
        group.finish();
    }

    fn tickets(&self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("ticket");
        let manager = Manager::start().expect("a broker");
        let value = manager.value(1_u64).expect("room");
        let words: [AtomicU64; 11] = Default::default();
        // As many as issue, redeem and drop make.
        let floor = |runs| repeat(runs, || words.iter().for_each(|word| _ = word.fetch_add(1, Ordering::AcqRel)));
        self.beside(&mut group, "ticket, redeem, drop against 11 atomic adds", Aim::Nanos(300.0), floor, |runs| {
            repeat(runs, || ticket_and_redeem(&manager, &value))
        });
        let options = TicketOptions { uses: MANY_USES, deadline: None };
        let mut ticket = value.ticket_with(options).expect("a free ticket");
        let floor = |runs| repeat(runs, || words[..6].iter().for_each(|word| _ = word.fetch_add(1, Ordering::AcqRel)));
        self.beside(&mut group, "of it redeem, drop against 6 atomic adds", Aim::None, floor, |runs| {
            repeat(runs, || match manager.redeem::<Value<u64>>(black_box(&ticket)) {
                Ok(redeemed) => drop(black_box(redeemed)),
                Err(_) => ticket = value.ticket_with(options).expect("a free ticket"),
            })
        });
        let mut moving = Some(manager.value(1_u64).expect("room"));
        self.beside(
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

    fn create(&self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("create");
        let manager = Manager::start().expect("a broker");
        let (bare, same) = (Echo::start("echo"), Echo::start("echo-epoll"));
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
            self.beside(&mut group, &name, aim, |runs| repeat(runs, || bare.ask()), create);
            let name = format!("{place}: value, drop against ping-pong that polls");
            self.beside(&mut group, &name, Aim::None, |runs| repeat(runs, || same.ask_polling()), create);
            for pid in [None, Some(broker), Some(bare.pid()), Some(same.pid())] {
                set_affinity(pid, &all);
            }
        }
        group.finish();
    }

    fn big_array(&self, criterion: &mut Criterion) {
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
        self.beside(&mut group, "array, drop against memcpy", Aim::Ratio(1.2), &mut copy, |runs| {
            repeat(runs, || drop(black_box(manager.array(black_box(&data)).expect("room"))))
        });
        self.beside(&mut group, "of it all but the writing against memcpy", Aim::None, &mut copy, |runs| {
            repeat(runs, || {
                let array = manager.array_with::<u8, sharehold::Error>(BIG_ARRAY, |_| Ok(()));
                drop(black_box(array.expect("room")));
            })
        });
        let array = manager.array(&data).expect("room");
        self.beside(&mut group, "write in place against memcpy", Aim::None, &mut copy, |runs| {
            repeat(runs, || array.write().expect("not sealed").copy_from_slice(black_box(&data)))
        });
        group.finish();
    }

    /// How much more it costs among many objects than among few, and what an object costs.
    fn crowd(&self, criterion: &mut Criterion, many: usize) {
        let mut group = criterion.benchmark_group("flatness");
        let few = Crowd::new(FEW);
        // Only if something is measured, for it takes seconds.
        let crowd = std::cell::LazyCell::new(|| {
            let crowd = Crowd::new(many);
            self.notes.borrow_mut().push(crowd.cost());
            crowd
        });
        let aim = Aim::Ratio(1.3);
        self.beside(
            &mut group,
            "clone, drop among 1 M against 1 k",
            aim,
            |runs| repeat(runs, || clone_and_drop(few.middle())),
            |runs| {
                let held = crowd.middle();
                repeat(runs, || clone_and_drop(held))
            },
        );
        self.beside(
            &mut group,
            "ticket, redeem, drop among 1 M against 1 k",
            aim,
            |runs| repeat(runs, || ticket_and_redeem(&few.manager, few.middle())),
            |runs| {
                let (manager, held) = (&crowd.manager, crowd.middle());
                repeat(runs, || ticket_and_redeem(manager, held))
            },
        );
        self.beside(
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
        self.beside(
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

fn start(role: &str, stdin: Stdio) -> Child {
    Command::new("/proc/self/exe").env(ROLE, role).stdin(stdin).spawn().expect("this program runs itself")
}

fn perform(role: &str) {
    let parts: Vec<&str> = role.split('\n').collect();
    match parts[..] {
        ["echo"] => echo(),
        ["echo-epoll"] => echo_polling(),
        ["neighbour", object, switch, rounds] => neighbour(object, switch, rounds),
        _ => std::process::exit(2),
    }
}

/// Answers as long as somebody asks.
fn echo() {
    let mut stream = own_stream();
    let mut request = [0; REQUEST];
    while stream.read_exact(&mut request).is_ok() && stream.write_all(&[0; REPLY]).is_ok() {}
}

/// As [`echo`], with the system calls of a broker that serves many.
fn echo_polling() {
    let mut stream = own_stream();
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    epoll::add(&poller, &stream, epoll::EventData::new_u64(0), epoll::EventFlags::IN).expect("watched");
    let mut request = [0; REQUEST];
    loop {
        let mut events = Vec::with_capacity(64);
        epoll::wait(&poller, spare_capacity(&mut events), None).expect("an event");
        if stream.read_exact(&mut request).is_err() || stream.write_all(&[0; REPLY]).is_err() {
            return;
        }
    }
}

/// The socket that stands where the standard input would.
fn own_stream() -> UnixStream {
    UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().expect("a socket"))
}

struct Echo {
    child: Child,
    stream: UnixStream,
}

impl Echo {
    fn start(role: &str) -> Self {
        let (stream, theirs) = UnixStream::pair().expect("a pair");
        let echo = Self { child: start(role, OwnedFd::from(theirs).into()), stream };
        echo.ask();
        echo
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn ask(&self) {
        (&self.stream).write_all(&[0; REQUEST]).expect("sent");
        (&self.stream).read_exact(&mut [0; REPLY]).expect("answered");
    }

    fn ask_polling(&self) {
        (&self.stream).write_all(&[0; REQUEST]).expect("sent");
        poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], None).expect("ready");
        (&self.stream).read_exact(&mut [0; REPLY]).expect("answered");
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

const REST: u64 = 0;
const WORK: u64 = 1;
const END: u64 = 2;
/// How long after a switch everybody does what it says.
const SETTLING: Duration = Duration::from_millis(3);

/// Clones and drops a proxy of the same object, in its own process and on its own core, when told to.
fn neighbour(object: &str, switch: &str, rounds: &str) {
    let parent = std::os::unix::process::parent_id();
    let redeem = |text: &str| -> Value<u64> {
        let ticket: Ticket = text.parse().expect("a ticket");
        sharehold::redeem(&ticket).expect("one use")
    };
    let (object, switch, rounds) = (redeem(object), redeem(switch), redeem(rounds));
    pin(None, 1);
    while std::os::unix::process::parent_id() == parent {
        match switch.get().expect("whole") {
            REST => std::thread::sleep(Duration::from_millis(1)),
            WORK => {
                (0..4096).for_each(|_| clone_and_drop(&object));
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
        let (switch, rounds) = (manager.value(REST).expect("room"), manager.value(0_u64).expect("room"));
        let ticket = |value: &Value<u64>| value.ticket().expect("a free ticket").to_string();
        let role = ["neighbour", &ticket(object), &ticket(&switch), &ticket(&rounds)].join("\n");
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

// --- cores ---

fn affinity(pid: Option<u32>) -> CpuSet {
    sched_getaffinity(process(pid)).expect("the cores of a process")
}

/// Where a process, or this thread, may run.
fn set_affinity(pid: Option<u32>, cores: &CpuSet) {
    sched_setaffinity(process(pid), cores).expect("allowed");
}

/// Keeps a process, or this thread, on the n-th core that it may use; on the last one if there are fewer.
fn pin(pid: Option<u32>, n: usize) {
    let all = affinity(pid);
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
    let mut one = CpuSet::new();
    one.set(cores[n.min(cores.len() - 1)]);
    set_affinity(pid, &one);
}

fn process(pid: Option<u32>) -> Option<Pid> {
    pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).expect("a pid")))
}
