//! A look at a region from outside, also at one whose broker is dead.

use std::sync::Arc;

use serde::Serialize;

use super::attach::{Connections, attach};
use crate::control::authkey::Login;
use crate::control::message::{self, Damage, Request};
use crate::control::{ControlChannel, PATIENCE};
use crate::error::{Error, ErrorKind, Result};
use crate::region::{Region, Rights};
use crate::session::Session;
use crate::sync::atomic::Ordering;
use crate::sys::memory::Memory;
use crate::sys::place::{self, Place};
use crate::table::{census, names, sessions, tickets};

/// How often a region is looked at before something counts as damage: living processes may be in the middle of a move.
const LOOKS: u32 = 5;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// The broker's name.
    pub name: String,
    /// Whether its broker serves.
    pub broker_alive: bool,
    /// The process id of its broker, or of its last one.
    pub broker_pid: u32,
    /// Live objects.
    pub objects: u64,
    /// Attached processes, the broker included.
    pub sessions: u32,
    /// Tickets that can be redeemed.
    pub tickets: u32,
    /// Published names.
    pub names: u32,
    /// What is wrong, in words; empty if nothing is.
    pub findings: Vec<String>,
}

/// Audits the region of a broker: counts, pins, states and bounds. It changes nothing, but has the broker mend what it finds that only the broker writes. The region of a dead broker can be audited if it is a named segment.
///
/// # Errors
/// `BrokerNotFound` if there is neither a broker nor a segment of this name; `Damaged`, `LayoutMismatch`.
pub fn check(name: &str) -> Result<CheckReport> {
    let opened = open(name)?;
    let region = opened.region();
    let alive = opened.is_served();
    let mut findings = census::findings(region, alive);
    for _ in 1..LOOKS {
        if findings.is_empty() {
            break;
        }
        std::thread::yield_now();
        let again = census::findings(region, alive);
        findings.retain(|finding| again.contains(finding));
    }
    findings.extend(opened.examine()?);
    Ok(CheckReport {
        name: region.broker_name(),
        broker_alive: alive,
        broker_pid: region.header().broker_pid.load(Ordering::Relaxed),
        objects: census::count(region),
        sessions: sessions::attached(region).count() as u32,
        tickets: tickets::live(region).count() as u32,
        names: names::all(region).count() as u32,
        findings,
    })
}

/// A region that is looked at, and what keeps it mapped.
enum Opened {
    Attached(Arc<Session>, Arc<Connections>),
    Segment(Box<Region>),
}

impl Opened {
    fn region(&self) -> &Region {
        match self {
            Opened::Attached(session, _) => session.region(),
            Opened::Segment(region) => region,
        }
    }

    /// What the broker itself finds, which compares the region with its books.
    fn examine(&self) -> Result<Vec<String>> {
        match self {
            Opened::Attached(_, channel) if channel.is_connected() => {
                let answer = channel.call(Request::Examine, &[], PATIENCE)?;
                Ok(message::unarchive::<Damage>(&answer)?.findings)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Whether there is a broker.
    fn is_served(&self) -> bool {
        match self {
            Opened::Attached(_, channel) => channel.is_connected(),
            Opened::Segment(_) => false,
        }
    }
}

fn open(name: &str) -> Result<Opened> {
    match attach(name, &Login::from_environment()?, Rights::All) {
        Ok((session, channel)) => Ok(Opened::Attached(session, channel)),
        Err(error) if error.kind() == ErrorKind::BrokerNotFound => {
            let neither = || {
                Error::new(ErrorKind::BrokerNotFound, format!("there is neither a broker nor a segment named '{name}'"))
                    .help("the memfd of a dead broker is gone with it; start the broker with --segment to be able to look at it afterwards")
            };
            let segment = Place::of(name)?.segment().ok_or_else(neither)?;
            let memory = Memory::open_segment(&segment).map_err(|error| match error.kind() {
                ErrorKind::BrokerNotFound => neither(),
                _ => error,
            })?;
            Ok(Opened::Segment(Box::new(Region::open(memory)?)))
        }
        Err(error) => Err(error),
    }
}

/// The names of all brokers of this user that have a socket, alive or not.
pub fn brokers() -> Vec<String> {
    place::names()
}
