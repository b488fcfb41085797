//! Where connections come in: a few at a time, with a limit on those that have not said who they are.
//!
//! Whoever may connect may do so as often as it likes. A connection that has not attached costs a descriptor and nothing else, has a limited time, and when there are too many the
//! oldest gives way: one that attaches at once, as every client of this library does, is served through any crowd.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::control::message;
use crate::error::{Error, ErrorKind};
use crate::sys::socket;

/// Connections that are let in before those that are in get their turn.
const BATCH: usize = 8;
/// Most connections that have not attached or joined.
const MOST_STRANGERS: usize = 256;
/// How long a connection may take to attach or join.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nobody is let in when not even the reserve helps.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Door {
    listener: UnixListener,
    /// A descriptor that is given up to tell a client that there are no more.
    reserve: Option<OwnedFd>,
    /// Connections that have not attached or joined, the oldest first. Those that did, or are gone, are passed over.
    strangers: VecDeque<(u64, Instant)>,
    shut_until: Option<Instant>,
}

/// What is to be done about a connection that was just let in, or about the door itself.
pub(super) enum Came {
    In(UnixStream),
    /// Nobody else is waiting.
    Nobody,
    /// There was no descriptor for the one that came, and it was told so.
    Away,
    /// There are no descriptors: the door is shut for a while.
    Shut,
}

impl Door {
    pub(super) fn new(listener: UnixListener) -> Self {
        Self { listener, reserve: spare(), strangers: VecDeque::new(), shut_until: None }
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// How many may be let in at once.
    pub(super) const fn batch() -> usize {
        BATCH
    }

    /// Lets one in. One for which there is no descriptor is told so, and turned away.
    pub(super) fn let_in(&mut self) -> Came {
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
    pub(super) fn opens(&mut self) -> bool {
        let opens = self.shut_until.is_some_and(|until| until <= Instant::now());
        if opens {
            self.shut_until = None;
            self.reserve = self.reserve.take().or_else(spare);
        }
        opens
    }

    /// Notes a connection that has yet to attach. `is_stranger` tells whether one still has. Returns the one that has to give way, if there are too many.
    pub(super) fn note(&mut self, key: u64, is_stranger: impl Fn(u64) -> bool) -> Option<u64> {
        self.strangers.push_back((key, Instant::now() + PATIENCE));
        if self.strangers.len() <= MOST_STRANGERS {
            return None;
        }
        self.strangers.retain(|(key, _)| is_stranger(*key));
        if self.strangers.len() <= MOST_STRANGERS { None } else { self.strangers.pop_front().map(|(key, _)| key) }
    }

    /// The next connection whose time is over, or that has attached by now.
    pub(super) fn late(&mut self) -> Option<u64> {
        let now = Instant::now();
        self.strangers.pop_front_if(|(_, until)| *until <= now).map(|(key, _)| key)
    }

    /// When there is something to do next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.strangers.front().map(|(_, until)| *until).into_iter().chain(self.shut_until).min()
    }
}

/// Says on a connection that is about to be closed why it is, if that can be said without waiting.
pub(super) fn refuse(stream: &UnixStream, error: &Error) {
    let _ = socket::send_now(stream, &message::failure(message::UNASKED, error));
}

pub(super) fn too_many_strangers() -> Error {
    Error::new(ErrorKind::Refused, format!("{MOST_STRANGERS} connections have not attached, and this was the oldest"))
        .help("attach right after connecting")
}

pub(super) fn too_late() -> Error {
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
