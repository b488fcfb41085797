//! Measures: all contestants of a workload take turns, in rounds.

use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::contestant::{Contestant, Prepared, Role};
use crate::results::{Measured, Memory, Missing, Timed};
use crate::stage::Stage;
use crate::workload::Workload;

/// What the command line says of how long it takes.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    /// How long a turn of one contestant is about.
    pub turn: Duration,
    /// Objects that are alive when their memory is measured.
    pub live: usize,
}

/// No more of an operation in one turn.
const MOST: u64 = 1 << 24;

/// Set by a signal: the run ends at the end of a turn, and takes everything with it.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// The run was stopped by a signal.
pub struct Stopped;

/// Has the usual signals end the run in order. A second one ends it at once.
pub fn stop_on_signals() {
    extern "C" fn stop(_: libc::c_int) {
        STOPPED.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: all zeros are a valid `sigaction`: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = stop as *const () as usize;
        action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART;
        // SAFETY: the handler does nothing but store into an atomic.
        unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    }
}

fn go_on() -> Result<(), Stopped> {
    if STOPPED.load(Ordering::Relaxed) { Err(Stopped) } else { Ok(()) }
}

/// What is shown meanwhile.
pub struct Progress {
    pub what: String,
    terminal: bool,
}

impl Progress {
    pub fn new(number: usize, of: usize, what: &str) -> Self {
        let progress = Self { what: format!("[{number:2}/{of}] {what}"), terminal: std::io::stderr().is_terminal() };
        if !progress.terminal {
            eprintln!("{}", progress.what);
        }
        progress
    }

    fn show(&self, detail: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{}: {detail}", self.what);
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// A contestant at work.
struct Running<'c> {
    contestant: &'c Contestant,
    prepared: Prepared,
    /// How often it does the operation in a turn.
    times: u64,
    nanos: Vec<f64>,
}

/// Measures all contestants that do something of the kind. Who fails goes out, and is named.
pub fn measure(
    workload: &'static Workload,
    contestants: &[Contestant],
    stage: &Stage,
    effort: Effort,
    progress: &Progress,
) -> Result<Measured, Stopped> {
    stage.set(workload.place());
    let mut running: Vec<Running<'_>> = Vec::new();
    let mut missing = Vec::new();
    for contestant in contestants {
        go_on()?;
        progress.show(&format!("{} gets ready", contestant.name));
        let ready = attempt(|| {
            let mut prepared = (contestant.prepare)(workload.operation, stage)?;
            let times = calibrate(&mut prepared, effort.turn);
            Some(Running { contestant, prepared, times, nanos: Vec::new() })
        });
        match ready {
            Ok(ready) => running.extend(ready),
            Err(why) => missing.push(Missing { name: contestant.name, why }),
        }
    }
    for round in 0..effort.rounds {
        let mut failed = None;
        for turn in 0..running.len() {
            go_on()?;
            // Nobody is always the first one.
            let who = (round + turn) % running.len();
            let Running { contestant, prepared, times, nanos } = &mut running[who];
            progress.show(&format!("round {} of {}, {}", round + 1, effort.rounds, contestant.name));
            match attempt(|| (prepared.run)(*times)) {
                Ok(took) => nanos.push(took.as_nanos() as f64 / *times as f64),
                Err(why) => {
                    failed = Some(who);
                    missing.push(Missing { name: contestant.name, why });
                    break;
                }
            }
        }
        if let Some(who) = failed {
            // Its rounds are not those of the others any more; nor is this one.
            running.remove(who);
            let least = running.iter().map(|running| running.nanos.len()).min().unwrap_or(0);
            running.iter_mut().for_each(|running| running.nanos.truncate(least));
        }
    }
    go_on()?;
    let timed = |running: &Running<'_>| Timed {
        name: running.contestant.name,
        how: running.prepared.how,
        role: running.contestant.role,
        nanos: running.nanos.clone(),
    };
    let timed = running.iter().map(timed).collect();
    Ok(Measured { workload, timed, missing })
}

/// What it was that went wrong, if something did. All that was started goes with it.
fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it panicked").to_owned()
    })
}

/// How often it can do the operation in the time of a turn. With that it is warm, too.
fn calibrate(prepared: &mut Prepared, turn: Duration) -> u64 {
    let mut times = 1;
    loop {
        // Not only what is timed: some prepare much for little.
        let started = Instant::now();
        (prepared.run)(times);
        let took = started.elapsed();
        if took * 2 > turn || times >= MOST {
            let fits = turn.as_secs_f64() / took.as_secs_f64() * times as f64;
            return (fits as u64).clamp(1, MOST);
        }
        times *= 4;
    }
}

/// How much memory an object takes with each of those that can tell.
pub fn memory(
    contestants: &[Contestant],
    stage: &Stage,
    effort: Effort,
    progress: &Progress,
) -> Result<Vec<Memory>, Stopped> {
    let mut all = Vec::new();
    stage.set(crate::workload::Place::TwoCores);
    for contestant in contestants {
        go_on()?;
        let Some(memory) = contestant.memory else { continue };
        progress.show(contestant.name);
        match attempt(|| memory(effort.live, stage)) {
            Ok(bytes) => all.push(Memory {
                name: contestant.name,
                is_ours: contestant.role == Role::Ours,
                bytes,
                live: effort.live,
            }),
            Err(why) => eprintln!("\n{}: {why}", contestant.name),
        }
    }
    Ok(all)
}
