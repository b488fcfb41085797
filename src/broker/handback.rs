//! The region of a dead broker, of which nothing is left but what its clients have: the first one that comes back hands it over.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adopt::{self, Estate};
use super::attached::welcome;
use super::callers::Callers;
use super::peer::Asked;
use super::server::Server;
use crate::control::message::{self, HandBack, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::region::region::check_layout;
use crate::region::{Generation, Region, Rights, SessionIndex};
use crate::sync::atomic::Ordering;
use crate::table::sessions;

/// How long a broker whose predecessor has died waits for somebody who has the region, before it begins with an empty one. Clients that live hand it back within
/// milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// New clients wait for the region to come back.
pub(super) struct Expecting {
    pub(super) until: Instant,
    held: Vec<(u64, Asked)>,
}

impl Expecting {
    /// From now on.
    pub(super) fn begin() -> Self {
        Self { until: Instant::now() + PATIENCE, held: Vec::new() }
    }
}

impl Server {
    /// Answers, unless it is a new client that has to wait for the region of a dead broker.
    pub(super) fn answer_or_hold(&mut self, key: u64, asked: Asked) {
        match &mut self.expecting {
            Some(expecting) if asked.request == Request::Attach => expecting.held.push((key, asked)),
            _ => self.answer(key, &asked),
        }
    }

    /// Takes a session back that has outlived another broker, with the region if it is not there yet.
    pub(super) fn take_hand_back(&mut self, key: u64, asked: &Asked) -> Result<Vec<u8>> {
        let back: HandBack = message::fixed(asked.body())?;
        check_layout(back.version, back.fingerprint)?;
        let connection = self.connection(key)?;
        let (descriptor, pid) = (connection.descriptor.take(), connection.peer.pid);
        if self.region_id() != back.region_id {
            self.check_unused()?;
            let not_yet = || Error::new(ErrorKind::BrokerGone, "the region of this session has not come back yet");
            self.adopt(descriptor.ok_or_else(not_yet)?)?;
        }
        let index = SessionIndex(back.session as u16);
        self.recognise(index, pid);
        let is_known = sessions::read(&self.region, index).is_some_and(|record| record.generation.0 == back.generation);
        let attached =
            self.sessions.get_mut(&index).filter(|attached| is_known && attached.pid == pid && !attached.is_connected);
        let attached = attached.ok_or_else(|| {
            Error::new(ErrorKind::Refused, "this session has ended: the broker was told that its process is gone")
        })?;
        attached.is_connected = true;
        attached.connections += 1;
        attached.entry = attached.entry.with(Rights::of_word(back.rights));
        attached.entry.mend(&self.region, index);
        let token = attached.token;
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.session = Some(index);
            connection.is_first = true;
        }
        tracing::debug!(session = index.0, pid, "came back");
        Ok(bytemuck::bytes_of(&welcome(token, index, Generation(back.generation))).to_vec())
    }

    fn region_id(&self) -> u64 {
        self.region.header().region_id.load(Ordering::Relaxed)
    }

    /// Whether the region may still change places with that of a dead broker.
    fn check_unused(&self) -> Result<()> {
        if self.sessions.is_empty() && self.region.slots_used() == 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Refused, "a new broker of this name has begun with an empty region")
            .help("what is held can still be read; connect again for the rest"))
    }

    /// Takes over the region that a client of a dead broker has kept, in place of the empty one.
    fn adopt(&mut self, descriptor: OwnedFd) -> Result<()> {
        let region = Region::handed_back(descriptor)?;
        adopt::is_adoptable(&region, self.session.broker_name())?;
        let estate = Estate::take_over(Arc::new(region), &self.classes, Arc::clone(&self.mailbox))?;
        self.callers = Callers::new(&estate.host, Arc::clone(&self.mailbox));
        self.region = estate.session.region_arc();
        (self.session, self.host) = (estate.session, estate.host);
        self.settle(estate.living, estate.busy, estate.replies)?;
        self.end_expecting();
        Ok(())
    }

    pub(super) fn expire_expecting(&mut self) {
        if self.expecting.as_ref().is_some_and(|expecting| expecting.until <= Instant::now()) {
            self.end_expecting();
        }
    }

    pub(super) fn end_expecting(&mut self) {
        let held = self.expecting.take().map_or_else(Vec::new, |expecting| expecting.held);
        for (key, asked) in held {
            self.answer(key, &asked);
            self.answer_received(key);
        }
    }
}
