//! `sharehold serve`.

use std::process::ExitCode;

use clap::Args;
use sharehold::{Backing, Broker};

use crate::output::{Outcome, line};
use crate::size;

/// Run a broker in the foreground, until Ctrl-C or SIGTERM.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold serve                                  a broker named `default`
  sharehold serve --name prices --capacity 4G
  sharehold serve --name prices --segment          its region can be audited after a crash")]
pub(crate) struct Serve {
    /// Name by which programs connect: Manager::connect(NAME).
    #[arg(long, default_value = "default")]
    name: String,
    /// Room for objects, as 512M or 4G; default: half of the memory. What is not used costs nothing.
    #[arg(long, value_parser = size::parse)]
    capacity: Option<u64>,
    /// Most live objects.
    #[arg(long)]
    objects: Option<u32>,
    /// Most attached processes.
    #[arg(long)]
    sessions: Option<u32>,
    /// Most tickets that are not redeemed.
    #[arg(long)]
    tickets: Option<u32>,
    /// Most published names.
    #[arg(long)]
    names: Option<u32>,
    /// Use a named POSIX segment in /dev/shm instead of an anonymous memfd.
    #[arg(long)]
    segment: bool,
}

impl Serve {
    pub(crate) fn run(self) -> Outcome {
        let mut broker = Broker::builder().name(self.name);
        if let Some(bytes) = self.capacity {
            broker = broker.capacity(bytes);
        }
        if let Some(most) = self.objects {
            broker = broker.objects(most);
        }
        if let Some(most) = self.sessions {
            broker = broker.sessions(most);
        }
        if let Some(most) = self.tickets {
            broker = broker.tickets(most);
        }
        if let Some(most) = self.names {
            broker = broker.names(most);
        }
        if self.segment {
            broker = broker.backing(Backing::Segment);
        }
        broker.serve_with(|name| {
            // A closed stdout is no reason not to serve.
            let _ = line(format!(
                "serving as '{name}': connect with Manager::connect(\"{name}\"), look with `sharehold ls {name}`"
            ));
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
