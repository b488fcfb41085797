//! A host without a loop and without clients: what a message brings about, without sockets. For the fuzz targets.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::adopt::Estate;
use super::callers;
use super::config::Config;
use super::host::Host;
use super::mailbox::Mailbox;
use super::peer::Connection;
use crate::class::ClassTable;
use crate::control::message::Request;
use crate::control::ring::{AnswererEnd, Posted, Ring};
use crate::error::{Error, Result};
use crate::object::transit::Written;
use crate::region::Region;
use crate::region::layout::Map;
use crate::session::Session;
use crate::sys::memory::Memory;
use crate::sys::socket::Peer;

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

    /// A connection to it, with a call ring. Its client is somebody who says nothing over the socket.
    pub(crate) fn attend(&self, ring: Arc<Ring>) -> Result<Attendant<'_>> {
        let pair = UnixStream::pair().map_err(|error| Error::os("make a pair of sockets", error))?;
        let mut end = AnswererEnd::new(ring);
        end.attend();
        let mut connection = Connection::new(pair.0, Peer { pid: std::process::id(), uid: 0 });
        connection.ring = Some(end);
        Ok(Attendant { alone: self, connection, _client: pair.1 })
    }

    /// Gives up what of a reply was not taken, and frees what is dead.
    pub(crate) fn settle(&self, written: &Written) {
        Written::cancel(&written.issued, self.session());
        self.host.take_back();
    }
}

/// What serves the calls of a connection that come through its ring.
pub(crate) struct Attendant<'a> {
    alone: &'a Alone,
    connection: Connection,
    _client: UnixStream,
}

/// What was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attended {
    /// A call, which is answered.
    Call,
    Nothing,
    /// The client has gone.
    Closed,
}

impl Attendant<'_> {
    /// Takes a call and answers it, as the thread of a connection does, which waits for no time here. An error is what the client did wrong: it costs the connection.
    pub(crate) fn serve(&mut self) -> std::result::Result<Attended, String> {
        let Self { alone, connection, .. } = self;
        let posted = connection.next_call(Some(Duration::ZERO)).map_err(|error| error.message().to_owned())?;
        match posted {
            (_, Some(asked)) => {
                let answered = alone.inside(|| callers::answer(&alone.host, connection, &asked));
                connection.recycle(asked);
                answered.map(|()| Attended::Call)
            }
            (Posted::Closed, None) => Ok(Attended::Closed),
            (_, None) => {
                connection.ring.iter_mut().for_each(AnswererEnd::attend);
                Ok(Attended::Nothing)
            }
        }
    }
}

impl Drop for Attendant<'_> {
    /// Gives up what was answered last.
    fn drop(&mut self) {
        self.alone.host.settle(&mut self.connection);
        self.alone.host.take_back();
    }
}
