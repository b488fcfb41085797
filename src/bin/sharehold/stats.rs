//! `sharehold stats`: how full a broker is.

use std::process::ExitCode;

use clap::Args;

use crate::failure::Failure;
use crate::pick::Broker;
use crate::size::human;
use crate::table::{self, Side};

/// Show how full a broker's tables and memory are.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold stats
  sharehold stats prices --json | jq .heap_used")]
pub(crate) struct Stats {
    #[command(flatten)]
    broker: Broker,
    /// Print JSON: one object, sizes in bytes.
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let stats = self.broker.connect()?.stats()?;
        if self.json {
            table::json(&stats)?;
        } else {
            table::print(&[("", Side::Left), ("", Side::Left)], rows(&stats))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn rows(stats: &sharehold::Stats) -> Vec<Vec<String>> {
    let of = |used: u64, capacity: u32| format!("{used} of {capacity}");
    let rows = [
        ("broker", format!("{}, process {}", stats.name, stats.broker_pid)),
        ("up", uptime(stats.uptime_seconds)),
        ("backing", stats.backing.clone()),
        ("objects", format!("{}, {} since the start", of(stats.objects, stats.objects_capacity), stats.granted)),
        ("sessions", format!("{}, {} ended", of(stats.sessions.into(), stats.sessions_capacity), stats.deaths)),
        ("tickets", of(stats.tickets.into(), stats.tickets_capacity)),
        ("names", of(stats.names.into(), stats.names_capacity)),
        (
            "heap",
            format!(
                "{} of {}; {} fit in one object",
                human(stats.heap_used),
                human(stats.heap_capacity),
                human(stats.largest_free)
            ),
        ),
        ("memory", format!("{} in use, {} of it kept for the next objects", human(stats.resident), human(stats.warm))),
        ("repaired", stats.repaired.to_string()),
        ("damaged", stats.damaged.to_string()),
        ("waiting for room", stats.waiting.to_string()),
    ];
    rows.into_iter().map(|(what, text)| vec![what.to_owned(), text]).collect()
}

/// `2 d 3 h 5 min`, `12 s`.
fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h {} min", hours % 24, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_uptime_has_its_largest_units() {
        let written = [0, 59, 60, 3599, 3600, 90061].map(super::uptime);
        assert_eq!(written, ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "1 d 1 h 1 min"]);
    }
}
