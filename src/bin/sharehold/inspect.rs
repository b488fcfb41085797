//! `sharehold inspect`: all there is to know about one object.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sharehold::{Kind, Manager, ObjectId, ObjectInfo, PublishedName, TicketInfo};

use crate::failure::Failure;
use crate::pick::name_or_only;
use crate::size;
use crate::table::{self, Side, counted, plain};

/// Show one object: its type, its holders, its tickets and names.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold inspect 12.1
  sharehold inspect --broker prices 12.1 --json

`sharehold ls` shows the ids.")]
pub(crate) struct Inspect {
    /// Id of the object, as `sharehold ls` shows it.
    id: ObjectId,
    /// Name of the broker; not needed if only one runs.
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
    /// Print JSON: {object, names, tickets, debug}.
    #[arg(long)]
    json: bool,
}

/// An object and what pins it.
#[derive(Serialize)]
struct Findings {
    object: ObjectInfo,
    names: Vec<PublishedName>,
    tickets: Vec<TicketInfo>,
    /// Of a hosted object.
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<String>,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let manager = Manager::connect(&name_or_only(self.broker.as_deref())?)?;
        let object = manager.object_info(self.id)?;
        let debug = if object.kind == Kind::Hosted { Some(manager.describe(self.id)?) } else { None };
        let mut findings = Findings { object, names: manager.names()?, tickets: manager.tickets()?, debug };
        findings.names.retain(|name| name.object == self.id);
        findings.tickets.retain(|ticket| ticket.object == self.id);
        if self.json {
            table::json(&findings)?;
        } else {
            table::print(&[("", Side::Left), ("", Side::Left)], rows(&findings))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn rows(findings: &Findings) -> Vec<Vec<String>> {
    let object = &findings.object;
    let row = |what: &str, text: String| vec![what.to_owned(), text];
    let mut rows = vec![
        row("object", object.id.to_string()),
        row("kind", format!("{} of {}", object.kind, plain(&object.type_name))),
        row("size", format!("{} ({})", size::human(object.bytes), counted(object.bytes, "byte"))),
        row("sealed", if object.sealed { "yes: it never changes again" } else { "no" }.into()),
        row("pins", object.pins.to_string()),
    ];
    rows.extend(findings.debug.iter().map(|form| row("debug", plain(form))));
    rows.extend(
        findings.names.iter().map(|name| row("name", format!("{} (by process {})", plain(&name.name), name.publisher))),
    );
    rows.extend(findings.tickets.iter().map(|ticket| {
        let until = ticket.expires_in.map_or_else(String::new, |left| format!(", void in {:.1} s", left.as_secs_f64()));
        row("ticket", format!("{} left, by process {}{until}", counted(ticket.uses, "use"), ticket.issuer))
    }));
    rows.extend(object.holders.iter().map(|holder| {
        let mut text = format!("{} {}: ", holder.pid, plain(&holder.command));
        text += &if holder.proxies == 1 { "1 proxy".into() } else { format!("{} proxies", holder.proxies) };
        if holder.readers > 0 {
            text += &format!(", {} at this moment", counted(holder.readers, "reader"));
        }
        row("holder", text)
    }));
    rows
}
