//! Joining a region: one session a process and broker, with as many connections as threads call at the same time.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::broker::child::BrokerChild;
use crate::control::Connection;
use crate::control::connection::PATIENCE;
use crate::control::message::{self, At, Attach, Join, Request, Welcome};
use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::{FINGERPRINT, VERSION};
use crate::region::region::check_layout;
use crate::region::{Generation, Region, SessionIndex};
use crate::session::{Link, Session};
use crate::sys::fork::ForkToken;

type Sessions = HashMap<String, (Weak<Session>, Arc<Channel>)>;

/// The sessions of this process by broker name: connecting twice gives the same one.
static SESSIONS: LazyLock<Mutex<Sessions>> = LazyLock::new(Mutex::default);

/// The connections of a session. A call takes one out and puts it back, so that no two threads share one; after an error it is not put back.
pub(super) struct Channel {
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

impl Channel {
    /// Asks the broker and waits for the answer.
    pub(super) fn call(&self, request: Request, body: &[u8]) -> Result<Vec<u8>> {
        self.call_for(request, body, PATIENCE)
    }

    /// As [`Channel::call`], with a patience of one's own.
    pub(super) fn call_for(&self, request: Request, body: &[u8], patience: Duration) -> Result<Vec<u8>> {
        let mut connection = self.connection()?;
        let answer = connection.call(request, body, patience);
        let whole = match &answer {
            Ok(_) => true,
            // An answer came, so the connection is in order; after these, none did, or nobody knows to what.
            Err(error) => !matches!(
                error.kind(),
                ErrorKind::BrokerGone | ErrorKind::Protocol | ErrorKind::Os | ErrorKind::Timeout
            ),
        };
        if whole {
            lock(&self.idle).push(connection);
        }
        answer
    }

    fn tell(&self, request: Request, body: &[u8]) {
        let told = self.connection().and_then(|mut connection| {
            connection.tell(request, body)?;
            lock(&self.idle).push(connection);
            Ok(())
        });
        if let Err(error) = told {
            tracing::debug!(%error, "the broker could not be told");
        }
    }

    fn connection(&self) -> Result<Connection> {
        if !self.fork.is_ours() {
            return Err(Error::new(ErrorKind::Forked, "this manager was inherited through fork and does nothing here")
                .help("connect in the child"));
        }
        if let Some(connection) = lock(&self.idle).pop() {
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
        connection.call(Request::Join, bytemuck::bytes_of(&join), PATIENCE)?;
        Ok(connection)
    }

    /// Whether the broker is still there: its death closes the first connection at once, and it never speaks there unasked.
    pub(super) fn is_connected(&self) -> bool {
        lock(&self.first).as_ref().is_some_and(|first| !first.is_closed())
    }

    pub(super) fn set_child(&self, child: BrokerChild) {
        *lock(&self.child) = Some(child);
    }

    pub(super) fn child_pid(&self) -> Option<u32> {
        lock(&self.child).as_ref().map(BrokerChild::pid)
    }

    /// Leaves in order: says so on every connection, then ends the broker if it is a child.
    fn leave(&self) {
        // A forked child shares the descriptors: what it says would be said for its parent.
        if !self.fork.is_ours() {
            std::mem::forget(lock(&self.child).take());
            return;
        }
        for mut connection in lock(&self.idle).drain(..).chain(lock(&self.first).take()) {
            let _ = connection.tell(Request::Leave, &[]);
        }
        drop(lock(&self.child).take());
    }
}

/// What the session itself says to the broker; dropped with it.
struct Line(Arc<Channel>);

impl Link for Line {
    fn returned(&self) {
        self.0.tell(Request::Returned, &[]);
    }

    fn deadline(&self, at: u64) {
        self.0.tell(Request::Deadline, bytemuck::bytes_of(&At { boot_nanos: at }));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Attaches this process to the broker of this name, or finds the session it has.
pub(super) fn attach(name: &str) -> Result<(Arc<Session>, Arc<Channel>)> {
    let mut sessions = lock(&SESSIONS);
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

fn attach_anew(name: &str) -> Result<(Arc<Session>, Arc<Channel>)> {
    let mut first = Connection::open(name)?;
    let attach = Attach { fingerprint: FINGERPRINT, version: VERSION, reserved: 0 };
    let (body, fd) = first.call_with(Request::Attach, bytemuck::bytes_of(&attach), PATIENCE)?;
    let welcome: Welcome = message::fixed(&body)?;
    check_layout(welcome.version, welcome.fingerprint)?;
    let fd = fd.ok_or_else(|| message::protocol("the broker sent no region"))?;
    let region = Arc::new(Region::of_descriptor(fd)?);
    let index =
        SessionIndex(u16::try_from(welcome.session).map_err(|_| message::protocol("a session number is too large"))?);
    let session = Session::new(region, index, Generation(welcome.generation))?;
    let channel = Arc::new(Channel {
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

/// A panic elsewhere leaves these collections whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
