//! `sharehold ls`: every object and who holds it.

use std::collections::HashMap;
use std::process::ExitCode;

use clap::Args;
use sharehold::{Holder, ObjectId};

use crate::failure::Failure;
use crate::pick::Broker;
use crate::size;
use crate::table::{self, Side, counted, plain};

/// List the live objects, with the exact number of proxies in each process.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold ls
  sharehold ls prices
  sharehold ls --json | jq '.[] | select(.pins == 0) | .id'

PINS are the tickets and names that hold an object. \"4711 worker x3\" is process 4711, named worker, with three proxies.")]
pub(crate) struct Ls {
    #[command(flatten)]
    broker: Broker,
    /// Print JSON: an array of objects.
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let manager = self.broker.connect()?;
        let objects = manager.debug_info()?;
        if self.json {
            table::json(&objects)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut names: HashMap<ObjectId, Vec<String>> = HashMap::new();
        for name in manager.names()? {
            names.entry(name.object).or_default().push(plain(&name.name));
        }
        if !objects.is_empty() {
            let rows = objects.iter().map(|object| {
                vec![
                    object.id.to_string(),
                    object.kind.to_string(),
                    plain(&object.type_name),
                    size::human(object.bytes),
                    if object.sealed { "yes" } else { "no" }.into(),
                    object.pins.to_string(),
                    names.get(&object.id).map_or_else(|| "-".into(), |names| names.join(", ")),
                    held_by(&object.holders),
                ]
            });
            let columns = [
                ("ID", Side::Right),
                ("KIND", Side::Left),
                ("TYPE", Side::Left),
                ("SIZE", Side::Right),
                ("SEALED", Side::Left),
                ("PINS", Side::Right),
                ("NAMES", Side::Left),
                ("HOLDERS", Side::Left),
            ];
            table::print(&columns, rows)?;
        }
        let bytes = objects.iter().map(|object| object.bytes).sum();
        let proxies: u64 = objects.iter().map(|object| object.proxies()).sum();
        let pins: u64 = objects.iter().map(|object| u64::from(object.pins)).sum();
        let names: usize = names.values().map(Vec::len).sum();
        table::line(&format!(
            "{} of {} in {}: {}, {}, {}",
            counted(objects.len() as u64, "object"),
            size::human(bytes),
            manager.name(),
            if proxies == 1 { "1 proxy".into() } else { format!("{proxies} proxies") },
            counted(pins, "pin"),
            counted(names as u64, "name"),
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn held_by(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "-".into();
    }
    let all: Vec<String> = holders.iter().map(describe).collect();
    all.join(", ")
}

/// `4711 worker x3, 1 reading`.
fn describe(holder: &Holder) -> String {
    let mut text = format!("{} {}", holder.pid, plain(&holder.command));
    if holder.proxies != 1 {
        text += &format!(" x{}", holder.proxies);
    }
    if holder.readers > 0 {
        text += &format!(" ({} reading)", holder.readers);
    }
    text
}
