//! `sharehold classes`: what can be called.

use std::process::ExitCode;

use clap::Args;

use crate::failure::Failure;
use crate::pick::Broker;
use crate::table::{self, plain};

/// List the classes of a broker, and what can be called on their objects.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold classes
  sharehold classes prices --json | jq -r '.[].name'

Every broker has List, Dict and Namespace. Others are registered by the program that serves: Broker::builder().class::<...>().")]
pub(crate) struct Classes {
    #[command(flatten)]
    broker: Broker,
    /// Print JSON: an array of {name, signatures}.
    #[arg(long)]
    json: bool,
}

impl Classes {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let classes = self.broker.connect()?.classes()?;
        if self.json {
            table::json(&classes)?;
            return Ok(ExitCode::SUCCESS);
        }
        for class in classes {
            table::line(&plain(&class.name))?;
            for signature in &class.signatures {
                table::line(&format!("  {}", plain(signature)))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
