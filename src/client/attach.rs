//! Joining a region: one session a process and broker, with as many connections as threads call at the same time.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::broker::child::BrokerChild;
use crate::control::message::{self, At, Attach, Join, Request, Welcome};
use crate::control::{Channel, Connection, PATIENCE, call};
use crate::error::{Error, ErrorKind, Result};
use crate::object::scope;
use crate::region::layout::{FINGERPRINT, VERSION};
use crate::region::region::check_layout;
use crate::region::{Generation, Region, SessionIndex};
use crate::session::{Ask, Link, Session};
use crate::sys::fork::ForkToken;

type Sessions = HashMap<String, (Weak<Session>, Arc<Connections>)>;

/// The sessions of this process by broker name: connecting twice gives the same one.
static SESSIONS: LazyLock<Mutex<Sessions>> = LazyLock::new(Mutex::default);

/// The connections of a session. A call takes one out and puts it back, so that no two threads share one; after an error it is not put back.
pub(super) struct Connections {
    name: String,
    token: u64,
    session: SessionIndex,
    fork: ForkToken,
    /// The session ends when it is closed.
    first: Mutex<Option<Connection>>,
    idle: Mutex<Vec<Connection>>,
    /// The broker, if this process started it: it ends with the session.
    child: Mutex<Option<BrokerChild>>,
}

impl Channel for Connections {
    fn call_with(
        &self,
        request: Request,
        body: &[u8],
        patience: Duration,
        read: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.ask(request, &[body], Some(patience), read)
    }

    fn child_pid(&self) -> Option<u32> {
        self.child.lock().as_ref().map(BrokerChild::pid)
    }
}

impl Connections {
    /// Asks, and reads the answer before anything else goes over the connection: the next request tells the broker that it has arrived.
    fn ask<R>(
        &self,
        request: Request,
        body: &[&[u8]],
        patience: Option<Duration>,
        read: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let limits = scope::current();
        let patience = limits.left().into_iter().chain(patience).min();
        let mut connection = self.connection(patience)?;
        let watched = limits.watch(connection.stream());
        if limits.is_cancelled() {
            return Err(scope::cancelled());
        }
        let (answer, whole) = match connection.call(request, body, patience) {
            // What can't be read may hold references: closing the connection has the broker cancel them.
            Ok(answer) => {
                let read = read(answer);
                let whole = read.is_ok();
                (read, whole)
            }
            Err(_) if limits.is_cancelled() => (Err(scope::cancelled()), false),
            // An answer came, so the connection is in order; after these, none did, or nobody knows to what.
            Err(error) => {
                let whole = !matches!(
                    error.kind(),
                    ErrorKind::BrokerGone | ErrorKind::Protocol | ErrorKind::Os | ErrorKind::Timeout
                );
                (Err(error), whole)
            }
        };
        drop(watched);
        // One that was cancelled at the last moment is closed already.
        if whole && !limits.is_cancelled() {
            self.idle.lock().push(connection);
        }
        answer
    }

    /// Says something that has no answer, without waiting.
    fn tell(&self, request: Request, body: &[u8]) {
        if !self.fork.is_ours() {
            return;
        }
        let told = self.first.lock().as_ref().map_or(Ok(()), |first| first.tell(request, body));
        if let Err(error) = told {
            tracing::debug!(%error, "the broker could not be told");
        }
    }

    /// One that nobody uses, or a new one, for which the broker is waited for at most so long.
    fn connection(&self, patience: Option<Duration>) -> Result<Connection> {
        if !self.fork.is_ours() {
            return Err(Error::new(ErrorKind::Forked, "this manager was inherited through fork and does nothing here")
                .help("connect in the child"));
        }
        if let Some(connection) = self.idle.lock().pop() {
            return Ok(connection);
        }
        let mut connection = Connection::open(&self.name).map_err(|error| match error.kind() {
            // Seen from a session, a broker that is not found is one that has gone.
            ErrorKind::BrokerNotFound => {
                Error::new(ErrorKind::BrokerGone, format!("the broker '{}' has ended", self.name))
            }
            _ => error,
        })?;
        let join = Join { token: self.token, session: u32::from(self.session.0), reserved: 0 };
        let patience = patience.map_or(PATIENCE, |patience| patience.min(PATIENCE));
        connection.call(Request::Join, &[bytemuck::bytes_of(&join)], Some(patience))?;
        Ok(connection)
    }

    /// Whether the broker is still there: its death closes the first connection at once, and it never speaks there unasked.
    pub(super) fn is_connected(&self) -> bool {
        self.first.lock().as_ref().is_some_and(|first| !first.is_closed())
    }

    pub(super) fn set_child(&self, child: BrokerChild) {
        *self.child.lock() = Some(child);
    }

    /// Leaves in order: says so on every connection, then ends the broker if it is a child.
    fn leave(&self) {
        // A forked child shares the descriptors: what it says would be said for its parent.
        if !self.fork.is_ours() {
            std::mem::forget(self.child.lock().take());
            return;
        }
        for connection in self.idle.lock().drain(..).chain(self.first.lock().take()) {
            let _ = connection.tell(Request::Leave, &[]);
        }
        drop(self.child.lock().take());
    }
}

/// What the session itself says to the broker; dropped with it.
struct Line(Arc<Connections>);

impl Link for Line {
    fn returned(&self) {
        self.0.tell(Request::Returned, &[]);
    }

    fn deadline(&self, at: u64) {
        self.0.tell(Request::Deadline, bytemuck::bytes_of(&At { boot_nanos: at }));
    }

    fn call(&self, session: &Arc<Session>, ask: Ask<'_>, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        call::outgoing(session, &*self.0, ask, |kind, body| {
            self.0.ask(kind, body, None, |answer| call::read_result(session, answer, read))
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Attaches this process to the broker of this name, or finds the session it has.
pub(super) fn attach(name: &str) -> Result<(Arc<Session>, Arc<Connections>)> {
    let mut sessions = SESSIONS.lock();
    if let Some((session, channel)) = sessions.get(name)
        && let Some(session) = session.upgrade()
        && session.is_ours()
        && channel.is_connected()
    {
        return Ok((session, Arc::clone(channel)));
    }
    let (session, channel) = attach_anew(name)?;
    sessions.retain(|_, (session, _)| session.strong_count() > 0);
    sessions.insert(name.to_owned(), (Arc::downgrade(&session), Arc::clone(&channel)));
    Ok((session, channel))
}

fn attach_anew(name: &str) -> Result<(Arc<Session>, Arc<Connections>)> {
    let mut first = Connection::open(name)?;
    let attach = Attach { fingerprint: FINGERPRINT, version: VERSION, reserved: 0 };
    let (body, fd) = first.call_with(Request::Attach, &[bytemuck::bytes_of(&attach)], Some(PATIENCE))?;
    let welcome: Welcome = message::fixed(body)?;
    check_layout(welcome.version, welcome.fingerprint)?;
    let fd = fd.ok_or_else(|| message::protocol("the broker sent no region"))?;
    let region = Arc::new(Region::of_descriptor(fd)?);
    let index =
        SessionIndex(u16::try_from(welcome.session).map_err(|_| message::protocol("a session number is too large"))?);
    let session = Session::new(region, index, Generation(welcome.generation))?;
    let channel = Arc::new(Connections {
        name: name.to_owned(),
        token: welcome.token,
        session: index,
        fork: ForkToken::of_this_process()?,
        first: Mutex::new(Some(first)),
        idle: Mutex::default(),
        child: Mutex::default(),
    });
    session.set_link(Box::new(Line(Arc::clone(&channel))));
    Ok((session, channel))
}
