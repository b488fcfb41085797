//! `sharehold collect`: frees cycles.

use std::process::ExitCode;

use clap::Args;

use crate::failure::Failure;
use crate::pick::Broker;
use crate::table::{self, counted};

/// Free hosted objects that only hold each other.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold collect
  sharehold collect prices

Counts free all else at once. Calls go on meanwhile.")]
pub(crate) struct Collect {
    #[command(flatten)]
    broker: Broker,
}

impl Collect {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let manager = self.broker.connect()?;
        let freed = manager.collect()?;
        table::line(&format!("{}: {} freed", manager.name(), counted(freed, "object")))?;
        Ok(ExitCode::SUCCESS)
    }
}
