//! The event loop: accepts, answers all that takes no time, and hands connections that call to threads.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adopt::{self, Estate, Living};
use super::callers::Callers;
use super::config::Config;
use super::directory::Waiting;
use super::door::{self, Door};
use super::gate::{self, Gate};
use super::host::Host;
use super::lending;
use super::mailbox::{Errand, Left, Mailbox};
use super::peer::{Asked, Connection};
use super::room::Line;
use super::structure;
use super::sweep::sweep;
use crate::class::ClassTable;
use crate::control::message::{self, At, Attach, HandBack, HeapUse, Join, Request, Welcome};
use crate::error::{Error, ErrorKind, Result};
use crate::object::transit::Written;
use crate::region::constants::Constants;
use crate::region::layout::{BrokerState, FINGERPRINT, Map, VERSION};
use crate::region::region::check_layout;
use crate::region::{Backing, Generation, Region, Rights, SessionIndex, SlotIndex};
use crate::session::Session;
use crate::sync::atomic::Ordering;
use crate::sys::claim::Claim;
use crate::sys::memory::Memory;
use crate::sys::poller::{Poller, Ready};
use crate::sys::{clock, place, process, socket};
use crate::table::counting::SessionState;
use crate::table::tickets::LiveTicket;
use crate::table::{sessions, tickets};

pub(super) const LISTENER: u64 = 0;
const STOP: u64 = 1;
const BELL: u64 = 2;
const ALARM: u64 = 3;
/// Keys of sessions' pidfds start here; keys of connections go from 4 up and never come near.
pub(super) const PIDFDS: u64 = 1 << 48;

/// The longest that the loop sleeps without a look: no time that somebody has asked for is too large for the system.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);
/// Most connections of a session: one for each of its threads that is calling.
const MOST_CONNECTIONS: usize = 1024;
/// Most sessions of a process: it needs one, and others for its children.
const MOST_SESSIONS: usize = 64;

/// An attached process, as the broker privately knows it.
pub(super) struct Attached {
    /// Its pidfd; readable when it ends. `None` for one that is about to be forked and has not said yet who it is.
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) token: u64,
    /// Of one that is about to be forked its parent's.
    pub(super) pid: u32,
    /// The session that it was forked from, while its own ends with its connection alone: see `forked.rs`.
    pub(super) parent: Option<SessionIndex>,
    /// False for one that has outlived another broker and has not come back yet.
    pub(super) is_connected: bool,
    /// What its entry in the region says.
    pub(super) entry: sessions::Entry,
    pub(super) connections: usize,
}

/// Why a session has ended that is over for good.
const LEFT: &str = "it has left";

/// How long a broker whose predecessor has died waits for somebody who has the region, before it begins with an empty one. Clients that live hand it back within
/// milliseconds.
const HAND_BACK_PATIENCE: Duration = Duration::from_millis(500);
/// How long a reply of a dead broker may still be read.
const REPLY_PATIENCE: Duration = Duration::from_secs(10);

/// How long methods that run at the end of the broker may take.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A connection that a thread serves.
struct Away {
    stream: Arc<UnixStream>,
    session: Option<SessionIndex>,
}

/// New clients wait for the region to come back.
struct Expecting {
    until: Instant,
    held: Vec<(u64, Asked)>,
}

pub(super) struct Server {
    pub(super) region: Arc<Region>,
    /// The broker is a session like any other.
    pub(super) session: Arc<Session>,
    pub(super) host: Arc<Host>,
    classes: Vec<Arc<ClassTable>>,
    pub(super) config: Config,
    callers: Arc<Callers>,
    mailbox: Arc<Mailbox>,
    pub(super) poller: Poller,
    pub(super) door: Door,
    pub(super) gate: Gate,
    stop: Vec<OwnedFd>,
    pub(super) connections: HashMap<u64, Connection>,
    away: HashMap<u64, Away>,
    pub(super) next_key: u64,
    pub(super) sessions: HashMap<SessionIndex, Attached>,
    /// Sessions that have ended before their processes: those may go on counting, so the numbers are not given to others yet.
    pub(super) retired: HashMap<SessionIndex, Attached>,
    pub(super) waiting: Vec<Waiting>,
    expecting: Option<Expecting>,
    /// Clients that wait for room.
    pub(super) line: Line,
    pub(super) constants: Constants,
    /// What was found to be damaged.
    pub(super) findings: Vec<String>,
    /// Times of the boot clock at which tickets expire.
    deadlines: BTreeSet<u64>,
    /// References in replies of a dead broker, and when they are given up.
    replies: Option<(Instant, Vec<LiveTicket>)>,
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
            line: Line::default(),
            constants,
            findings: Vec::new(),
            deadlines: BTreeSet::new(),
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
            server.expecting = Some(Expecting { until: Instant::now() + HAND_BACK_PATIENCE, held: Vec::new() });
        }
        tracing::info!(broker = config.name, bytes = server.region.map().end, "serving");
        Ok(server)
    }

    /// Begins to serve what was taken over, or made.
    fn settle(&mut self, living: Vec<Living>, busy: Vec<SlotIndex>, replies: Vec<LiveTicket>) -> Result<()> {
        for Living { index, pid, pidfd, parent } in living {
            if let Some(pidfd) = &pidfd {
                self.poller.add(pidfd, PIDFDS + u64::from(index.0))?;
            }
            let Some(entry) = self.region.session(index).map(sessions::Entry::of) else { continue };
            let attached =
                Attached { pidfd, token: random()?, pid, parent, is_connected: false, entry, connections: 0 };
            self.sessions.insert(index, attached);
        }
        self.look_again(&busy);
        self.note_deadlines();
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
            let _ = away.stream.shutdown(Shutdown::Both);
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
            self.expire_strangers();
            self.audit_due();
            self.look_for_lost();
        }
        Ok(())
    }

    fn until_next_deadline(&self) -> Option<Duration> {
        let waiting = self.waiting.iter().filter_map(|waiting| waiting.until).min();
        let waiting = waiting.map(|until| until.saturating_duration_since(Instant::now()));
        let ticket = self.deadlines.first().map(|at| Duration::from_nanos(at.saturating_sub(clock::boot_nanos()) + 1));
        let door = self.door.next().into_iter();
        let others = door.chain(self.due_at.map(|(at, _)| at)).chain(self.lost_at());
        let fixed = self.expecting.iter().map(|expecting| expecting.until);
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

    fn answer_received(&mut self, key: u64) {
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

    /// Answers, unless it is a new client that has to wait for the region of a dead broker.
    fn answer_or_hold(&mut self, key: u64, asked: Asked) {
        match &mut self.expecting {
            Some(expecting) if asked.request == Request::Attach => expecting.held.push((key, asked)),
            _ => self.answer(key, &asked),
        }
    }

    fn answer(&mut self, key: u64, asked: &Asked) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        self.host.settle(connection);
        let (session, pid) = (connection.session, connection.peer.pid);
        if asked.request != Request::HandBack {
            // Nobody has asked for it.
            connection.descriptor = None;
        }
        let result = match (asked.request, session) {
            (request, None) if !self.gate.admits(connection, request) => Err(gate::wants_proof()),
            (Request::Challenge, None) => self.challenge(key),
            (Request::Prove, None) => self.prove(key, asked.body()),
            (Request::Attach, None) => return self.attach(key, asked),
            (Request::Join, None) => self.join(key, asked),
            (Request::HandBack, None) => self.take_hand_back(key, asked),
            (Request::Fork, None) => self.prepare_child(key, asked.body()),
            (
                Request::Attach
                | Request::Join
                | Request::HandBack
                | Request::Challenge
                | Request::Prove
                | Request::Fork,
                Some(_),
            ) => Err(message::protocol("this connection is attached already")),
            (_, None) => Err(message::protocol("the first message of a connection is attach, join or hand-back")),
            (request, Some(session)) if !request.only_reads() && lending::only_reads(&self.sessions, session) => {
                Err(lending::refused())
            }
            (Request::Claim, Some(session)) => return self.complete_child(key, session),
            (Request::Take, Some(session)) => self.lend(session, asked.body()),
            (Request::GiveBack, Some(session)) => self.take_in(session, asked.body()),
            (Request::Leave, Some(_)) => {
                connection.has_left = true;
                return self.close(key, None);
            }
            (Request::Deadline, Some(_)) => {
                match message::fixed::<At>(asked.body()) {
                    Ok(at) => self.note_deadline(at.boot_nanos),
                    Err(error) => self.close(key, Some(error.message())),
                }
                return;
            }
            (Request::Returned, Some(_)) => return self.host.take_back(),
            (Request::Wait, Some(_)) => match self.wait(key, asked) {
                Ok(true) => Ok(Vec::new()),
                Ok(false) => return self.let_wait(key),
                Err(error) => Err(error),
            },
            (Request::Create, Some(session)) => {
                message::unarchive(asked.body()).and_then(|create| self.grant(key, &create, session))
            }
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
        self.poller.remove(&connection.stream);
        self.away.insert(key, Away { stream: Arc::clone(&connection.stream), session: connection.session });
        self.callers.serve(key, connection, asked);
    }

    fn run_errands(&mut self) {
        for errand in self.mailbox.take() {
            match errand {
                Errand::Back { key, connection, left } => self.come_back(key, connection, left),
                Errand::Ask { request, body, answer } => {
                    // The method may have given up.
                    let _ = answer.send(self.perform(request, &body, std::process::id()));
                }
                Errand::Deadline(at) => self.note_deadline(at),
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

    fn attach(&mut self, key: u64, asked: &Asked) {
        let attached = self.enter(key, asked.body());
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let sent = match &attached {
            Ok(welcome) => {
                let bytes = message::reply(Request::Attach, asked.id, bytemuck::bytes_of(welcome));
                match connection.session.filter(|session| lending::only_reads(&self.sessions, *session)) {
                    Some(_) => self
                        .region
                        .file_to_read()
                        .map_err(io::Error::other)
                        .and_then(|file| connection.send_with(&bytes, file)),
                    None => connection.send_with(&bytes, self.region.file()),
                }
            }
            Err(error) => connection.send(&message::failure(asked.id, error)),
        };
        if let Err(error) = &attached {
            self.close(key, Some(error.message()));
        } else if let Err(error) = sent {
            self.close(key, Some(&error.to_string()));
        }
    }

    /// A number for one more session of a process.
    pub(super) fn free_session(&self, pid: u32) -> Result<SessionIndex> {
        let its = self.sessions.values().chain(self.retired.values()).filter(|other| other.pid == pid).count();
        if its >= MOST_SESSIONS {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("process {pid} has {its} sessions already, and can't have more"),
            )
            .help("a process needs one session: clone its manager"));
        }
        let most = self.region.capacities().sessions as u16;
        let is_taken = |index: &SessionIndex| self.sessions.contains_key(index) || self.retired.contains_key(index);
        (1..most).map(SessionIndex).find(|index| !is_taken(index)).ok_or_else(|| {
            Error::new(ErrorKind::TableFull, format!("all {most} sessions are in use"))
                .help("end processes, or start the broker with more sessions")
        })
    }

    fn enter(&mut self, key: u64, body: &[u8]) -> Result<Welcome> {
        let attach: Attach = message::fixed(body)?;
        check_layout(attach.version, attach.fingerprint).map_err(|_| {
            Error::new(
                ErrorKind::LayoutMismatch,
                format!(
                    "the program has layout {} with fingerprint {:016x}, the broker layout {VERSION} with {FINGERPRINT:016x}",
                    attach.version, attach.fingerprint
                ),
            )
            .help("build both with the same version of sharehold")
        })?;
        let rights = match attach.rights {
            0 => Rights::All,
            1 => Rights::Read,
            other => return Err(message::protocol(format!("there are no rights {other}"))),
        };
        // A newcomer reads the header next.
        self.mend_header();
        let peer = self.connections.get(&key).ok_or_else(|| message::protocol("the connection has gone"))?.peer;
        let index = self.free_session(peer.pid)?;
        let connection = self.connections.get_mut(&key).ok_or_else(|| message::protocol("the connection has gone"))?;
        let entry =
            self.region.session(index).ok_or_else(|| Error::new(ErrorKind::Damaged, "the session table is cut off"))?;
        self.region.reserve_row(index)?;
        // It was empty, unless somebody has written what is not his.
        self.region.clear_row(index);
        let pidfd = process::peer_pidfd(std::os::fd::AsFd::as_fd(&connection.stream))
            .map_or_else(|| process::pidfd(peer.pid), Ok)
            .map_err(|error| if process::has_descriptors() { error } else { door::no_descriptors() })?;
        self.poller.add(&pidfd, PIDFDS + u64::from(index.0))?;
        let generation = sessions::enter(entry, peer.pid, peer.uid, rights);
        // What was entered was asked for by its number: it is of the right process only if that has not ended before.
        if process::has_ended(&pidfd) {
            self.poller.remove(&pidfd);
            sessions::set_state(entry, generation, SessionState::Free);
            return Err(Error::new(ErrorKind::BrokerGone, "the process has ended"));
        }
        let token = random()?;
        connection.session = Some(index);
        connection.is_first = true;
        let entry = sessions::Entry::of(entry);
        let attached = Attached {
            pidfd: Some(pidfd),
            token,
            pid: peer.pid,
            parent: None,
            is_connected: true,
            entry,
            connections: 1,
        };
        self.sessions.insert(index, attached);
        tracing::debug!(session = index.0, pid = peer.pid, "attached");
        Ok(welcome(token, index, generation))
    }

    /// Takes a session back that has outlived another broker, with the region if it is not there yet.
    fn take_hand_back(&mut self, key: u64, asked: &Asked) -> Result<Vec<u8>> {
        let back: HandBack = message::fixed(asked.body())?;
        check_layout(back.version, back.fingerprint)?;
        let connection = self.connections.get_mut(&key).ok_or_else(|| message::protocol("the connection has gone"))?;
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
        if self.sessions.is_empty() && self.region.header().granted.load(Ordering::Relaxed) == 0 {
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

    fn expire_expecting(&mut self) {
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

    fn join(&mut self, key: u64, asked: &Asked) -> Result<Vec<u8>> {
        let join: Join = message::fixed(asked.body())?;
        let index = SessionIndex(join.session as u16);
        let attached = self.sessions.get_mut(&index).filter(|attached| attached.token == join.token);
        let attached = attached.ok_or_else(|| message::protocol("there is no such session to join"))?;
        if attached.connections >= MOST_CONNECTIONS {
            return Err(Error::new(
                ErrorKind::TableFull,
                format!("the session has {MOST_CONNECTIONS} connections already, and can't have more"),
            )
            .help("so many calls are being made by this process at the same time: let some of them end"));
        }
        attached.connections += 1;
        let connection = self.connections.get_mut(&key);
        connection.ok_or_else(|| message::protocol("the connection has gone"))?.session = Some(index);
        Ok(Vec::new())
    }

    fn let_wait(&mut self, key: u64) {
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

    /// Notes when a ticket expires. Many more times than there can be tickets are not kept: those of the tickets that there are, are.
    fn note_deadline(&mut self, at: u64) {
        self.deadlines.insert(at);
        if self.deadlines.len() > 2 * self.region.capacities().tickets as usize {
            self.deadlines.clear();
            self.note_deadlines();
        }
    }

    fn expire_tickets(&mut self) {
        if self.deadlines.first().is_none_or(|first| *first >= clock::boot_nanos()) {
            return;
        }
        let now = clock::boot_nanos();
        self.deadlines.retain(|at| *at >= now);
        let expired: Vec<_> =
            tickets::live(&self.region).filter(|ticket| ticket.deadline != 0 && ticket.deadline < now).collect();
        for ticket in expired {
            let cancelled =
                self.session.with_lane(|lane| tickets::cancel(&self.region, SessionIndex::BROKER, lane, &ticket));
            tracing::debug!(object = %ticket.object, cancelled, "a ticket has expired");
        }
        self.host.take_back();
    }

    fn note_deadlines(&mut self) {
        self.deadlines.extend(tickets::live(&self.region).map(|ticket| ticket.deadline).filter(|at| *at != 0));
    }

    fn expire_replies(&mut self) {
        if let Some((_, replies)) = self.replies.take_if(|(until, _)| *until <= Instant::now()) {
            Written::cancel(&replies, &self.session);
            self.host.take_back();
        }
    }

    fn heap_use(&mut self) -> HeapUse {
        self.host.take_back();
        let books = self.host.books();
        let heap = books.heap();
        HeapUse {
            capacity: heap.capacity(),
            free: heap.free_bytes(),
            largest: heap.largest(),
            warm: heap.warm_bytes(),
            damaged: books.damaged().into(),
            waiting: self.line.len() as u64,
        }
    }

    fn send(&mut self, key: u64, bytes: &[u8]) {
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

    /// Gives back all that a session held. Its number is free for another when the process has left in order or is gone: what has not left may go on counting in its row.
    pub(super) fn end_session(&mut self, index: SessionIndex, why: &str) {
        let active = self.sessions.remove(&index);
        self.region.header().deaths.fetch_add(u64::from(active.is_some()), Ordering::Relaxed);
        let Some(attached) = active.or_else(|| self.retired.remove(&index)) else { return };
        let keys: Vec<u64> =
            self.connections.iter().filter(|(_, other)| other.session == Some(index)).map(|(key, _)| *key).collect();
        for key in keys {
            self.close(key, None);
        }
        for (_, away) in self.away.extract_if(|_, away| away.session == Some(index)) {
            // Its thread sees the end, and gives the connection up.
            let _ = away.stream.shutdown(Shutdown::Both);
        }
        let started = Instant::now();
        let moving = sweep(&self.host, index);
        let audited = self.audit(&moving);
        // It may have died before it could tell of a ticket's deadline.
        self.note_deadlines();
        tracing::debug!(session = index.0, pid = attached.pid, why, ?audited, took = ?started.elapsed(), "a session has ended");
        self.end_children(index);
        let Some(attached) = self.outlives(index, attached, why == LEFT) else { return };
        if let Some(entry) = self.region.session(index) {
            sessions::set_state(entry, attached.entry.generation(), SessionState::Dead);
        }
        self.retired.insert(index, attached);
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
    Region::create(memory, &config.name, config.capacities, [random()?, random()?, random()?])
}

pub(super) fn welcome(token: u64, index: SessionIndex, generation: Generation) -> Welcome {
    Welcome {
        fingerprint: FINGERPRINT,
        token,
        version: VERSION,
        session: u32::from(index.0),
        generation: generation.0,
        reserved: 0,
    }
}

pub(super) fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::os("get random bytes", error))?;
    Ok(u64::from_ne_bytes(bytes))
}
