//! What sharehold's operations cost beside others that do the same, and beside the least that the machine asks: all take turns in one run.
//!
//! Workloads are data (`workload.rs`), contestants a file each (`contestants/`). Second processes are this program in a role (`player.rs`).

mod aims;
mod common;
mod contestant;
mod contestants;
mod dice;
mod lines;
mod page;
mod player;
mod plot;
mod results;
mod run;
mod stage;
mod tables;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use self::common::echo::{self, ROLE};
use self::contestants::{floors, iceoryx2, ipc_channel, raw_sync, redis, sharehold, tarpc};
use self::results::Results;
use self::run::{Effort, Progress, Stopped};
use self::stage::Stage;
use self::workload::{WORKLOADS, Workload};

/// Measures what sharehold's operations cost, beside its rivals and beside the least that the machine asks.
///
/// All that is installed takes turns in each round. A whole run writes the tables and the plot into docs/benchmarks.md and beside it, and all figures into
/// benches/rivals/results/rivals.json; one that is cut short only shows them. Run it on an idle machine: it pins itself to the first two cores that it may use.
#[derive(Parser)]
struct Arguments {
    /// Rounds, in each of which all have a turn.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Only workloads whose id contains one of these, as in `--only clone --only hand`; nothing is written.
    #[arg(long)]
    only: Vec<String>,
    /// Few rounds of short turns, to see that it works; nothing is written.
    #[arg(long)]
    quick: bool,
    /// Shows workloads and contestants, and measures nothing.
    #[arg(long)]
    list: bool,
}

const TURN: Duration = Duration::from_millis(10);
const QUICK: Effort = Effort { rounds: 3, turn: Duration::from_millis(1), live: 10_000 };
/// The id under which memory is asked for.
const MEMORY: &str = "memory";

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        perform(&role.split('\n').collect::<Vec<_>>());
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    let wanted = |id: &str| arguments.only.is_empty() || arguments.only.iter().any(|part| id.contains(part.as_str()));
    let whole = Effort { rounds: usize::from(arguments.rounds), turn: TURN, live: 1_000_000 };
    let effort = if arguments.quick { QUICK } else { whole };
    run::stop_on_signals();
    let results = match compare(effort, &wanted) {
        Ok(results) => results,
        Err(Stopped) => {
            eprintln!("stopped: nothing was written");
            return ExitCode::from(130);
        }
    };
    for (name, part) in page::parts(&results) {
        println!("## {name}\n\n{part}");
    }
    let is_whole = !arguments.quick && arguments.only.is_empty();
    match is_whole.then(|| page::write(&results)) {
        Some(Err(error)) => {
            eprintln!("the results can't be written: {error}");
            return ExitCode::FAILURE;
        }
        Some(Ok(())) => eprintln!("written: docs/benchmarks.md, docs/rivals.svg, benches/rivals/results/rivals.json"),
        None => eprintln!("nothing was written: this was not a whole run"),
    }
    if results.measured.iter().any(|measured| !measured.missing.is_empty()) {
        eprintln!("some have failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Plays the part of a second process.
fn perform(role: &[&str]) {
    player::end_with_parent();
    match role {
        [floors::ROLE, part @ ..] => floors::perform(part),
        [sharehold::ROLE, part @ ..] => sharehold::perform(part),
        [raw_sync::ROLE, part @ ..] => raw_sync::perform(part),
        [iceoryx2::ROLE, part @ ..] => iceoryx2::perform(part),
        [ipc_channel::ROLE, part @ ..] => ipc_channel::perform(part),
        [tarpc::ROLE, part @ ..] => tarpc::perform(part),
        [redis::ROLE, part @ ..] => redis::perform(part),
        _ => echo::perform(role),
    }
}

fn list() {
    for Workload { id, what, floor, .. } in &WORKLOADS {
        println!("{id:18} {what} (floor: {floor})");
    }
    println!("{MEMORY:18} bytes of a 64 B object, all in\n");
    for contestant in contestant::all() {
        match (contestant.version)() {
            Ok(version) => println!("{} {version}", contestant.name),
            Err(why) => println!("{}: left out, {why}", contestant.name),
        }
    }
}

fn compare(effort: Effort, wanted: &dyn Fn(&str) -> bool) -> Result<Results, Stopped> {
    let stage = Stage::open();
    let machine = results::machine();
    let mut contestants = contestant::all();
    let versions: Vec<_> = contestants.iter().map(|one| (one.name, (one.version)())).collect();
    for (name, why) in versions.iter().filter_map(|(name, version)| Some((name, version.as_ref().err()?))) {
        eprintln!("{name} is left out: {why}");
    }
    let mut is_here = versions.iter().map(|(_, version)| version.is_ok());
    contestants.retain(|_| is_here.next() == Some(true));

    let workloads: Vec<&'static Workload> = WORKLOADS.iter().filter(|workload| wanted(workload.id)).collect();
    let count = workloads.len() + usize::from(wanted(MEMORY));
    let mut measured = Vec::new();
    for (number, workload) in workloads.into_iter().enumerate() {
        let progress = Progress::new(number + 1, count, workload.what);
        measured.push(run::measure(workload, &contestants, &stage, effort, &progress)?);
    }
    let mut memory = Vec::new();
    if wanted(MEMORY) {
        memory = run::memory(&contestants, &stage, effort, &Progress::new(count, count, "memory of an object"))?;
    }
    Ok(Results { machine, rounds: effort.rounds, versions, measured, memory })
}
