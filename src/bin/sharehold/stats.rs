//! `sharehold stats`.

use std::process::ExitCode;

use clap::Args;
use sharehold::Manager;

use crate::output::{Outcome, broker, json, line, table};
use crate::size::human;

/// Show how full a broker's tables and memory are.
#[derive(Args)]
#[command(after_help = "Example:
  sharehold stats prices --json")]
pub(crate) struct Stats {
    /// The broker's name; not needed if only one runs.
    broker: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub(crate) fn run(self) -> Outcome {
        let stats = Manager::connect(&broker(self.broker)?)?.stats()?;
        if self.json {
            json(&stats)?;
            return Ok(ExitCode::SUCCESS);
        }
        line(format!(
            "broker '{}', process {}, up {} s, region in a {}",
            stats.name, stats.broker_pid, stats.uptime_seconds, stats.backing
        ))?;
        let row = |name: &str, used: u64, most: u32| vec![name.to_owned(), used.to_string(), most.to_string()];
        let rows = [
            row("objects", stats.objects, stats.objects_capacity),
            row("sessions", stats.sessions.into(), stats.sessions_capacity),
            row("tickets", stats.tickets.into(), stats.tickets_capacity),
            row("names", stats.names.into(), stats.names_capacity),
            vec!["heap".into(), human(stats.heap_used), human(stats.heap_capacity)],
        ];
        table(&["", "USED", "OF"], rows, &[1, 2])?;
        line(format!(
            "largest free {}, warm {}, memory taken {}",
            human(stats.largest_free),
            human(stats.warm),
            human(stats.resident)
        ))?;
        line(format!(
            "{} objects ever created, {} sessions ended, {} pin counts put right",
            stats.granted, stats.deaths, stats.repaired
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
