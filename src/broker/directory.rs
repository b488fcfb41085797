//! Names, as clients ask for them: published, removed, and waited for.

use std::time::{Duration, Instant};

use super::peer::Asked;
use super::server::Server;
use crate::control::message::{self, Named, Publish, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::region::ObjectId;
use crate::table::names;

/// A client that waits for a name.
pub(super) struct Waiting {
    name: String,
    pub(super) connection: u64,
    request: u64,
    pub(super) until: Option<Instant>,
}

impl Server {
    pub(super) fn publish(&mut self, body: &[u8], publisher: u32) -> Result<Vec<u8>> {
        let publish: Publish = message::unarchive(body)?;
        names::check_name(&publish.name)?;
        let taken = names::find(&self.region, &publish.name).filter(|_| publish.replace);
        let object = ObjectId::from_bits(publish.object);
        self.session.with_lane(|lane| {
            if let Some(taken) = &taken {
                // The new object is pinned only after the old entry is gone: for a moment nobody finds the name.
                names::remove(&self.region, lane, taken);
            }
            names::insert(&self.region, lane, &publish.name, object, publisher)
        })?;
        self.host.take_back();
        self.wake_waiting(&publish.name);
        Ok(Vec::new())
    }

    pub(super) fn unpublish(&mut self, body: &[u8]) -> Result<Vec<u8>> {
        let named: Named = message::unarchive(body)?;
        let found = names::find(&self.region, &named.name)
            .ok_or_else(|| Error::new(ErrorKind::NameNotFound, format!("nothing is published as '{}'", named.name)))?;
        self.session.with_lane(|lane| names::remove(&self.region, lane, &found));
        self.host.take_back();
        Ok(Vec::new())
    }

    /// Whether the name is there already; if not, the client is told later.
    pub(super) fn wait(&mut self, key: u64, asked: &Asked) -> Result<bool> {
        let named: Named = message::unarchive(asked.body())?;
        names::check_name(&named.name)?;
        if names::find(&self.region, &named.name).is_some() {
            return Ok(true);
        }
        let until = Instant::now().checked_add(Duration::from_millis(named.millis));
        self.waiting.push(Waiting { name: named.name, connection: key, request: asked.id, until });
        Ok(false)
    }

    fn wake_waiting(&mut self, name: &str) {
        for waiting in self.waiting.extract_if(.., |waiting| waiting.name == name).collect::<Vec<_>>() {
            self.answer_late(waiting.connection, &message::reply(Request::Wait, waiting.request, &[]));
        }
    }

    pub(super) fn expire_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let now = Instant::now();
        let over = |waiting: &mut Waiting| waiting.until.is_some_and(|until| until <= now);
        for waiting in self.waiting.extract_if(.., over).collect::<Vec<_>>() {
            let error = Error::new(ErrorKind::Timeout, format!("nothing was published as '{}' in time", waiting.name));
            self.answer_late(waiting.connection, &message::failure(waiting.request, &error));
        }
    }
}
