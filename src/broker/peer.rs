//! One connection, as the broker sees it: bytes in, bytes out, nothing waits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::grants::Pending;
use crate::control::message::{Announced, HEAD, Head, LONGEST_BODY, Request, protocol};
use crate::error::Result;
use crate::region::SessionIndex;
use crate::sys::socket::{self, Peer};

/// Bytes of replies that a client may leave unread before it is cut off.
const MOST_UNREAD: usize = 1 << 20;

pub(super) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) peer: Peer,
    /// Set by attach and join.
    pub(super) session: Option<SessionIndex>,
    /// Whether the session ends with this connection.
    pub(super) is_first: bool,
    /// The last grant, until the next message shows that it has arrived.
    pub(super) pending: Option<Pending>,
    pub(super) writing: bool,
    received: Vec<u8>,
    unsent: VecDeque<u8>,
}

/// A request with its body.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) id: u64,
    pub(super) body: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, peer: Peer) -> Self {
        Self {
            stream,
            peer,
            session: None,
            is_first: false,
            pending: None,
            writing: false,
            received: Vec::new(),
            unsent: VecDeque::new(),
        }
    }

    /// Reads what is there. `Ok(false)`: the other end has closed.
    pub(super) fn read(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        match socket::receive_some(&self.stream, &mut chunk) {
            Ok(0) => Ok(false),
            Ok(received) => {
                self.received.extend_from_slice(&chunk[..received]);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The next whole request, if it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Asked>> {
        if self.received.len() < HEAD {
            return Ok(None);
        }
        let (head, announced) = Head::parse(&self.received)?;
        let end = HEAD + head.len as usize;
        debug_assert!(end <= HEAD + LONGEST_BODY);
        if self.received.len() < end {
            return Ok(None);
        }
        let Announced::Request(request) = announced else { return Err(protocol("a reply came where requests belong")) };
        let body = self.received[HEAD..end].to_vec();
        self.received.drain(..end);
        Ok(Some(Asked { request, id: head.request, body }))
    }

    /// Sends, or keeps for later what the socket does not take. An error means that the connection is lost.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = if self.unsent.is_empty() { self.send_now(bytes)? } else { 0 };
        self.unsent.extend(&bytes[sent..]);
        if self.unsent.len() > MOST_UNREAD {
            return Err(io::Error::other("the client does not read its replies"));
        }
        Ok(())
    }

    /// Sends a message with a descriptor. It is the first of a connection and short, so the socket takes it whole or not at all.
    pub(super) fn send_with(&mut self, bytes: &[u8], fd: impl AsFd) -> io::Result<()> {
        let sent = socket::send_some_with(&self.stream, bytes, fd.as_fd())?;
        self.unsent.extend(&bytes[sent..]);
        Ok(())
    }

    fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match socket::send_some(&self.stream, bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Sends what was kept. Returns whether all of it is gone.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            let sent = self.send_now(self.unsent.as_slices().0)?;
            if sent == 0 {
                return Ok(false);
            }
            self.unsent.drain(..sent);
        }
        Ok(true)
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }
}
