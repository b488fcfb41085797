//! What was measured, each beside its floor.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};

/// Into how many pieces a sample is cut, between which floor and ours take turns. A piece is shorter than the time that the scheduler gives a process, so
/// that most are not interrupted.
const TURNS: u64 = 32;
/// The same where a turn begins with a pause.
const SLOW_TURNS: u64 = 2;

/// As the command line says, and whether anything is measured: `cargo bench` says so. Without it everything runs once, to see that it works.
pub fn configured() -> (Criterion, bool) {
    let criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    (criterion, std::env::args().any(|argument| argument == "--bench"))
}

/// What is promised of a measurement.
#[derive(Clone, Copy)]
pub enum Aim {
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
pub struct Report {
    lines: RefCell<Vec<Line>>,
    /// Findings that are not times.
    pub notes: RefCell<Vec<String>>,
}

/// How many runs, and how long all of them took.
struct Turn {
    runs: u64,
    floor: Duration,
    ours: Duration,
}

impl Report {
    /// Measures `ours` beside `floor`. Both get a number of runs and return how long they took.
    pub fn beside(
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

    pub fn print(&self) {
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
pub fn repeat(runs: u64, mut work: impl FnMut()) -> Duration {
    let started = Instant::now();
    for _ in 0..runs {
        work();
    }
    started.elapsed()
}
