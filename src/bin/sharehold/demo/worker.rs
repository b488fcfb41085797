//! A process that counts what it gets tickets for, until its input ends.

use std::io::{BufRead, stdin};
use std::process::ExitCode;

use clap::Args;
use sharehold::{Array, Manager, Ticket, Value};

use super::count::count;
use crate::output::{Outcome, line};

/// The numbers of a file in shared memory: lines, words, bytes.
pub(super) type Numbers = [u64; 3];

/// Reads lines of two tickets, an array's and a value's, and answers each with a line once the value is set.
#[derive(Args)]
pub(crate) struct Worker {
    broker: String,
}

impl Worker {
    pub(crate) fn run(self) -> Outcome {
        let manager = Manager::connect(&self.broker)?;
        for tickets in stdin().lock().lines() {
            let tickets = tickets?;
            let (text, result) = tickets.split_once(' ').unwrap_or((&tickets, ""));
            let text: Array<u8> = manager.redeem(&text.parse::<Ticket>()?)?;
            let result: Value<Numbers> = manager.redeem(&result.parse::<Ticket>()?)?;
            let counts = count(text.sealed()?);
            result.set([counts.lines, counts.words, counts.bytes])?;
            // Given back before the parent hears of it.
            drop((text, result));
            line("done")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
