//! `sharehold check`: an audit of all counts.

use std::process::ExitCode;

use clap::Args;

use crate::failure::Failure;
use crate::pick::Broker;
use crate::table::{self, counted, plain};

/// Audit a broker's counts, pins, states and bounds, without changing anything.
///
/// Works on a running broker, and on a dead one that was started with --segment. Exits with 1 if something is wrong.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold check
  sharehold check prices --json | jq -r '.findings[]'")]
pub(crate) struct Check {
    #[command(flatten)]
    broker: Broker,
    /// Print JSON: the counts, and `findings`, empty if nothing is wrong.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let report = sharehold::check(&self.broker.name()?)?;
        if self.json {
            table::json(&report)?;
        } else {
            table::line(&summary(&report))?;
            for finding in &report.findings {
                table::line(&format!("  {}", plain(finding)))?;
            }
        }
        Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn summary(report: &sharehold::CheckReport) -> String {
    let verdict = match report.findings.len() {
        0 => "clean".into(),
        findings => counted(findings as u64, "finding"),
    };
    format!(
        "{}: {verdict} ({}, {}, {}, {}; broker process {} {})",
        report.name,
        counted(report.objects, "object"),
        counted(report.sessions, "session"),
        counted(report.tickets, "ticket"),
        counted(report.names, "name"),
        report.broker_pid,
        if report.broker_alive { "serves" } else { "is dead" },
    )
}
