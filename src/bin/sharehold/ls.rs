//! `sharehold ls`: every object and who holds it.

use std::collections::HashMap;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sharehold::{Holder, Kind, Manager, ObjectId, ObjectInfo};

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

PINS are the tickets, names and channels that hold an object. The size of a channel is how many objects are in it, of how many. \"4711 worker x3\" is process 4711, named worker, with three proxies.
Hosted objects are asked for their debug form, the first thousand of them.")]
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
        let forms = debug_forms(&manager, &objects);
        if self.json {
            let listed: Vec<Listed<'_>> =
                objects.iter().map(|object| Listed { object, debug: forms.get(&object.id) }).collect();
            table::json(&listed)?;
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
                    size_of(object),
                    if object.sealed { "yes" } else { "no" }.into(),
                    object.pins.to_string(),
                    names.get(&object.id).map_or_else(|| "-".into(), |names| names.join(", ")),
                    held_by(&object.holders),
                    forms.get(&object.id).map_or_else(String::new, |form| shortened(form)),
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
                (if forms.is_empty() { "" } else { "DEBUG" }, Side::Left),
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

/// Most hosted objects that are asked for their debug form: each is a call.
const MOST_FORMS: usize = 1000;

/// An object, and a hosted one's debug form.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    object: &'a ObjectInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<&'a String>,
}

fn debug_forms(manager: &Manager, objects: &[ObjectInfo]) -> HashMap<ObjectId, String> {
    let hosted = objects.iter().filter(|object| object.kind == Kind::Hosted).take(MOST_FORMS);
    // One that has gone meanwhile has none.
    hosted.filter_map(|object| Some((object.id, manager.describe(object.id).ok()?))).collect()
}

fn size_of(object: &ObjectInfo) -> String {
    match (object.queued, object.capacity) {
        (Some(queued), Some(capacity)) => format!("{queued} of {capacity}"),
        _ => size::human(object.bytes),
    }
}

fn shortened(form: &str) -> String {
    let mut text: String = plain(form).chars().take(60).collect();
    if text.len() < form.len() {
        text.push('…');
    }
    text
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
