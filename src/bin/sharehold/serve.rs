//! `sharehold serve`: a broker in the foreground.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use sharehold::{Authkey, Backing, Broker};

use crate::failure::Failure;
use crate::{size, user};

/// Run a broker until Ctrl-C, SIGTERM, SIGHUP, or until a client shuts it down.
#[derive(Args)]
#[command(after_help = "Examples:
  sharehold serve
  sharehold serve --name prices --capacity 64G
  sharehold serve --name prices --segment   # outlives its broker, also if no client does
  SHAREHOLD_DIR=/srv/lab sharehold serve --name prices --allow-uid alice

A broker that follows one that was killed takes its objects over: from the segment, or from the
clients that are still there.

A program connects with Manager::connect(\"prices\").")]
pub(crate) struct Serve {
    /// Name by which others find it: letters, digits, dots, dashes, underscores.
    #[arg(long, default_value = "default")]
    name: String,
    /// Bytes of objects that it has room for, as in 512M or 4G [default: half of the memory].
    #[arg(long, value_parser = size::parse, value_name = "SIZE")]
    capacity: Option<u64>,
    /// Most live objects [default: 2097152].
    #[arg(long, value_name = "N")]
    objects: Option<u32>,
    /// Most attached processes, the broker included [default: 1024].
    #[arg(long, value_name = "N")]
    sessions: Option<u32>,
    /// Most tickets that are not redeemed yet [default: 65536].
    #[arg(long, value_name = "N")]
    tickets: Option<u32>,
    /// Most published names [default: 4096].
    #[arg(long, value_name = "N")]
    names: Option<u32>,
    /// Keep the objects in a named POSIX segment, which outlives a broker that is killed.
    #[arg(long)]
    segment: bool,
    /// Begin empty, also where a broker of this name was killed and its objects could be taken over.
    #[arg(long)]
    fresh: bool,
    /// Let another user's processes attach too: a number or a name; may be given more than once.
    #[arg(long, value_name = "USER", value_parser = user::parse)]
    allow_uid: Vec<u32>,
    /// Ask clients for the key in this file, which nobody else may read [default: the file that
    /// SHAREHOLD_AUTHKEY_FILE names, if it does].
    #[arg(long, value_name = "FILE")]
    authkey_file: Option<PathBuf>,
    /// Ask the system for huge pages: for arrays of many megabytes, where it allows it.
    #[arg(long)]
    huge_pages: bool,
    /// Let debuggers trace this process.
    #[arg(long)]
    debuggable: bool,
}

impl Serve {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
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
        if self.fresh {
            broker = broker.fresh();
        }
        for uid in self.allow_uid {
            broker = broker.allow_uid(uid);
        }
        let authkey = match self.authkey_file {
            Some(file) => Some(Authkey::from_file(file)?),
            None => Authkey::from_environment()?,
        };
        if let Some(authkey) = authkey {
            broker = broker.authkey(authkey);
        }
        if self.huge_pages {
            broker = broker.huge_pages();
        }
        if self.debuggable {
            broker = broker.debuggable();
        }
        broker.serve_with(|name| {
            let pid = std::process::id();
            let ready = format!("broker {name} serves as process {pid}: connect with Manager::connect({name:?}), look with `sharehold ls {name}`");
            // A broker serves also when nobody reads this.
            let _ = writeln!(io::stdout().lock(), "{ready}");
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
