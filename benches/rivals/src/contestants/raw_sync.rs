//! A counter behind raw_sync's mutex in shared memory: how counts are shared with the means of the crate registry.

use std::cell::UnsafeCell;

use raw_sync::locks::{LockImpl, LockInit, Mutex};

use crate::contestant::{Contestant, Prepared, Role, locked, repeat};
use crate::lines::Lines;
use crate::player::{Player, follow, together};
use crate::stage::Stage;
use crate::workload::Operation;

/// The part that a second process plays.
pub const ROLE: &str = "raw_sync";

pub const CONTESTANT: Contestant =
    Contestant { name: "raw_sync", role: Role::Rival, version: || locked("raw_sync"), prepare, memory: None };

/// The lock at the start of the memory, what it protects on another line.
struct Counter {
    lock: Box<dyn LockImpl>,
    _lines: Lines,
}

impl Counter {
    fn new(lines: Lines, is_first: bool) -> Self {
        let make = if is_first { Mutex::new } else { Mutex::from_existing };
        // SAFETY: the mapping has room for the lock and for a counter behind it, and lives as long as the lock.
        let (lock, _) = unsafe { make(lines.start(), lines.start().add(512)) }.expect("a lock");
        Self { lock, _lines: lines }
    }

    /// What cloning is, and dropping.
    fn add(&self, change: i64) {
        let count = self.lock.lock().expect("locked");
        // SAFETY: under the lock, which all processes take; the place is aligned and mapped.
        let count = unsafe { &*(*count).cast::<UnsafeCell<i64>>() };
        // SAFETY: as above: nobody else has a reference.
        unsafe { *count.get() += change };
    }

    fn up_and_down(&self) {
        self.add(1);
        self.add(-1);
    }
}

fn prepare(operation: Operation, stage: &Stage) -> Option<Prepared> {
    let how = "count behind its mutex";
    match operation {
        Operation::Clone => {
            let counter = Counter::new(Lines::new(), true);
            Prepared::each(how, move || counter.up_and_down())
        }
        Operation::CloneTogether => {
            let lines = Lines::new();
            let place = lines.place();
            let counter = Counter::new(lines, true);
            let mut other = stage.beside(|| Player::role(&[ROLE, &place]));
            Prepared::new(how, move |times| {
                together(times, &mut other, |times| repeat(times, || counter.up_and_down()))
            })
        }
        _ => None,
    }
}

/// Plays the second process.
pub fn perform(role: &[&str]) {
    let counter = Counter::new(Lines::open(role[0]), false);
    follow(|times| _ = repeat(times, || counter.up_and_down()));
}
