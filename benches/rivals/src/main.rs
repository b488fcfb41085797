//! What a call costs with sharehold, with others that do the same, and with a bare ping-pong: all take turns in one run.

mod common;
mod pingpong;
mod report;
mod rival;
mod sharehold;
mod tarpc;

use std::process::ExitCode;

use rustix::thread::CpuSet;

use self::common::cores::{affinity, pin, set_affinity};
use self::common::echo::{self, ROLE};
use self::pingpong::PingPong;
use self::report::{Measured, Report};
use self::rival::Rival;
use self::sharehold::Sharehold;
use self::tarpc::{Server, Tarpc};

const HELP: &str = "\
Measures a call of `scale(f64) -> f64` in another process: a bare ping-pong with as many bytes, sharehold, and its rivals.

Usage: cargo run --release --manifest-path benches/rivals/Cargo.toml -- [--rounds N]

  --rounds N  in each of which all of them take a turn of 2000 calls [default: 20]
  --help      this text

It prints a table and writes `benches/rivals/results/calls.json`. Run it on an idle machine: it pins itself to the first two cores that it may use.";

/// Calls in a row before it is another one's turn.
const TURN: u64 = 2000;

/// Where the callers and those who answer run.
struct Place {
    name: &'static str,
    /// The core of those who answer. The caller is on the first one.
    core: usize,
}

const PLACES: [Place; 2] = [Place { name: "one core", core: 0 }, Place { name: "two cores", core: 1 }];

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        perform(&role.split('\n').collect::<Vec<_>>());
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match rounds(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(Some(rounds)) => compare(rounds),
        Ok(None) => println!("{HELP}"),
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Plays the part of one that answers.
fn perform(role: &[&str]) {
    match role {
        [tarpc::ROLE, server] => tarpc::serve(server),
        _ => echo::perform(role),
    }
}

/// None: somebody asked for help.
fn rounds(arguments: &[&str]) -> Result<Option<usize>, String> {
    match arguments {
        [] => Ok(Some(20)),
        ["--help" | "-h"] => Ok(None),
        ["--rounds", rounds] => match rounds.parse() {
            Ok(rounds @ 1..) => Ok(Some(rounds)),
            _ => Err(format!("--rounds needs a number of at least 1, not `{rounds}`")),
        },
        other => Err(format!("not understood: `{}`", other.join(" "))),
    }
}

fn compare(rounds: usize) {
    let all = affinity(None);
    let mut report = Report::begin(rounds, TURN);
    for place in &PLACES {
        report.add(measure(place, &all, rounds));
    }
    print!("{}", report.table());
    report.write();
}

fn measure(place: &Place, all: &CpuSet, rounds: usize) -> Measured {
    let mut rivals = start(place, all);
    let mut measured = Measured::new(place.name, rivals.iter().map(|rival| rival.name().to_owned()).collect());
    for round in 0..rounds {
        let mut nanos = vec![0.0; rivals.len()];
        for turn in 0..rivals.len() {
            // Nobody is always the first one.
            let who = (round + turn) % rivals.len();
            nanos[who] = rivals[who].call(TURN).as_nanos() as f64 / TURN as f64;
        }
        measured.add(nanos);
    }
    measured
}

/// Starts all of them, warm and in their places: processes and threads inherit where they may run.
fn start(place: &Place, all: &CpuSet) -> Vec<Box<dyn Rival>> {
    let me = Some(std::process::id());
    set_affinity(me, all);
    pin(me, place.core);
    let theirs = affinity(None);
    let mut rivals: Vec<Box<dyn Rival>> = vec![Box::new(PingPong::start()), Box::new(Sharehold::start())];
    rivals.extend(Server::ALL.map(|server| Box::new(Tarpc::start(server)) as Box<dyn Rival>));
    for rival in &mut rivals {
        rival.call(TURN);
        assert!(threads(&rival.pids()).all(|thread| affinity(Some(thread)) == theirs), "{} is elsewhere", rival.name());
    }
    set_affinity(me, all);
    pin(me, 0);
    rivals
}

fn threads(pids: &[u32]) -> impl Iterator<Item = u32> {
    let tasks = |pid: &u32| std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    pids.iter().flat_map(tasks).map(|task| task.expect("listed").file_name().to_string_lossy().parse().expect("an id"))
}
