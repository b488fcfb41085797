//! Who is attached: processes enter, join with further connections, and end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::door;
use super::lending;
use super::peer::Asked;
use super::server::{PIDFDS, Server, connection, random};
use super::sweep::sweep;
use crate::control::message::{self, Attach, Join, Request, Welcome};
use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::{FINGERPRINT, VERSION};
use crate::region::region::check_layout;
use crate::region::{Generation, Rights, SessionIndex};
use crate::sync::atomic::Ordering;
use crate::sys::poller::Poller;
use crate::sys::process;
use crate::table::counting::SessionState;
use crate::table::sessions;

/// Most connections of a session: one for each of its threads that is calling.
const MOST_CONNECTIONS: usize = 1024;
/// Most sessions of a process: it needs one, and others for its children.
const MOST_SESSIONS: usize = 64;
/// Why a session has ended that is over for good.
pub(super) const LEFT: &str = "it has left";

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

impl Server {
    pub(super) fn attach(&mut self, key: u64, asked: &Asked) {
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
        let peer = self.connection(key)?.peer;
        let index = self.free_session(peer.pid)?;
        let connection = connection(&mut self.connections, key)?;
        let entry =
            self.region.session(index).ok_or_else(|| Error::new(ErrorKind::Damaged, "the session table is cut off"))?;
        self.region.reserve_row(index)?;
        // It was empty, unless somebody has written what is not his.
        self.region.clear_row(index);
        let pidfd = process::peer_pidfd(connection.stream.as_fd())
            .map_or_else(|| process::pidfd(peer.pid), Ok)
            .map_err(|error| if process::has_descriptors() { error } else { door::no_descriptors() })?;
        watch_end(&self.poller, index, &pidfd)?;
        let generation = sessions::enter(&self.region, index, entry, peer.pid, peer.uid, rights);
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

    /// The session that a further connection says it is of, and proves with its token. `doing`: what it wants with it.
    pub(super) fn member(&mut self, body: &[u8], doing: &str) -> Result<(SessionIndex, &mut Attached)> {
        let join: Join = message::fixed(body)?;
        let index = SessionIndex(join.session as u16);
        let attached = self.sessions.get_mut(&index).filter(|attached| attached.token == join.token);
        let attached = attached.ok_or_else(|| message::protocol(format!("there is no such session to {doing}")))?;
        Ok((index, attached))
    }

    /// Makes a connection one of the session that it says.
    pub(super) fn join(&mut self, key: u64, body: &[u8]) -> Result<SessionIndex> {
        let (index, attached) = self.member(body, "join")?;
        if attached.connections >= MOST_CONNECTIONS {
            return Err(Error::new(
                ErrorKind::TableFull,
                format!("the session has {MOST_CONNECTIONS} connections already, and can't have more"),
            )
            .help("so many calls are being made by this process at the same time: let some of them end"));
        }
        attached.connections += 1;
        self.connection(key)?.session = Some(index);
        Ok(index)
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
            away.end();
        }
        let started = Instant::now();
        let is_gone = why == LEFT || attached.pidfd.as_ref().is_none_or(process::has_ended);
        let moving = sweep(&self.host, index, is_gone);
        let audited = self.audit(&moving);
        // It may have died before it could tell of a ticket's deadline.
        self.look_at_tickets(0);
        tracing::debug!(session = index.0, pid = attached.pid, why, ?audited, took = ?started.elapsed(), "a session has ended");
        self.end_children(index);
        let Some(attached) = self.outlives(index, attached, why == LEFT) else {
            if !is_gone {
                self.host.books().end_slabs(index, true);
            }
            return;
        };
        if let Some(entry) = self.region.session(index) {
            sessions::set_state(entry, attached.entry.generation(), SessionState::Dead);
        }
        self.retired.insert(index, attached);
    }
}

/// Has the loop told when the process of a session ends.
pub(super) fn watch_end(poller: &Poller, index: SessionIndex, pidfd: &OwnedFd) -> Result<()> {
    poller.add(pidfd, PIDFDS + u64::from(index.0))
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
