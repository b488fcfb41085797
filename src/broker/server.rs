//! The event loop: accepts, answers all that takes no time, and hands connections that call to threads.

use std::collections::{BTreeSet, HashMap};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adopt::{self, Estate, Living};
use super::attached::{Attached, LEFT, watch_end};
use super::callers::Callers;
use super::config::Config;
use super::directory::Waiting;
use super::door::Door;
use super::freezer::Seeking;
use super::gate::{self, Gate};
use super::handback::Expecting;
use super::host::Host;
use super::lending;
use super::mailbox::{Errand, Left, Mailbox};
use super::peer::{Asked, Connection};
use super::room::Line;
use super::structure;
use crate::class::ClassTable;
use crate::control::message::{self, At, HeapUse, Request};
use crate::control::ring::{self, AnswererEnd, Ring};
use crate::error::{Error, ErrorKind, Result};
use crate::region::constants::Constants;
use crate::region::layout::{BrokerState, Map};
use crate::region::{Backing, Region, SessionIndex, SlotIndex};
use crate::session::Session;
use crate::sync::atomic::Ordering;
use crate::sys::claim::Claim;
use crate::sys::memory::Memory;
use crate::sys::poller::{Poller, Ready};
use crate::sys::{clock, place, process, socket};
use crate::table::alarm::NEVER;
use crate::table::sessions;
use crate::table::tickets::LiveTicket;

pub(super) const LISTENER: u64 = 0;
const STOP: u64 = 1;
const BELL: u64 = 2;
const ALARM: u64 = 3;
/// Keys of sessions' pidfds start here; keys of connections go from 4 up and never come near.
pub(super) const PIDFDS: u64 = 1 << 48;

/// The longest that the loop sleeps without a look: no time that somebody has asked for is too large for the system.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// How long a reply of a dead broker may still be read.
const REPLY_PATIENCE: Duration = Duration::from_secs(10);

/// How long methods that run at the end of the broker may take.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A connection that a thread serves.
pub(super) struct Away {
    pub(super) stream: Arc<UnixStream>,
    pub(super) session: Option<SessionIndex>,
    /// Where the thread waits, if it does not wait at the socket.
    ring: Option<Arc<Ring>>,
}

impl Away {
    /// Has the thread see that nobody calls any more.
    pub(super) fn end(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.ring.iter().for_each(|ring| ring.close());
    }
}

pub(super) struct Server {
    pub(super) region: Arc<Region>,
    /// The broker is a session like any other.
    pub(super) session: Arc<Session>,
    pub(super) host: Arc<Host>,
    pub(super) classes: Vec<Arc<ClassTable>>,
    pub(super) config: Config,
    pub(super) callers: Arc<Callers>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) poller: Poller,
    pub(super) door: Door,
    pub(super) gate: Gate,
    stop: Vec<OwnedFd>,
    pub(super) connections: HashMap<u64, Connection>,
    pub(super) away: HashMap<u64, Away>,
    pub(super) next_key: u64,
    pub(super) sessions: HashMap<SessionIndex, Attached>,
    /// Sessions that have ended before their processes: those may go on counting, so the numbers are not given to others yet.
    pub(super) retired: HashMap<SessionIndex, Attached>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) expecting: Option<Expecting>,
    pub(super) seeking: Option<Seeking>,
    /// Clients that wait for room.
    pub(super) line: Line,
    pub(super) constants: Constants,
    /// What was found to be damaged.
    pub(super) findings: Vec<String>,
    /// When the tickets are looked at, as [`Alarm`](crate::table::alarm::Alarm) has it for all.
    pub(super) alarm: u64,
    /// When they were looked at.
    pub(super) looked: u64,
    /// References in replies of a dead broker, and when they are given up.
    pub(super) replies: Option<(Instant, Vec<LiveTicket>)>,
    /// Slots to be audited again: a reference was being moved when they were looked at.
    pub(super) due: BTreeSet<SlotIndex>,
    /// When, and how long after the time before.
    pub(super) due_at: Option<(Instant, Duration)>,
    pub(super) patrolled: Option<Instant>,
    stopping: bool,
    /// Last: the name is free only when all the rest is gone.
    claim: Claim,
}

impl Server {
    /// Claims the name, makes the region or takes over that of a dead broker, and listens.
    pub(super) fn new(config: &Config, classes: &[Arc<ClassTable>]) -> Result<Self> {
        config.check()?;
        let claim = Claim::take(&config.name, config.is_for_others())?;
        if config.fresh {
            place::remove_segment(&place::segment_name(&config.name))?;
        }
        let mailbox = Arc::new(Mailbox::new()?);
        let abandoned = adopt::abandoned_segment(&config.name, config.backing)?;
        // Of a memfd nothing is left but what clients have: they hand it back.
        let is_expecting = !config.fresh && claim.is_successor() && abandoned.is_none();
        let estate = match abandoned {
            Some(region) => Estate::take_over(Arc::new(region), classes, Arc::clone(&mailbox))?,
            None => Estate::found(Arc::new(new_region(config)?), classes, Arc::clone(&mailbox))?,
        };
        let poller = Poller::new()?;
        poller.add(mailbox.bell(), BELL)?;
        let constants = Constants::of(estate.session.region());
        let mut server = Self {
            callers: Callers::new(&estate.host, Arc::clone(&mailbox)),
            region: estate.session.region_arc(),
            session: estate.session,
            host: estate.host,
            classes: classes.to_vec(),
            config: config.clone(),
            mailbox,
            poller,
            door: Door::new(socket::listen(claim.socket_path(), config.is_for_others())?)?,
            gate: Gate::new(config.authkey.clone()),
            stop: Vec::new(),
            connections: HashMap::new(),
            away: HashMap::new(),
            next_key: 4,
            sessions: HashMap::new(),
            retired: HashMap::new(),
            waiting: Vec::new(),
            expecting: None,
            seeking: None,
            line: Line::default(),
            constants,
            findings: Vec::new(),
            alarm: NEVER,
            looked: 0,
            replies: None,
            due: BTreeSet::new(),
            due_at: None,
            patrolled: None,
            stopping: false,
            claim,
        };
        server.settle(estate.living, estate.busy, estate.replies)?;
        server.poller.add(server.door.listener(), LISTENER)?;
        server.poller.add(server.door.alarm(), ALARM)?;
        if is_expecting {
            server.expecting = Some(Expecting::begin());
        }
        tracing::info!(broker = config.name, bytes = server.region.map().end, "serving");
        Ok(server)
    }

    /// Begins to serve what was taken over, or made.
    pub(super) fn settle(&mut self, living: Vec<Living>, busy: Vec<SlotIndex>, replies: Vec<LiveTicket>) -> Result<()> {
        for Living { index, pid, pidfd, parent } in living {
            if let Some(pidfd) = &pidfd {
                watch_end(&self.poller, index, pidfd)?;
            }
            let Some(entry) = self.region.session(index).map(sessions::Entry::of) else { continue };
            let attached =
                Attached { pidfd, token: random()?, pid, parent, is_connected: false, entry, connections: 0 };
            self.sessions.insert(index, attached);
        }
        self.look_again(&busy);
        self.look_at_tickets(0);
        self.seek_files();
        self.replies = (!replies.is_empty()).then(|| (Instant::now() + REPLY_PATIENCE, replies));
        self.region.header().broker_state.store(BrokerState::Serving as u32, Ordering::Release);
        self.constants = Constants::of(&self.region);
        Ok(())
    }

    /// Stops when this descriptor becomes readable.
    pub(super) fn stop_on(&mut self, fd: OwnedFd) -> Result<()> {
        self.poller.add(&fd, STOP)?;
        self.stop.push(fd);
        Ok(())
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) -> Result<()> {
        let ended = self.serve_all();
        if let Err(error) = &ended {
            tracing::error!(%error, "the broker can't go on");
        }
        for connection in self.connections.values_mut() {
            let _ = connection.flush();
        }
        for away in self.away.values() {
            away.end();
        }
        self.callers.stop(STOP_PATIENCE);
        self.host.clear(STOP_PATIENCE);
        self.region.header().broker_state.store(BrokerState::Stopped as u32, Ordering::Release);
        structure::release(&self.session);
        tracing::info!(broker = %self.claim.socket_path().display(), "stopped");
        ended
    }

    fn serve_all(&mut self) -> Result<()> {
        while !self.stopping {
            // Memory goes back to the system in small pieces, when nobody asks for anything.
            let idle = if self.host.books().cool() { Some(Duration::ZERO) } else { self.until_next_deadline() };
            let ready = self.poller.wait(idle)?;
            self.mend_length()?;
            for ready in ready {
                self.handle(ready);
            }
            self.serve_line();
            self.expire_waiting();
            self.expire_tickets();
            self.expire_replies();
            self.expire_expecting();
            self.expire_seeking();
            self.expire_strangers();
            self.audit_due();
            self.look_for_lost();
        }
        Ok(())
    }

    fn until_next_deadline(&self) -> Option<Duration> {
        let waiting = self.waiting.iter().filter_map(|waiting| waiting.until).min();
        let waiting = waiting.map(|until| until.saturating_duration_since(Instant::now()));
        let ticket =
            (self.alarm != NEVER).then(|| Duration::from_nanos(self.alarm.saturating_sub(clock::boot_nanos())));
        let door = self.door.next().into_iter();
        let others = door.chain(self.due_at.map(|(at, _)| at)).chain(self.lost_at());
        let fixed = self.expecting.iter().map(|expecting| expecting.until);
        let fixed = fixed.chain(self.seeking.iter().map(|seeking| seeking.until));
        let others = others.chain(fixed).chain(self.replies.iter().map(|(until, _)| *until));
        let others = others.map(|at| at.saturating_duration_since(Instant::now()));
        let next = waiting.into_iter().chain(ticket).chain(others).chain(self.line.next()).min();
        next.map(|next| next.min(LONGEST_SLEEP))
    }

    fn handle(&mut self, ready: Ready) {
        match ready.key {
            LISTENER => self.accept(),
            STOP => self.stopping = true,
            BELL => self.run_errands(),
            ALARM => self.end_rest(),
            key if key >= PIDFDS => self.end_session(SessionIndex((key - PIDFDS) as u16), "its process has ended"),
            key if self.away.contains_key(&key) => self.end_away(key),
            key => {
                if ready.writable {
                    self.flush(key);
                }
                if ready.readable {
                    self.serve(key);
                }
            }
        }
    }

    /// Reads from a connection and answers all that has arrived whole.
    fn serve(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        match connection.read() {
            Ok(true) => {}
            Ok(false) => return self.close(key, None),
            Err(error) => return self.close(key, Some(&error.to_string())),
        }
        self.answer_received(key);
    }

    pub(super) fn answer_received(&mut self, key: u64) {
        loop {
            let Some(connection) = self.connections.get_mut(&key) else { return };
            match connection.next() {
                Ok(Some(asked)) if connection.waits && asked.request != Request::Leave => {
                    return self.close(key, Some("it asks something while it waits for an answer"));
                }
                Ok(Some(asked)) if asked.request.is_call() && may_call(&self.sessions, connection.session) => {
                    self.hand_over(key, asked)
                }
                Ok(Some(asked)) => self.answer_or_hold(key, asked),
                Ok(None) => return,
                Err(error) => return self.close(key, Some(error.message())),
            }
        }
    }

    pub(super) fn answer(&mut self, key: u64, asked: &Asked) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        self.host.settle(connection);
        let (session, pid) = (connection.session, connection.peer.pid);
        if !matches!(asked.request, Request::HandBack | Request::Freeze | Request::Bring) {
            // Nobody has asked for it.
            connection.descriptor = None;
        }
        let result = match (asked.request, session) {
            (request, None) if !self.gate.admits(connection, request) => Err(gate::wants_proof()),
            (Request::Challenge, None) => self.challenge(key),
            (Request::Prove, None) => self.prove(key, asked.body()),
            (Request::Attach, None) => return self.attach(key, asked),
            (Request::Join, None) => self.join(key, asked.body()).map(|_| Vec::new()),
            (Request::Freeze, None) => self.freeze(key, asked.body()),
            (Request::Bring, None) => self.take_file(key, asked.body()),
            (Request::HandBack, None) => self.take_hand_back(key, asked),
            (Request::Fork, None) => self.prepare_child(key, asked.body()),
            (request, Some(_)) if request.is_first() => Err(message::protocol("this connection is attached already")),
            (_, None) => Err(message::protocol("the first message of a connection is attach, join or hand-back")),
            (request, Some(session)) if !request.only_reads() && lending::only_reads(&self.sessions, session) => {
                Err(lending::refused())
            }
            (Request::Fetch, Some(_)) => return self.fetch(key, asked),
            (Request::Ring, Some(_)) => return self.give_ring(key, asked),
            (Request::Claim, Some(session)) => return self.complete_child(key, session),
            (Request::Take, Some(session)) => self.lend(session, asked.body()),
            (Request::GiveBack, Some(session)) => self.take_in(session, asked.body()),
            (Request::Leave, Some(_)) => {
                connection.has_left = true;
                return self.close(key, None);
            }
            (Request::Deadline, Some(_)) => {
                match message::fixed::<At>(asked.body()) {
                    Ok(at) => self.look_at_tickets(at.boot_nanos),
                    Err(error) => self.close(key, Some(error.message())),
                }
                return;
            }
            (Request::Returned, Some(_)) => return self.host.take_back(),
            (Request::Lost, Some(_)) => return self.host.books().note_lost(),
            (Request::Wait, Some(_)) => match self.wait(key, asked) {
                Ok(true) => Ok(Vec::new()),
                Ok(false) => return self.let_wait(key),
                Err(error) => Err(error),
            },
            (Request::Create, Some(session)) => {
                message::unarchive(asked.body()).and_then(|create| self.grant(key, &create, session))
            }
            (Request::Slab, Some(session)) => self.grant_slab(key, asked.body(), session),
            (Request::CreateWithin, Some(session)) => match self.create_within(key, asked, session) {
                Ok(Some(granted)) => Ok(granted),
                Ok(None) => return self.let_wait(key),
                Err(error) => Err(error),
            },
            (request, Some(_)) => self.perform(request, asked.body(), pid),
        };
        let bytes = match &result {
            Ok(body) => message::reply(asked.request, asked.id, body),
            Err(error) => message::failure(asked.id, error),
        };
        self.send(key, &bytes);
        if matches!(&result, Err(error) if matches!(error.kind(), ErrorKind::Protocol | ErrorKind::WrongAuthkey | ErrorKind::TooManyTries))
        {
            self.close(key, result.err().as_ref().map(Error::message));
        }
    }

    /// Does what a client or a method asks, of which the answer is there at once.
    fn perform(&mut self, request: Request, body: &[u8], pid: u32) -> Result<Vec<u8>> {
        match request {
            Request::Publish => self.publish(body, pid),
            Request::Unpublish => self.unpublish(body),
            Request::Audit => Ok(bytemuck::bytes_of(&self.audit_all()).to_vec()),
            Request::Examine => self.examine(),
            Request::Usage => Ok(bytemuck::bytes_of(&self.heap_use()).to_vec()),
            Request::ClearPoison => self.host.clear_poison(&message::fixed(body)?).map(|()| Vec::new()),
            Request::Shutdown => {
                self.stopping = true;
                Ok(Vec::new())
            }
            other => Err(message::protocol(format!("{other:?} can't be asked here"))),
        }
    }

    /// Gives a connection that calls to a thread.
    fn hand_over(&mut self, key: u64, asked: Asked) {
        let Some(connection) = self.connections.remove(&key) else { return };
        let ring = connection.shared();
        // One that waits at a ring does not see the end of the socket.
        if ring.is_none() || self.poller.watch_closing(&connection.stream, key).is_err() {
            self.poller.remove(&connection.stream);
        }
        self.away.insert(key, Away { stream: Arc::clone(&connection.stream), session: connection.session, ring });
        self.callers.serve(key, connection, asked);
    }

    /// Tells the thread of a connection that the client has closed it.
    fn end_away(&mut self, key: u64) {
        let Some(away) = self.away.get(&key) else { return };
        self.poller.remove(&away.stream);
        away.end();
    }

    /// Gives a connection a ring for its calls.
    fn give_ring(&mut self, key: u64, asked: &Asked) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let made = if !ring::is_wanted() {
            Err(Error::new(ErrorKind::Refused, "this broker does without call rings"))
        } else if connection.ring.is_some() {
            Err(message::protocol("the connection has a call ring already"))
        } else {
            // Without memory or descriptors calls go on over the socket.
            Ring::create().map_err(|error| Error::new(ErrorKind::Refused, error.message()))
        };
        let sent = match made {
            Ok((ring, fd)) => {
                connection.ring = Some(AnswererEnd::new(ring));
                connection.send_with(&message::reply(Request::Ring, asked.id, &[]), fd)
            }
            Err(error) if error.kind() == ErrorKind::Protocol => return self.close(key, Some(error.message())),
            Err(error) => connection.send(&message::failure(asked.id, &error)),
        };
        if let Err(error) = sent {
            self.close(key, Some(&error.to_string()));
        }
    }

    fn run_errands(&mut self) {
        for errand in self.mailbox.take() {
            match errand {
                Errand::Back { key, connection, left } => self.come_back(key, connection, left),
                Errand::Ask { request, body, answer } => {
                    // The method may have given up.
                    let _ = answer.send(self.perform(request, &body, std::process::id()));
                }
                Errand::Deadline(at) => self.look_at_tickets(at),
            }
        }
        self.host.take_back();
    }

    /// Takes a connection back from its thread.
    fn come_back(&mut self, key: u64, connection: Connection, left: Left) {
        if self.away.remove(&key).is_none() {
            // Its session has ended meanwhile, and another process may have its number.
            return self.give_up(connection);
        }
        // Its end may have been watched.
        self.poller.remove(&connection.stream);
        let watched = self.poller.add(&connection.stream, key);
        self.connections.insert(key, connection);
        if let Err(error) = watched {
            return self.close(key, Some(error.message()));
        }
        match left {
            Left::Idle => {}
            Left::Asked(asked) => self.answer(key, &asked),
            Left::Closed(fault) => return self.close(key, fault.as_deref()),
        }
        // What the thread has read already brings no event.
        self.answer_received(key);
    }

    pub(super) fn connection(&mut self, key: u64) -> Result<&mut Connection> {
        connection(&mut self.connections, key)
    }

    pub(super) fn let_wait(&mut self, key: u64) {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.waits = true;
        }
    }

    /// Answers one that was let wait.
    pub(super) fn answer_late(&mut self, key: u64, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.waits = false;
        }
        self.send(key, bytes);
    }

    fn heap_use(&mut self) -> HeapUse {
        self.host.take_back();
        let books = self.host.books();
        let (heap, kept) = (books.heap(), books.idle_bytes());
        HeapUse {
            capacity: heap.capacity(),
            free: heap.free_bytes() + kept,
            kept,
            largest: heap.largest(),
            warm: heap.warm_bytes(),
            damaged: books.damaged().into(),
            waiting: self.line.len() as u64,
        }
    }

    pub(super) fn send(&mut self, key: u64, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if let Err(error) = connection.send(bytes) {
            return self.close(key, Some(&error.to_string()));
        }
        self.watch_writing(key);
    }

    fn flush(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if let Err(error) = connection.flush() {
            return self.close(key, Some(&error.to_string()));
        }
        self.watch_writing(key);
    }

    fn watch_writing(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let wanted = connection.has_unsent();
        if wanted != connection.writing && self.poller.watch_writing(&connection.stream, key, wanted).is_ok() {
            connection.writing = wanted;
        }
    }

    /// Closes a connection; with the first one its session ends. `fault` says what the client did wrong.
    pub(super) fn close(&mut self, key: u64, fault: Option<&str>) {
        let Some(connection) = self.connections.remove(&key) else { return };
        if let Some(fault) = fault {
            tracing::warn!(pid = connection.peer.pid, fault, "a connection was closed");
        }
        self.poller.remove(&connection.stream);
        self.waiting.retain(|waiting| waiting.connection != key);
        self.line.forget(key);
        let (session, is_first, has_left) = (connection.session, connection.is_first, connection.has_left);
        self.give_up(connection);
        let Some(session) = session else { return };
        if let Some(attached) = self.sessions.get_mut(&session) {
            attached.connections = attached.connections.saturating_sub(1);
        }
        if is_first {
            self.end_session(session, if has_left { LEFT } else { "its connection was closed" });
        }
    }

    /// Gives up what a connection was told about and has not taken.
    fn give_up(&mut self, mut connection: Connection) {
        self.host.settle(&mut connection);
        self.host.take_back();
    }
}

/// Whether what a connection asks is given to a thread; what a session may not ask is answered here.
fn may_call(sessions: &HashMap<SessionIndex, Attached>, session: Option<SessionIndex>) -> bool {
    session.is_some_and(|session| !lending::only_reads(sessions, session))
}

fn new_region(config: &Config) -> Result<Region> {
    let len = Map::of(config.capacities).end;
    let memory = match config.backing {
        Backing::Memfd => Memory::memfd(&format!("sharehold:{}", config.name), len)?,
        Backing::Segment => Memory::create_segment(&place::segment_name(&config.name), len)?,
    };
    let region = Region::create(memory, &config.name, config.capacities, [random()?, random()?, random()?])?;
    if config.huge_pages {
        region.use_huge_pages();
    }
    Ok(region)
}

pub(super) fn random() -> Result<u64> {
    process::random().map(u64::from_ne_bytes)
}

/// A connection that is being answered. For those who need other parts of the server beside it; else [`Server::connection`].
pub(super) fn connection(connections: &mut HashMap<u64, Connection>, key: u64) -> Result<&mut Connection> {
    connections.get_mut(&key).ok_or_else(|| message::protocol("the connection has gone"))
}
