//! A host without a loop and without clients: what a message brings about, without sockets. For the fuzz targets.

use std::sync::Arc;

use super::adopt::Estate;
use super::callers;
use super::config::Config;
use super::host::Host;
use super::mailbox::Mailbox;
use crate::class::ClassTable;
use crate::control::message::Request;
use crate::error::Result;
use crate::object::transit::Written;
use crate::region::Region;
use crate::region::layout::Map;
use crate::session::Session;
use crate::sys::memory::Memory;

/// A host that nobody can reach.
pub(crate) struct Alone {
    host: Arc<Host>,
}

impl Alone {
    pub(crate) fn new(config: &Config, classes: Vec<ClassTable>) -> Result<Self> {
        let memory = Memory::memfd("sharehold:alone", Map::of(config.capacities).end)?;
        let region = Arc::new(Region::create(memory, &config.name, config.capacities, [1, 2, 3])?);
        let classes: Vec<Arc<ClassTable>> = classes.into_iter().map(Arc::new).collect();
        Ok(Self { host: Estate::found(region, &classes, Arc::new(Mailbox::new()?))?.host })
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        self.host.session()
    }

    /// Does something as a method does it: with a manager of its own.
    pub(crate) fn inside<R>(&self, work: impl FnOnce() -> R) -> R {
        self.host.enter(work)
    }

    /// Answers a call. What the reply holds is in `issued`.
    pub(crate) fn answer(&self, request: Request, body: &[u8]) -> Result<Written> {
        self.inside(|| callers::execute(&self.host, request, 1, body))
    }

    /// Gives up what of a reply was not taken, and frees what is dead.
    pub(crate) fn settle(&self, written: &Written) {
        Written::cancel(&written.issued, self.session());
        self.host.take_back();
    }
}
