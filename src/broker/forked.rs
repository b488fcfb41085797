//! Sessions of processes that are about to be forked: see "Fork" in `docs/protocol.md`.
//!
//! The parent asks for one, and the child claims it in the region. Its own word about itself is a message that says nothing: who it is, the kernel tells. It ends with its connection, of
//! which the parent too has an end until none of its threads counts there any more; so it is not ended when its process is seen to be gone.

use super::attached::{Attached, watch_end, welcome};
use super::server::{Server, connection, random};
use crate::control::message;
use crate::error::{Error, ErrorKind, Result};
use crate::region::SessionIndex;
use crate::sync::atomic::Ordering;
use crate::sys::{process, socket};
use crate::table::sessions;

impl Server {
    /// Enters a child of a session, on the connection that it will inherit.
    pub(super) fn prepare_child(&mut self, key: u64, body: &[u8]) -> Result<Vec<u8>> {
        let (parent, attached) = self.member(body, "fork")?;
        if attached.entry.only_reads() {
            return Err(message::protocol("there is no such session to fork"));
        }
        let pid = attached.pid;
        // It forks one at a time: what was prepared before for it, by another broker, it has given up.
        self.end_children(parent);
        let index = self.free_session(pid)?;
        let connection = connection(&mut self.connections, key)?;
        let entry =
            self.region.session(index).ok_or_else(|| Error::new(ErrorKind::Damaged, "the session table is cut off"))?;
        socket::ask_for_senders(&connection.stream)?;
        self.region.reserve_row(index)?;
        self.region.clear_row(index);
        let token = random()?;
        let generation = sessions::prepare(&self.region, index, entry, parent, connection.peer.uid);
        connection.session = Some(index);
        connection.is_first = true;
        connection.claimant = Some(None);
        let attached = Attached {
            pidfd: None,
            token,
            pid,
            parent: Some(parent),
            is_connected: true,
            entry: sessions::Entry::of(entry),
            connections: 1,
        };
        self.sessions.insert(index, attached);
        tracing::debug!(session = index.0, parent = parent.0, pid, "prepared for a child");
        Ok(bytemuck::bytes_of(&welcome(token, index, generation)).to_vec())
    }

    /// The child is there.
    pub(super) fn complete_child(&mut self, key: u64, index: SessionIndex) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let Some(pid) = connection.claimant.take().flatten() else { return };
        self.complete(index, pid);
    }

    /// Notes whose session it is. If the process can't be seen, its connection tells its end all the same.
    fn complete(&mut self, index: SessionIndex, pid: u32) {
        let (Some(attached), Some(entry)) = (self.sessions.get_mut(&index), self.region.session(index)) else { return };
        // Should the number be another process's by now, the session ends with its connection all the same.
        attached.pidfd = process::pidfd(pid).ok();
        attached.pid = pid;
        sessions::complete(entry, pid);
        attached.entry = sessions::Entry::of(entry);
        tracing::debug!(session = index.0, pid, "a forked child has its session");
    }

    /// Looks after those that another broker has prepared for children of this session: who has claimed one has it, the others are withdrawn. Those prepared by this broker end with their
    /// connections.
    pub(super) fn end_children(&mut self, parent: SessionIndex) {
        let is_left =
            |attached: &Attached| attached.parent == Some(parent) && !attached.is_connected && attached.pidfd.is_none();
        let left: Vec<SessionIndex> =
            self.sessions.iter().filter(|(_, attached)| is_left(attached)).map(|(index, _)| *index).collect();
        for index in left {
            match self.region.session(index).map(sessions::withdraw) {
                Some(Err(pid)) if process::pidfd(pid).is_ok() => {
                    self.complete(index, pid);
                    self.watch_process(index);
                }
                _ => self.end_session(index, "nobody has claimed it"),
            }
        }
    }

    /// A child that comes back to this broker may have claimed what another one has prepared.
    pub(super) fn recognise(&mut self, index: SessionIndex, pid: u32) {
        let is_unclaimed = |attached: &Attached| attached.parent.is_some() && attached.pidfd.is_none();
        let claimed = self.region.session(index).map(|entry| entry.pid.load(Ordering::Acquire));
        if self.sessions.get(&index).is_some_and(is_unclaimed) && claimed == Some(pid) {
            self.complete(index, pid);
            self.watch_process(index);
        }
    }

    /// Ends the session with its process from now on.
    fn watch_process(&mut self, index: SessionIndex) {
        let Some(attached) = self.sessions.get_mut(&index) else { return };
        if let Some(pidfd) = &attached.pidfd
            && watch_end(&self.poller, index, pidfd).is_ok()
        {
            attached.parent = None;
        }
    }

    /// Whether the process of a session that was ended may go on counting in its row: then it is given back, and its end is watched for.
    pub(super) fn outlives(&mut self, index: SessionIndex, mut attached: Attached, has_left: bool) -> Option<Attached> {
        if attached.pidfd.is_none() && !has_left {
            // It was not there, or has not been heard.
            let claimed = self.region.session(index).map(sessions::withdraw);
            attached.pidfd = claimed.and_then(Result::err).and_then(|pid| process::pidfd(pid).ok());
        }
        let pidfd = attached.pidfd.as_ref()?;
        if has_left || process::has_ended(pidfd) {
            self.poller.remove(pidfd);
            return None;
        }
        if attached.parent.take().is_some() && watch_end(&self.poller, index, pidfd).is_err() {
            tracing::warn!(session = index.0, "the end of a process can't be watched");
        }
        Some(attached)
    }
}
