//! Joining a region: one session a process and broker, with as many connections as threads call at the same time.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::orders::Orders;
use super::{fork, watch};
use crate::broker::child::BrokerChild;
use crate::control::authkey::Login;
use crate::control::message::{self, At, Attach, Create, GiveBack, HandBack, Join, Of, Request, Take, Welcome};
use crate::control::{Connection, ControlChannel, PATIENCE, call};
use crate::error::{Error, ErrorKind, Result};
use crate::object::scope;
use crate::region::region::check_layout;
use crate::region::{Generation, ObjectId, Region, Rights, SessionIndex};
use crate::session::{Ask, Files, Link, Session};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sys::fork::{ForkToken, PerProcess};
use crate::sys::place::Place;
use crate::table::tickets::TicketPlace;

pub(super) type Sessions = BTreeMap<(PathBuf, Rights), (Weak<Session>, Weak<Connections>)>;

/// The sessions of this process by the sockets of their brokers and by rights: connecting twice gives the same one.
pub(super) static SESSIONS: LazyLock<PerProcess<Mutex<Sessions>>> = LazyLock::new(|| PerProcess::new(Mutex::default()));

/// The connections of a session. A call takes one out and puts it back, so that no two threads share one; after an error it is not put back.
pub(super) struct Connections {
    name: String,
    place: Place,
    login: Login,
    region: Arc<Region>,
    rights: Rights,
    files: Arc<Files>,
    fork: ForkToken,
    state: PerProcess<State>,
}

/// What a forked child has another one of.
pub(super) struct State {
    pub(super) session: SessionIndex,
    pub(super) generation: Generation,
    /// Proves to the broker that a further connection is of this session. Another broker gives another.
    token: AtomicU64,
    /// The session ends when it is closed, unless the broker has ended. `None` once the session has left.
    first: Mutex<Option<Connection>>,
    /// One at a time.
    reconnecting: Mutex<()>,
    #[expect(clippy::vec_box, reason = "a call takes one out and puts it back")]
    pub(super) idle: Mutex<Vec<Box<Connection>>>,
    /// Those over which a slab was asked for whose answer was not read yet.
    pub(super) orders: Mutex<Orders>,
    /// The broker, if this process started it: it ends with the session.
    child: Mutex<Option<BrokerChild>>,
}

impl ControlChannel for Connections {
    fn call_with(
        &self,
        request: Request,
        body: &[u8],
        patience: Duration,
        read: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.ask(request, &[body], Some(patience), read)
    }

    fn freeze(&self, create: &Create, file: OwnedFd, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let create = message::archive(create)?;
        let mut connection = self.open()?;
        let join = self.join();
        let body = [bytemuck::bytes_of(&join), &create];
        let answer = connection.call_sending(Request::Freeze, &body, file.as_fd(), Some(PATIENCE));
        answer.map_err(|error| self.refused(error)).and_then(read)?;
        // Each of these needs a new one, so they are not collected.
        let mut idle = self.state().idle.lock();
        if idle.is_empty() {
            idle.push(Box::new(connection));
        }
        Ok(())
    }

    fn order(&self, shelf: (u64, u16), body: &[u8]) -> bool {
        self.order_slab(shelf, body)
    }

    fn delivered(&self, shelf: (u64, u16)) -> Option<Vec<u8>> {
        self.delivered_slab(shelf)
    }

    fn child_pid(&self) -> Option<u32> {
        self.state().child.lock().as_ref().map(BrokerChild::pid)
    }

    fn restart(&self) -> Result<()> {
        let mut child = self.state().child.lock();
        let dead = child.as_mut().ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, format!("the broker '{}' was started by another process", self.name))
                .help("start it again there: its clients find it by themselves")
        })?;
        // Whoever answers lives. The connections of one that is being killed close one by one.
        match self.ask(Request::Usage, &[], Some(PATIENCE), |_| Ok(())) {
            Err(error) if error.kind() == ErrorKind::BrokerGone => {}
            answered => return answered,
        }
        dead.restart()?;
        self.reconnect()
    }
}

impl State {
    /// Of a session with this first connection; `None` for one that can't be had.
    pub(super) fn new(session: SessionIndex, generation: Generation, token: u64, first: Option<Connection>) -> Self {
        Self {
            session,
            generation,
            token: AtomicU64::new(token),
            first: Mutex::new(first),
            reconnecting: Mutex::default(),
            idle: Mutex::default(),
            orders: Mutex::default(),
            child: Mutex::default(),
        }
    }

    /// Of the first connection.
    pub(super) fn stream(&self) -> Option<Arc<UnixStream>> {
        self.first.lock().as_ref().map(|first| Arc::clone(first.stream()))
    }
}

impl Connections {
    pub(super) fn state(&self) -> &State {
        self.state.get()
    }

    /// Has the broker prepare a session for a child that is about to be forked.
    pub(super) fn prepare_child(&self, patience: Duration) -> Result<State> {
        let mut first = Connection::open(&self.place)?;
        let welcome: Welcome =
            message::fixed(first.call(Request::Fork, &[bytemuck::bytes_of(&self.join())], Some(patience))?)?;
        Ok(State::new(session_of(&welcome)?, Generation(welcome.generation), welcome.token, Some(first)))
    }

    /// In a forked child, before it has threads: has this state from now on. `is_claimed`: it has the session that the state is of.
    pub(super) fn become_child(&self, state: Box<State>, is_claimed: bool) {
        self.state.renew(state);
        if is_claimed {
            self.fork.renew();
            self.tell(Request::Claim, &[]);
        }
    }

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
        // What another thread may interrupt waits at the socket, where it can be.
        let answered = if request.is_call() && !limits.can_be_cancelled() {
            connection.call_by_ring(&limits, request, body, patience)
        } else {
            connection.call_under(&limits, request, body, patience)
        };
        let (answer, whole) = match answered {
            // What can't be read may hold references: closing the connection has the broker cancel them.
            Ok(answer) => {
                let read = read(answer);
                let whole = read.is_ok();
                (read, whole)
            }
            Err(_) if limits.is_cancelled() => (Err(scope::cancelled()), false),
            Err(error) if error.kind() == ErrorKind::BrokerGone => {
                // So are the others.
                self.state().idle.lock().clear();
                (Err(error), false)
            }
            // An answer came, so the connection is in order; after these, none did, or nobody knows to what.
            Err(error) => {
                let whole = !matches!(
                    error.kind(),
                    ErrorKind::Protocol | ErrorKind::Os | ErrorKind::Timeout | ErrorKind::Cancelled
                );
                (Err(error), whole)
            }
        };
        drop(watched);
        // One that was cancelled at the last moment is closed already.
        if whole && !limits.is_cancelled() {
            self.state().idle.lock().push(connection);
        }
        answer
    }

    /// Says something that has no answer, without waiting.
    fn tell(&self, request: Request, body: &[u8]) {
        if !self.fork.is_ours() {
            return;
        }
        let told = self.state().first.lock().as_ref().map_or(Ok(()), |first| first.tell(request, body));
        if let Err(error) = told {
            tracing::debug!(%error, "the broker could not be told");
        }
    }

    /// One that nobody uses, or a new one, for which the broker is waited for at most so long.
    fn connection(&self, patience: Option<Duration>) -> Result<Box<Connection>> {
        if !self.fork.is_ours() {
            return Err(Error::new(ErrorKind::Forked, "this manager was inherited through fork and does nothing here")
                .help("connect in the child"));
        }
        if let Some(connection) = self.state().idle.lock().pop() {
            return Ok(connection);
        }
        let mut connection = Box::new(self.open()?);
        let patience = patience.map_or(PATIENCE, |patience| patience.min(PATIENCE));
        let joined = connection.call(Request::Join, &[bytemuck::bytes_of(&self.join())], Some(patience)).map(|_| ());
        joined.map_err(|error| self.refused(error))?;
        Ok(connection)
    }

    /// A new connection, which has yet to say of which session it is.
    fn open(&self) -> Result<Connection> {
        // Seen from a session, a broker that is not found, or that has another region, is one that has gone.
        let gone = |error: Error| match error.kind() {
            ErrorKind::BrokerNotFound => gone(&self.name),
            ErrorKind::Refused => Error::new(ErrorKind::BrokerGone, error.message()).help(error.advice().to_owned()),
            _ => error,
        };
        if !self.is_connected() {
            self.reconnect().map_err(gone)?;
        }
        Connection::open(&self.place).map_err(gone)
    }

    /// What a further connection says of itself.
    fn join(&self) -> Join {
        // Relaxed: a token that is too old is refused.
        let state = self.state();
        Join { token: state.token.load(Ordering::Relaxed), session: u32::from(state.session.0), reserved: 0 }
    }

    /// What it means if that is not believed.
    fn refused(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Protocol => {
                Error::new(ErrorKind::BrokerGone, format!("the broker '{}' has ended this session", self.name))
                    .help("connect again; what was held by this session is lost")
            }
            _ => error,
        }
    }

    /// Takes the session to the broker that has followed the dead one, and the region with it. Does nothing while the broker is there.
    ///
    /// # Errors
    /// `BrokerNotFound` if none is there yet, `BrokerGone` if it ends again; `Refused` if the new one has another region.
    pub(super) fn reconnect(&self) -> Result<()> {
        let _alone = self.state().reconnecting.lock();
        if self.is_connected() {
            return Ok(());
        }
        let has_left = || Error::new(ErrorKind::BrokerGone, "this session has left its broker");
        if self.state().first.lock().is_none() {
            return Err(has_left());
        }
        let mut connection = Connection::log_in(&self.place, &self.login, PATIENCE)?;
        let region_id = self.region.header().region_id.load(Ordering::Relaxed);
        let back = HandBack::of(region_id, self.state().session, self.state().generation, self.rights);
        let body = [bytemuck::bytes_of(&back)];
        let answer = match self.rights {
            Rights::All => connection.call_sending(Request::HandBack, &body, self.region.file(), Some(PATIENCE))?,
            // What it has can't be written: somebody else hands the region back.
            Rights::Read => connection.call(Request::HandBack, &body, Some(PATIENCE))?,
        };
        let welcome: Welcome = message::fixed(answer)?;
        self.state().token.store(welcome.token, Ordering::Relaxed);
        self.state().idle.lock().clear();
        self.state().orders.lock().clear();
        match &mut *self.state().first.lock() {
            Some(first) => *first = connection,
            None => return Err(has_left()),
        }
        self.bring();
        tracing::info!(broker = self.name, "came back to a new broker");
        Ok(())
    }

    /// Gives a broker that has followed another one the files of the frozen objects that are read here. The session is back in any case.
    fn bring(&self) {
        let join = self.join();
        for (object, bytes) in self.files.all() {
            let of = Of { object: object.to_bits() };
            let body = [bytemuck::bytes_of(&join), bytemuck::bytes_of(&of)];
            let brought = Connection::open(&self.place).and_then(|mut connection| {
                connection.call_sending(Request::Bring, &body, bytes.file(), Some(PATIENCE)).map(|_| ())
            });
            let Err(error) = brought else { continue };
            tracing::debug!(%error, %object, "the broker does not take a frozen object back");
            if matches!(error.kind(), ErrorKind::BrokerGone | ErrorKind::BrokerNotFound | ErrorKind::Timeout) {
                return;
            }
        }
    }

    /// The connection whose end is the session's or the broker's.
    pub(super) fn first_stream(&self) -> Option<Arc<UnixStream>> {
        self.state().stream()
    }

    /// Whether the broker is still there: its death closes the first connection at once, and it never speaks there unasked.
    pub(super) fn is_connected(&self) -> bool {
        self.state().first.lock().as_ref().is_some_and(|first| !first.is_closed())
    }

    pub(super) fn set_child(&self, child: BrokerChild) {
        *self.state().child.lock() = Some(child);
    }

    /// Leaves in order: says so on every connection, then ends the broker if it is a child.
    fn leave(&self) {
        // A forked child shares the descriptors: what it says would be said for its parent.
        if !self.fork.is_ours() {
            std::mem::forget(self.state().child.lock().take());
            return;
        }
        self.state().orders.lock().clear();
        for connection in self.state().idle.lock().drain(..).chain(self.state().first.lock().take().map(Box::new)) {
            let _ = connection.tell(Request::Leave, &[]);
            // Wakes the thread that watches it.
            let _ = connection.stream().shutdown(Shutdown::Both);
        }
        drop(self.state().child.lock().take());
    }
}

/// What the session itself says to the broker; dropped with it.
struct Line(Arc<Connections>);

impl Link for Line {
    fn returned(&self) {
        self.0.tell(Request::Returned, &[]);
    }

    fn lost(&self) {
        self.0.tell(Request::Lost, &[]);
    }

    fn deadline(&self, at: u64) {
        self.0.tell(Request::Deadline, bytemuck::bytes_of(&At { boot_nanos: at }));
    }

    fn begin_anew(&self) {
        if let Err(error) = watch::start(&self.0) {
            tracing::warn!(%error, "the end of the broker will be noticed late");
        }
    }

    fn take(&self, object: ObjectId, ticket: Option<TicketPlace>) -> Result<()> {
        let (index, serial) = ticket.map_or((0, 0), |place| (place.index, place.serial));
        let take = Take { object: object.to_bits(), index, serial, has_ticket: u64::from(ticket.is_some()) };
        self.0.ask(Request::Take, &[bytemuck::bytes_of(&take)], Some(PATIENCE), |_| Ok(()))
    }

    fn fetch(&self, object: ObjectId) -> Result<OwnedFd> {
        let mut connection = self.0.connection(Some(PATIENCE))?;
        let of = Of { object: object.to_bits() };
        let (_, file) = connection.call_with(Request::Fetch, &[bytemuck::bytes_of(&of)], Some(PATIENCE))?;
        let file = file.ok_or_else(|| message::protocol("the broker sent no file"));
        self.0.state().idle.lock().push(connection);
        file
    }

    fn give_back(&self, object: ObjectId, count: u64) -> Result<()> {
        let back = GiveBack { object: object.to_bits(), count };
        // Whatever limits hold where the last proxy is dropped.
        scope::without_limits(|| {
            self.0.ask(Request::GiveBack, &[bytemuck::bytes_of(&back)], Some(PATIENCE), |_| Ok(()))
        })
    }

    fn call(&self, session: &Arc<Session>, ask: Ask<'_>, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        call::outgoing(session, &*self.0, ask, |kind, body| {
            self.0.ask(kind, body, None, |answer| call::read_result(session, answer, read))
        })
    }
}

fn gone(name: &str) -> Error {
    Error::new(ErrorKind::BrokerGone, format!("the broker '{name}' has ended")).help(
        "objects that are held can still be used; for the rest start the broker again: its clients find it by themselves",
    )
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Attaches this process to the broker of this name, or finds the session it has: that has proven what there was to prove.
pub(super) fn attach(name: &str, login: &Login, rights: Rights) -> Result<(Arc<Session>, Arc<Connections>)> {
    let place = Place::of(name)?;
    let key = (place.socket_path(), rights);
    let mut sessions = SESSIONS.get().lock();
    if let Some((session, channel)) = sessions.get(&key)
        && let (Some(session), Some(channel)) = (session.upgrade(), channel.upgrade())
        && session.is_ours()
        && (channel.is_connected() || channel.reconnect().is_ok())
    {
        return Ok((session, channel));
    }
    let (session, channel) = attach_anew(name, &place, login, rights)?;
    sessions.retain(|_, (session, _)| session.strong_count() > 0);
    sessions.insert(key, (Arc::downgrade(&session), Arc::downgrade(&channel)));
    Ok((session, channel))
}

/// The session of this process with a region, if it has one, wherever its broker is: rather one that may write.
pub(super) fn attached_to(region_id: u64) -> Option<(Arc<Session>, Arc<Connections>)> {
    let sessions = SESSIONS.get().lock();
    let found = sessions.values().filter_map(|(session, channel)| {
        let session = session.upgrade().filter(|session| session.is_ours())?;
        let is_it = session.region().header().region_id.load(Ordering::Relaxed) == region_id;
        is_it.then_some((session, channel.upgrade()?))
    });
    found.min_by_key(|(session, _)| session.only_reads())
}

fn session_of(welcome: &Welcome) -> Result<SessionIndex> {
    u16::try_from(welcome.session).map(SessionIndex).map_err(|_| message::protocol("a session number is too large"))
}

fn attach_anew(name: &str, place: &Place, login: &Login, rights: Rights) -> Result<(Arc<Session>, Arc<Connections>)> {
    fork::watch_forks()?;
    let mut first = Connection::log_in(place, login, PATIENCE)?;
    let attach = Attach::with(rights);
    let (body, fd) = first.call_with(Request::Attach, &[bytemuck::bytes_of(&attach)], Some(PATIENCE))?;
    let welcome: Welcome = message::fixed(body)?;
    check_layout(welcome.version, welcome.fingerprint)?;
    let fd = fd.ok_or_else(|| message::protocol("the broker sent no region"))?;
    let region = Arc::new(Region::received(fd, rights)?);
    let index = session_of(&welcome)?;
    let generation = Generation(welcome.generation);
    let session = Session::new(Arc::clone(&region), index, generation, rights)?;
    let channel = Arc::new(Connections {
        name: name.to_owned(),
        place: place.clone(),
        login: login.clone(),
        region,
        rights,
        files: Arc::clone(session.files()),
        fork: ForkToken::of_this_process()?,
        state: PerProcess::new(State::new(index, generation, welcome.token, Some(first))),
    });
    session.set_link(Box::new(Line(Arc::clone(&channel))));
    watch::start(&channel)?;
    Ok((session, channel))
}
