//! `sharehold ls`.

use std::process::ExitCode;

use clap::Args;
use sharehold::{Holder, Manager, ObjectInfo};

use crate::output::{Outcome, broker, json, line, table};
use crate::size::human;

/// List all objects: kind, type, size, and who holds them.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold ls              of the only broker that runs
  sharehold ls prices --json")]
pub(crate) struct Ls {
    /// The broker's name; not needed if only one runs.
    broker: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(crate) fn run(self) -> Outcome {
        let manager = Manager::connect(&broker(self.broker)?)?;
        let objects = manager.debug_info()?;
        if self.json {
            json(&objects)?;
            return Ok(ExitCode::SUCCESS);
        }
        let names = manager.names()?;
        let named = |object: &ObjectInfo| {
            let names = names.iter().filter(|name| name.object == object.id);
            names.map(|name| name.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        let rows = objects.iter().map(|object| {
            vec![
                object.id.to_string(),
                object.kind.to_string(),
                object.type_name.clone(),
                human(object.bytes),
                if object.sealed { "sealed" } else { "" }.into(),
                object.pins.to_string(),
                object.holders.iter().map(holder).collect::<Vec<_>>().join(", "),
                named(object),
            ]
        });
        let head = ["ID", "KIND", "TYPE", "SIZE", "", "PINS", "HOLDERS", "NAMES"];
        table(&head, rows, &[3, 5])?;
        let bytes = objects.iter().map(|object| object.bytes).sum();
        let proxies: u64 = objects.iter().map(ObjectInfo::proxies).sum();
        line(format!("{} objects, {}, {proxies} proxies, {} names", objects.len(), human(bytes), names.len()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A process and how many proxies it has.
pub(crate) fn holder(holder: &Holder) -> String {
    let readers = if holder.readers == 0 { String::new() } else { format!(" reading x{}", holder.readers) };
    format!("{} {} x{}{readers}", holder.pid, holder.command, holder.proxies)
}
