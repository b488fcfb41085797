//! `sharehold inspect`.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sharehold::{Manager, ObjectId, ObjectInfo, TicketInfo};

use crate::ls::holder;
use crate::output::{Outcome, broker, json, line};
use crate::size::human;

/// Show all that is known about one object.
#[derive(Args)]
#[command(after_help = "Example:
  sharehold inspect 17.3 --broker prices")]
pub(crate) struct Inspect {
    /// The object's id, SLOT.GENERATION, as `sharehold ls` prints it.
    id: ObjectId,
    /// The broker's name; not needed if only one runs.
    #[arg(long)]
    broker: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Inspected {
    #[serde(flatten)]
    object: ObjectInfo,
    names: Vec<String>,
    tickets: Vec<TicketInfo>,
}

impl Inspect {
    pub(crate) fn run(self) -> Outcome {
        let manager = Manager::connect(&broker(self.broker)?)?;
        let object = manager.object_info(self.id)?;
        let names = manager.names()?.into_iter().filter(|name| name.object == self.id).map(|name| name.name).collect();
        let tickets = manager.tickets()?.into_iter().filter(|ticket| ticket.object == self.id).collect();
        let inspected = Inspected { object, names, tickets };
        if self.json {
            json(&inspected)?;
        } else {
            inspected.print()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Inspected {
    fn print(&self) -> std::io::Result<()> {
        let object = &self.object;
        line(format!("id       {}", object.id))?;
        line(format!("kind     {} of {}", object.kind, object.type_name))?;
        line(format!("size     {} ({} bytes)", human(object.bytes), object.bytes))?;
        line(format!("sealed   {}", if object.sealed { "yes" } else { "no" }))?;
        line(format!("pins     {} (tickets and names)", object.pins))?;
        line(format!("proxies  {} in {} processes", object.proxies(), object.holders.len()))?;
        for held in &object.holders {
            line(format!("holder   {}", holder(held)))?;
        }
        for name in &self.names {
            line(format!("name     {name}"))?;
        }
        for ticket in &self.tickets {
            let until = ticket.expires_in.map_or_else(String::new, |left| format!(", void in {left:.1?}"));
            line(format!("ticket   {} uses left, issued by {}{until}", ticket.uses, ticket.issuer))?;
        }
        Ok(())
    }
}
