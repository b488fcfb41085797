//! Which broker is meant.

use clap::Args;
use sharehold::{ErrorKind, Manager};

use crate::failure::Failure;

/// The broker as the only argument of a command.
#[derive(Args)]
pub(crate) struct Broker {
    /// Name of the broker, with its directory if it is another user's; not needed if only one runs.
    name: Option<String>,
}

impl Broker {
    pub(crate) fn name(&self) -> Result<String, Failure> {
        name_or_only(self.name.as_deref())
    }

    pub(crate) fn connect(&self) -> Result<Manager, Failure> {
        Ok(Manager::connect(&self.name()?)?)
    }
}

/// The name that was given, or else that of the only broker that runs, or else of the only dead one: it may have left a segment to look at.
pub(crate) fn name_or_only(given: Option<&str>) -> Result<String, Failure> {
    if let Some(name) = given {
        return Ok(name.to_owned());
    }
    let (running, dead): (Vec<_>, Vec<_>) = sharehold::brokers().into_iter().partition(|name| is_running(name));
    match (&running[..], &dead[..]) {
        ([only], _) | ([], [only]) => Ok(only.clone()),
        ([], []) => Err(Failure::new(
            "no broker runs here",
            "start one with `sharehold serve`, or look at SHAREHOLD_DIR, which says where brokers are found",
        )),
        ([], several) => Err(Failure::new(
            format!("no broker runs here; these are dead: {}", several.join(", ")),
            "start one with `sharehold serve`, or name the one whose segment is to be checked",
        )),
        (several, _) => Err(Failure::new(
            format!("{} brokers run here: {}", several.len(), several.join(", ")),
            "say which one is meant, by its name",
        )),
    }
}

/// Whether somebody answers, also if it is with a refusal.
fn is_running(name: &str) -> bool {
    let kind = Manager::connect(name).err().map(|error| error.kind());
    !matches!(kind, Some(ErrorKind::BrokerNotFound | ErrorKind::BrokerGone))
}
