//! Clients that wait for room: in a line, so that a large object is not kept waiting for ever by small ones that come later.
//!
//! A request that does not wait is served from what is there at its moment and is not held up by the line.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::grants::{Pending, is_full};
use super::peer::Asked;
use super::server::Server;
use crate::control::message::{self, Create, CreateWithin, Granted, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::object::Kind;
use crate::region::SessionIndex;
use crate::sync::atomic::{Ordering, fence};

/// How often it is looked for room that nobody told of: memory of the system, or a client that was stopped before it could tell.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A client that waits for room.
struct Waiting {
    connection: u64,
    session: SessionIndex,
    request: u64,
    create: Create,
    since: Instant,
    until: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Line(VecDeque<Waiting>);

impl Line {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn forget(&mut self, connection: u64) {
        self.0.retain(|waiting| waiting.connection != connection);
    }

    /// When the line is looked at again, whatever happens.
    pub(super) fn next(&self) -> Option<Duration> {
        let now = Instant::now();
        let ends = self.0.iter().filter_map(|waiting| waiting.until).map(|until| until.saturating_duration_since(now));
        (!self.0.is_empty()).then(|| ends.min().map_or(LOOK_AGAIN, |end| end.min(LOOK_AGAIN)))
    }
}

impl Server {
    pub(super) fn grant(&mut self, key: u64, create: &Create, session: SessionIndex) -> Result<Vec<u8>> {
        if create.kind == Kind::Hosted as u32 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a hosted object is created by its class"));
        }
        if create.kind == Kind::Frozen as u32 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a frozen object comes with its bytes"));
        }
        let (granted, pending): (Granted, Pending) = self.host.grant(create, session)?;
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.pending = Some(pending);
        }
        Ok(bytemuck::bytes_of(&granted).to_vec())
    }

    /// Grants an object, or puts the client into the line: then it is told later.
    pub(super) fn create_within(&mut self, key: u64, asked: &Asked, session: SessionIndex) -> Result<Option<Vec<u8>>> {
        let CreateWithin { create, millis } = message::unarchive(asked.body())?;
        // What can never be granted is refused at once, and the first in line may be served at once.
        if self.line.0.is_empty() || !self.host.books().could_hold(&create) {
            match self.grant(key, &create, session) {
                Err(error) if is_full(&error) && self.host.books().could_hold(&create) => {}
                other => return other.map(Some),
            }
        }
        let since = Instant::now();
        let until = since.checked_add(Duration::from_millis(millis));
        self.line.0.push_back(Waiting { connection: key, session, request: asked.id, create, since, until });
        self.region.header().wanted.store(1, Ordering::Relaxed);
        Ok(None)
    }

    /// Serves the line as far as there is room.
    pub(super) fn serve_line(&mut self) {
        if self.line.0.is_empty() {
            return;
        }
        // Pairs with the fence of a client that has returned something: it sees that room is wanted, or we see what it has returned.
        fence(Ordering::SeqCst);
        while let Some(first) = self.line.0.pop_front() {
            let answer = self.grant(first.connection, &first.create, first.session);
            match answer {
                Err(error) if is_full(&error) => {
                    self.line.0.push_front(first);
                    break;
                }
                answer => self.answer_waiting(&first, answer),
            }
        }
        let now = Instant::now();
        let over = |waiting: &Waiting| waiting.until.is_some_and(|until| until <= now);
        while let Some(place) = self.line.0.iter().position(over) {
            let Some(late) = self.line.0.remove(place) else { break };
            let answer = self.grant(late.connection, &late.create, late.session).map_err(|error| {
                let waited = format!("{}, also after {:?}", error.message(), late.since.elapsed());
                Error::new(error.kind(), waited).help(error.advice().to_owned())
            });
            self.answer_waiting(&late, answer);
        }
        if self.line.0.is_empty() {
            self.region.header().wanted.store(0, Ordering::Relaxed);
        }
    }

    fn answer_waiting(&mut self, waiting: &Waiting, answer: Result<Vec<u8>>) {
        let bytes = match &answer {
            Ok(body) => message::reply(Request::CreateWithin, waiting.request, body),
            Err(error) => message::failure(waiting.request, error),
        };
        self.answer_late(waiting.connection, &bytes);
    }
}
