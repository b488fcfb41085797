//! The other process: takes tickets from its stdin, counts in place, and says on its stdout that it is done.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use bytemuck::{Pod, Zeroable};
use clap::Args;
use sharehold::{Array, Error, Manager, Shareable, Value};

use super::count::count;
use crate::failure::Failure;

/// What a worker is told and tells about one file, in shared memory.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable, Shareable)]
#[repr(C)]
pub(super) struct Tally {
    /// Set by the parent: bytes that are to be counted.
    pub(super) len: u64,
    /// Set by the worker, as is all that follows.
    pub(super) lines: u64,
    pub(super) words: u64,
    pub(super) bytes: u64,
    pub(super) nanos: u64,
}

/// The answer when a file has been counted; every other one says why not.
pub(super) const DONE: &str = "done";

/// A worker of `sharehold demo`. Ends when its stdin does.
#[derive(Args)]
pub(crate) struct DemoWorker {
    broker: String,
}

impl DemoWorker {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let manager = Manager::connect(&self.broker)?;
        let mut answers = io::stdout().lock();
        for line in io::stdin().lock().lines() {
            match count_one(&manager, &line?) {
                Ok(()) => writeln!(answers, "{DONE}")?,
                Err(error) => writeln!(answers, "{}", error.to_string().replace('\n', " "))?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Counts what one line of two tickets stands for.
fn count_one(manager: &Manager, line: &str) -> Result<(), Error> {
    let started = Instant::now();
    // A line without a blank has no second ticket, which is what its parser says.
    let (text, tally) = line.split_once(' ').unwrap_or((line, ""));
    let text: Array<u8> = manager.redeem(&text.parse()?)?;
    let tally: Value<Tally> = manager.redeem(&tally.parse()?)?;
    let len = tally.get()?.len;
    let all = text.sealed()?;
    let counts = count(&all[..all.len().min(len as usize)]);
    // The file's memory is free before anybody hears that it is counted.
    drop(text);
    let nanos = started.elapsed().as_nanos() as u64;
    tally.set(Tally { len, lines: counts.lines, words: counts.words, bytes: counts.bytes, nanos })
}
