//! `sharehold check`.

use std::process::ExitCode;

use clap::Args;

use crate::output::{Outcome, broker, json, line};

/// Audit a region: counts, pins, states and bounds. Exit code 1 if anything is wrong.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold check prices
  sharehold check prices --json      for a script

The region of a dead broker can be audited if it was started with --segment.")]
pub(crate) struct Check {
    /// The broker's name; not needed if only one runs.
    broker: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(crate) fn run(self) -> Outcome {
        let report = sharehold::check(&broker(self.broker)?)?;
        if self.json {
            json(&report)?;
        } else {
            let state = if report.broker_alive { "serves" } else { "is dead" };
            line(format!("broker '{}' (process {}) {state}", report.name, report.broker_pid))?;
            line(format!(
                "{} objects, {} sessions, {} tickets, {} names",
                report.objects, report.sessions, report.tickets, report.names
            ))?;
            for finding in &report.findings {
                line(format!("wrong: {finding}"))?;
            }
            if report.findings.is_empty() {
                line("clean")?;
            }
        }
        Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
