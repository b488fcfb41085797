//! Where connections come in: a few at a time, with a limit on those that have not said who they are.
//!
//! Whoever may connect may do so as often as it likes. A connection that has not attached costs a descriptor and nothing else, has a limited time, and when there are too many the
//! oldest gives way: one that attaches at once, as every client of this library does, is served through any crowd.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use super::peer::Connection;
use super::server::{LISTENER, Server};
use crate::control::message;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::clock;
use crate::sys::fork::ClosedInChild;
use crate::sys::socket::{self, Peer};

/// Connections that are let in before those that are in get their turn.
const BATCH: usize = 4;
/// How much longer than it took to let some in the door stays shut afterwards, so that those who are in have most of the loop's time, however many come; and how long at most.
const REST: u32 = 20;
const LONGEST_REST: Duration = Duration::from_millis(2);
/// Most connections that have not attached or joined.
const MOST_STRANGERS: usize = 256;
/// How long a connection may take to attach or join.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nobody is let in when not even the reserve helps.
const PAUSE: Duration = Duration::from_millis(100);

/// How often a line about those who may not come in is written at most.
const SELDOM: Duration = Duration::from_secs(1);

pub(super) struct Door {
    _mark: ClosedInChild,
    listener: UnixListener,
    /// Connections of other users that were turned away since the last line about them, and when that was.
    foreign: (u64, Option<Instant>),
    /// A descriptor that is given up to tell a client that there are no more.
    reserve: Option<OwnedFd>,
    /// Connections that have not attached or joined, the oldest first. Those that did, or are gone, are passed over.
    strangers: VecDeque<(u64, Instant)>,
    shut_until: Option<Instant>,
    /// Rings when the door has been shut long enough after some came in. A time limit of each wait of the loop would cost every answer more than the strangers do.
    alarm: OwnedFd,
    is_resting: bool,
}

/// What is to be done about a connection that was just let in, or about the door itself.
enum Came {
    In(UnixStream),
    /// Nobody else is waiting.
    Nobody,
    /// There was no descriptor for the one that came, and it was told so.
    Away,
    /// There are no descriptors: the door is shut for a while.
    Shut,
}

impl Door {
    pub(super) fn new(listener: UnixListener) -> Result<Self> {
        Ok(Self {
            _mark: ClosedInChild::of(&listener),
            listener,
            foreign: (0, None),
            reserve: spare(),
            strangers: VecDeque::new(),
            shut_until: None,
            alarm: clock::alarm()?,
            is_resting: false,
        })
    }

    pub(super) fn alarm(&self) -> &OwnedFd {
        &self.alarm
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Lets one in. One for which there is no descriptor is told so, and turned away.
    fn let_in(&mut self) -> Came {
        match self.listener.accept() {
            Ok((stream, _)) => {
                self.reserve = self.reserve.take().or_else(spare);
                Came::In(stream)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Came::Nobody,
            // Also said when nobody is waiting.
            Err(error) if is_out_of_descriptors(&error) => self.turn_away(),
            Err(error) => {
                tracing::debug!(%error, "the one that came has gone again");
                Came::Away
            }
        }
    }

    /// Gives the reserve up, and tells the one that waits why it can't come in.
    fn turn_away(&mut self) -> Came {
        self.reserve = None;
        let came = match self.listener.accept() {
            Ok((stream, _)) => {
                refuse(&stream, &no_descriptors());
                Came::Away
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Came::Nobody,
            Err(error) => {
                tracing::error!(%error, "nobody is let in for a while");
                self.shut_until = Some(Instant::now() + PAUSE);
                Came::Shut
            }
        };
        self.reserve = spare();
        came
    }

    /// Whether the door is to be opened again, as it was shut for long enough.
    fn opens(&mut self) -> bool {
        let opens = self.shut_until.is_some_and(|until| until <= Instant::now());
        if opens {
            self.shut_until = None;
            self.reserve = self.reserve.take().or_else(spare);
        }
        opens
    }

    /// Notes a connection that has yet to attach. `is_stranger` tells whether one still has. Returns the one that has to give way, if there are too many.
    fn note(&mut self, key: u64, is_stranger: impl Fn(u64) -> bool) -> Option<u64> {
        self.strangers.push_back((key, Instant::now() + PATIENCE));
        if self.strangers.len() <= MOST_STRANGERS {
            return None;
        }
        self.strangers.retain(|(key, _)| is_stranger(*key));
        if self.strangers.len() <= MOST_STRANGERS { None } else { self.strangers.pop_front().map(|(key, _)| key) }
    }

    /// The next connection whose time is over, or that has attached by now.
    fn late(&mut self) -> Option<u64> {
        let now = Instant::now();
        self.strangers.pop_front_if(|(_, until)| *until <= now).map(|(key, _)| key)
    }

    /// Turns one of another user away. That may be any number of them: the log gets a line for many.
    fn turn_away_foreign(&mut self, stream: &UnixStream, peer: Peer) {
        refuse(stream, &not_allowed(peer.uid));
        let (count, said) = &mut self.foreign;
        *count += 1;
        if said.is_none_or(|said| said.elapsed() >= SELDOM) {
            tracing::warn!(pid = peer.pid, uid = peer.uid, count, "connections of other users were refused");
            self.foreign = (0, Some(Instant::now()));
        }
    }

    /// When there is something to do next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.strangers.front().map(|(_, until)| *until).into_iter().chain(self.shut_until).min()
    }
}

impl Server {
    /// Lets some in, then shuts the door for a moment.
    pub(super) fn accept(&mut self) {
        let started = Instant::now();
        self.let_some_in();
        if self.door.shut_until.is_none() && !self.sessions.is_empty() {
            let rest = (started.elapsed() * REST).min(LONGEST_REST);
            self.door.is_resting = clock::set_alarm(&self.door.alarm, rest).is_ok();
            if self.door.is_resting {
                self.poller.remove(self.door.listener());
            }
        }
    }

    /// Opens the door after a rest.
    pub(super) fn end_rest(&mut self) {
        clock::silence(&self.door.alarm);
        if std::mem::take(&mut self.door.is_resting) {
            self.open_door();
        }
    }

    fn let_some_in(&mut self) {
        for _ in 0..BATCH {
            let stream = match self.door.let_in() {
                Came::In(stream) => stream,
                Came::Nobody => return,
                Came::Away => continue,
                Came::Shut => return self.poller.remove(self.door.listener()),
            };
            match socket::peer(&stream) {
                Ok(peer) if self.config.allows(peer.uid) => {
                    let key = self.next_key;
                    self.next_key += 1;
                    if let Err(error) = self.poller.add(&stream, key) {
                        tracing::warn!(%error, "a connection could not be watched");
                        continue;
                    }
                    self.connections.insert(key, Connection::new(stream, peer));
                    let connections = &self.connections;
                    let is_stranger = |key| connections.get(&key).is_some_and(|other| other.session.is_none());
                    if let Some(oldest) = self.door.note(key, is_stranger) {
                        self.turn_out(oldest, &too_many_strangers());
                    }
                }
                Ok(peer) => self.door.turn_away_foreign(&stream, peer),
                Err(error) => tracing::warn!(%error, "a connection was refused"),
            }
        }
    }

    /// Closes a connection that has not attached, and says why.
    fn turn_out(&mut self, key: u64, why: &Error) {
        if let Some(connection) = self.connections.get(&key).filter(|connection| connection.session.is_none()) {
            refuse(&connection.stream, why);
            self.close(key, Some(why.message()));
        }
    }

    pub(super) fn expire_strangers(&mut self) {
        while let Some(late) = self.door.late() {
            self.turn_out(late, &too_late());
        }
        if self.door.opens() {
            self.open_door();
        }
    }

    fn open_door(&self) {
        if let Err(error) = self.poller.add(self.door.listener(), LISTENER) {
            tracing::error!(%error, "the door stays shut");
        }
    }
}

/// Says on a connection that is about to be closed why it is, if that can be said without waiting.
fn refuse(stream: &UnixStream, error: &Error) {
    let _ = socket::send_now(stream, &message::failure(message::UNASKED, error));
}

fn too_many_strangers() -> Error {
    Error::new(ErrorKind::Refused, format!("{MOST_STRANGERS} connections have not attached, and this was the oldest"))
        .help("attach right after connecting")
}

fn not_allowed(uid: u32) -> Error {
    Error::new(ErrorKind::Refused, format!("user {uid} may not use this broker"))
        .help(format!("have it started with --allow-uid {uid}"))
}

fn too_late() -> Error {
    Error::new(ErrorKind::Refused, format!("the connection has not attached within {PATIENCE:?}"))
}

pub(super) fn no_descriptors() -> Error {
    Error::new(ErrorKind::TableFull, "the broker has no file descriptors left")
        .help("end processes, or raise the limit of open files of the broker: `ulimit -n`")
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

fn spare() -> Option<OwnedFd> {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok()
}
