//! A pre-fork server: the parent prepares, then forks workers that have all that it had, each with a session of its own.
//!
//! Run it with `cargo run --example prefork`.
#![allow(clippy::print_stdout, reason = "a program that shows something")]
#![expect(unsafe_code, reason = "forks")]

use std::error::Error;

use sharehold::{Array, Manager, Proxy, Value};

const WORKERS: u64 = 4;

struct Tally {
    sum: u64,
}

#[sharehold::class]
impl Tally {
    pub fn new() -> Self {
        Self { sum: 0 }
    }

    pub fn add(&mut self, part: u64) {
        self.sum += part;
    }

    pub fn sum(&self) -> u64 {
        self.sum
    }
}

/// Adds up every fourth number, of an array that was inherited.
fn work(worker: u64, numbers: &Array<u64>, done: &Value<u64>, tally: &TallyProxy) -> sharehold::Result<()> {
    let part = numbers.sealed()?.iter().skip(worker as usize).step_by(WORKERS as usize).sum();
    tally.add(part)?;
    done.update(|done| *done += 1)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let manager = Manager::builder().class::<Tally>().start()?;
    let numbers = manager.array(&(1..=100_000).collect::<Vec<u64>>())?;
    numbers.seal()?;
    let (done, tally) = (manager.value(0_u64)?, TallyProxy::new(&manager)?);

    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        // SAFETY: this process has no other threads of its own, and the child ends without returning from `main`.
        match unsafe { libc::fork() } {
            -1 => return Err(std::io::Error::last_os_error().into()),
            0 => {
                let worked = work(worker, &numbers, &done, &tally);
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(worked.is_err().into()) }
            }
            child => workers.push(child),
        }
    }
    let holders = manager.object_info(numbers.id())?.proxies();
    println!("The array has {holders} proxies: one in each process that has not ended yet.");

    for child in workers {
        let mut status = 0;
        // SAFETY: waits for a child of this process.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0, "a worker has failed");
    }
    println!("{} workers have added up the array: {}.", done.get()?, tally.sum()?);
    assert_eq!((done.get()?, tally.sum()?), (WORKERS, 5_000_050_000));
    Ok(())
}
