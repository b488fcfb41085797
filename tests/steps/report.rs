//! What is said about a run, and about a point at which something went wrong.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::tracer::{allowed_cores, pin};
use crate::walk::Walked;

/// The kills of one operation.
pub(crate) struct Report {
    what: String,
    kills: u64,
    /// Kills elsewhere, since the way was another one.
    astray: u64,
    whole: Walked,
    next: Vec<Duration>,
}

impl Report {
    pub(crate) fn new(what: &str) -> Self {
        Self { what: what.to_owned(), kills: 0, astray: 0, whole: Walked::default(), next: Vec::new() }
    }

    /// Notes a kill, and how long the next operation of another process took.
    pub(crate) fn add(&mut self, walked: Option<Walked>, next: Duration) {
        self.kills += 1;
        self.next.push(next);
        match walked {
            Some(walked) => self.whole = walked,
            None => self.astray += 1,
        }
    }

    /// Whether what was walked last has changed a call ring.
    pub(crate) fn has_seen_ring(&self) -> bool {
        self.whole.elsewhere > 0
    }

    /// One line. What was walked last was walked to the end.
    pub(crate) fn tell(mut self) {
        self.next.sort_unstable();
        let at = |part: usize| self.next[(self.next.len() - 1) * part / 100];
        println!(
            "{:36} {:6} instructions, {:4} system calls, {:4} changes ({} in call rings), {:6} kills ({} astray); the next operation took {:?} at most, {:?} in 99 of 100 cases, {:?} in the middle",
            self.what,
            self.whole.instructions,
            self.whole.calls,
            self.whole.changes,
            self.whole.elsewhere,
            self.kills,
            self.astray,
            at(100),
            at(99),
            at(50)
        );
    }
}

/// A point at which something is killed; says where it was if what follows fails.
pub(crate) struct Place<'a> {
    pub(crate) what: &'a str,
    pub(crate) point: u64,
    pub(crate) walked: Walked,
    pub(crate) address: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "killed at point {} of '{}', address {:#x}: {:?}",
                self.point, self.what, self.address, self.walked
            );
        }
    }
}

/// The cores of this process, each with the number of tests that use it.
static CORES: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// The core that a test runs on, with those that it starts.
pub(crate) struct Core(usize);

impl Core {
    pub(crate) fn take() -> Self {
        let mut cores = CORES.lock().unwrap_or_else(PoisonError::into_inner);
        if cores.is_empty() {
            // The first test asks, which is not bound to one core yet.
            cores.extend(allowed_cores().into_iter().map(|core| (core, 0)));
        }
        let (core, users) = cores.iter_mut().min_by_key(|(_, users)| *users).expect("this runs on one");
        *users += 1;
        pin(*core);
        Self(*core)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let mut cores = CORES.lock().unwrap_or_else(PoisonError::into_inner);
        cores.iter_mut().filter(|(core, _)| *core == self.0).for_each(|(_, users)| *users -= 1);
    }
}
