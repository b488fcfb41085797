//! What all that is compared has in common.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Multiplies a number in another process.
pub trait Rival {
    fn name(&self) -> &str;

    /// Calls one after the other, and how long all of them took.
    fn call(&mut self, times: u64) -> Duration;

    /// The processes that answer.
    fn pids(&self) -> Vec<u32>;
}

/// What every rival sends, multiplies with, and gets back.
pub const X: f64 = 1.5;
pub const FACTOR: f64 = 2.0;
pub const SCALED: f64 = 3.0;

/// Times a number of runs.
pub fn repeat(times: u64, mut work: impl FnMut()) -> Duration {
    let started = Instant::now();
    for _ in 0..times {
        work();
    }
    started.elapsed()
}

/// Refuses an answer that is wrong: such a call would not be worth its time.
pub fn check(answer: f64) {
    assert!(black_box(answer) == SCALED, "{answer} is not {SCALED}");
}
