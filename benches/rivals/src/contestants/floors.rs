//! The least that the machine asks for something of each kind.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::thread::futex;

use crate::common::echo::{Echo, SCALE};
use crate::contestant::{Contestant, Prepared, Role, repeat};
use crate::dice::Dice;
use crate::lines::Lines;
use crate::player::{Player, follow, together, until};
use crate::stage::Stage;
use crate::workload::{Operation, SMALL, Waiting};

/// The part that a second process plays.
pub const ROLE: &str = "floor";

type Prepare = fn(Operation, &Stage) -> Option<Prepared>;

pub fn all() -> Vec<Contestant> {
    let floors: [(&str, Prepare); 10] = [
        ("atomic add + sub", add),
        ("Arc", arc),
        ("atomics on lines of their own", own_lines),
        ("one atomic for both", one_line),
        ("malloc", malloc),
        ("HashMap of Arcs", map),
        ("atomic or", or),
        ("polled ping-pong", polled),
        ("futex ping-pong", sleeping),
        ("Unix socket ping-pong", socket),
    ];
    let floor =
        |(name, prepare)| Contestant { name, role: Role::Floor, version: || Ok("-".into()), prepare, memory: None };
    floors.into_iter().map(floor).collect()
}

fn up_and_down(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
    count.fetch_sub(1, Ordering::AcqRel);
}

fn add(operation: Operation, _: &Stage) -> Option<Prepared> {
    let count = AtomicU64::new(1);
    (operation == Operation::Clone).then(|| Prepared::each("", move || up_and_down(black_box(&count))))?
}

fn arc(operation: Operation, _: &Stage) -> Option<Prepared> {
    let held = Arc::new(1_u64);
    let clone_and_drop = move || {
        let copy = Arc::clone(black_box(&held));
        black_box(&copy);
    };
    (operation == Operation::Clone).then(|| Prepared::each("", clone_and_drop))?
}

fn own_lines(operation: Operation, stage: &Stage) -> Option<Prepared> {
    (operation == Operation::CloneTogether).then(|| both_count(stage, 1))?
}

fn one_line(operation: Operation, stage: &Stage) -> Option<Prepared> {
    (operation == Operation::CloneTogether).then(|| both_count(stage, 0))?
}

/// This process counts in the first line, the other one in that of its number.
fn both_count(stage: &Stage, theirs: usize) -> Option<Prepared> {
    let lines = Lines::new();
    let mut other = stage.beside(|| Player::role(&[ROLE, "count", &lines.place(), &theirs.to_string()]));
    Prepared::new("", move |times| {
        together(times, &mut other, |times| repeat(times, || up_and_down(&lines.line(0).word)))
    })
}

fn allocate() {
    let place = black_box(Box::new(black_box([7_u8; SMALL])));
    assert!(black_box(&place)[SMALL - 1] == 7);
}

fn malloc(operation: Operation, stage: &Stage) -> Option<Prepared> {
    match operation {
        Operation::Create => Prepared::each("", allocate),
        Operation::CreateTogether => {
            let mut other = stage.beside(|| Player::role(&[ROLE, "malloc"]));
            Prepared::new("", move |times| together(times, &mut other, |times| repeat(times, allocate)))
        }
        _ => None,
    }
}

fn map(operation: Operation, _: &Stage) -> Option<Prepared> {
    let Operation::Get { live, .. } = operation else { return None };
    let names: Vec<String> = (0..live).map(name).collect();
    let map: HashMap<String, Arc<[u8; SMALL]>> =
        names.iter().cloned().map(|name| (name, Arc::new([7; SMALL]))).collect();
    let mut dice = Dice(1);
    Prepared::each("", move || {
        let got = Arc::clone(&map[&names[dice.below(live)]]);
        assert!(black_box(&got)[0] == 7);
    })
}

/// What all contestants call the n-th object.
pub fn name(n: usize) -> String {
    format!("object-{n:06}")
}

fn or(operation: Operation, _: &Stage) -> Option<Prepared> {
    let Operation::Seal { .. } = operation else { return None };
    let word = AtomicU64::new(0);
    Prepared::each("", move || _ = black_box(black_box(&word).fetch_or(1, Ordering::AcqRel)))
}

/// Whether somebody polls, or sleeps, to get something from another process.
fn waiting(operation: Operation) -> Option<Waiting> {
    match operation {
        Operation::HandOver { waiting, .. } | Operation::Call { waiting } => Some(waiting),
        Operation::Make => Some(Waiting::Blocking),
        _ => None,
    }
}

fn polled(operation: Operation, stage: &Stage) -> Option<Prepared> {
    (waiting(operation)? == Waiting::Polling).then(|| ping_pong(stage, "polled"))?
}

fn sleeping(operation: Operation, stage: &Stage) -> Option<Prepared> {
    (waiting(operation)? == Waiting::Blocking).then(|| ping_pong(stage, "sleeping"))?
}

/// A number there and back, in two lines.
fn ping_pong(stage: &Stage, how: &'static str) -> Option<Prepared> {
    let lines = Lines::new();
    let mut other = stage.beside(|| Player::role(&[ROLE, how, &lines.place()]));
    let (tell, wait) = ways(how);
    let mut number = 0;
    Prepared::new("", move |times| {
        other.begin(times);
        let took = repeat(times, || {
            number += 1;
            tell(&lines, 0, number);
            wait(&lines, 1, number);
        });
        other.finish();
        took
    })
}

/// Puts a number into a line, or waits for it.
type Step = fn(&Lines, usize, u64);

fn ways(how: &str) -> (Step, Step) {
    match how {
        "polled" => (
            |lines, line, number| lines.line(line).word.store(number, Ordering::Release),
            |lines, line, number| until(|| (lines.line(line).word.load(Ordering::Acquire) == number).then_some(())),
        ),
        _ => (
            |lines, line, number| {
                lines.line(line).futex.store(number as u32, Ordering::Release);
                futex::wake(&lines.line(line).futex, futex::Flags::empty(), 1).expect("woken");
            },
            |lines, line, number| {
                while lines.line(line).futex.load(Ordering::Acquire) != number as u32 {
                    let old = (number - 1) as u32;
                    let _ = futex::wait(&lines.line(line).futex, futex::Flags::empty(), old, None);
                }
            },
        ),
    }
}

fn socket(operation: Operation, stage: &Stage) -> Option<Prepared> {
    (waiting(operation)? == Waiting::Blocking).then(|| {
        // With as many bytes as a call of sharehold has over its socket.
        let echo = stage.beside(|| Echo::start(SCALE, false));
        Prepared::each("", move || echo.ask())
    })?
}

/// Plays the second process.
pub fn perform(role: &[&str]) {
    match role {
        ["malloc"] => follow(|times| _ = repeat(times, allocate)),
        ["count", place, line] => {
            let (lines, line) = (Lines::open(place), line.parse().expect("a number"));
            follow(|times| _ = repeat(times, || up_and_down(&lines.line(line).word)));
        }
        [how, place] => {
            let (lines, (tell, wait)) = (Lines::open(place), ways(how));
            let mut number = 0;
            follow(|times| {
                for _ in 0..times {
                    number += 1;
                    wait(&lines, 0, number);
                    tell(&lines, 1, number);
                }
            });
        }
        _ => panic!("no floor has a part {role:?}"),
    }
}
