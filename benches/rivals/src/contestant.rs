//! Who is compared.

use std::time::Duration;

use crate::contestants::{boost, floors, iceoryx2, ipc_channel, lmdb, python, raw_sync, redis, sharehold, tarpc};
use crate::stage::Stage;
use crate::workload::Operation;

/// What a contestant is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The least that the machine asks.
    Floor,
    Ours,
    Rival,
}

/// One who does some of the operations.
pub struct Contestant {
    pub name: &'static str,
    pub role: Role,
    /// Its version, or why it is not here.
    pub version: fn() -> Result<String, String>,
    /// Gets ready for an operation. None: it does nothing of the kind.
    pub prepare: fn(Operation, &Stage) -> Option<Prepared>,
    /// Bytes that an object of 64 B takes, all in, among so many. None: it has no objects that can be counted.
    pub memory: Option<fn(usize, &Stage) -> f64>,
}

/// A contestant that is ready.
pub struct Prepared {
    /// What it does, in its own words; empty if there is only one way.
    pub how: &'static str,
    /// Does it so often, and tells how long that took.
    pub run: Run,
}

pub type Run = Box<dyn FnMut(u64) -> Duration>;

impl Prepared {
    pub fn new(how: &'static str, run: impl FnMut(u64) -> Duration + 'static) -> Option<Self> {
        Some(Self { how, run: Box::new(run) })
    }

    /// Times a loop over `once`.
    pub fn each(how: &'static str, mut once: impl FnMut() + 'static) -> Option<Self> {
        Self::new(how, move |times| repeat(times, &mut once))
    }
}

/// Times a number of runs.
#[inline]
pub fn repeat(times: u64, mut work: impl FnMut()) -> Duration {
    let started = std::time::Instant::now();
    for _ in 0..times {
        work();
    }
    started.elapsed()
}

/// All of them. Whoever is not installed says so when it is asked for its version.
pub fn all() -> Vec<Contestant> {
    let mut all = floors::all();
    all.push(sharehold::CONTESTANT);
    all.push(sharehold::ALONE);
    all.extend([
        boost::CONTESTANT,
        iceoryx2::CONTESTANT,
        ipc_channel::CONTESTANT,
        lmdb::CONTESTANT,
        raw_sync::CONTESTANT,
        redis::CONTESTANT,
        tarpc::CONTESTANT,
        python::CONTESTANT,
    ]);
    all
}

/// The version of a crate that is linked here.
pub fn locked(name: &str) -> Result<String, String> {
    let lock = include_str!("../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
    let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
    version.map(str::to_owned).ok_or_else(|| format!("{name} is not in Cargo.lock"))
}

/// What every call sends, is multiplied with, and gets back.
pub const X: f64 = 1.5;
pub const FACTOR: f64 = 2.0;
const SCALED: f64 = 3.0;

/// Refuses an answer that is wrong: such a call would not be worth its time.
pub fn check(answer: f64) {
    assert!(std::hint::black_box(answer) == SCALED, "{answer} is not {SCALED}");
}
