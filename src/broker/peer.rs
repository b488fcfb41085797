//! One connection, as the broker sees it: bytes in, bytes out, nothing waits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::grants::Pending;
use crate::control::authkey::Nonce;
use crate::control::message::{Announced, HEAD, Head, LONGEST_BODY, Request, protocol};
use crate::control::ring::{AnswererEnd, Posted, Ring};
use crate::error::Result;
use crate::region::SessionIndex;
use crate::sys::fork::ClosedInChild;
use crate::sys::socket::{self, Peer};
use crate::table::tickets::LiveTicket;

/// Bytes of replies that a client may leave unread before it is cut off.
const MOST_UNREAD: usize = 1 << 20;

pub(super) struct Connection {
    /// Before the stream, so that it goes first.
    _mark: ClosedInChild,
    /// Shared with those who end a call from outside.
    pub(super) stream: Arc<UnixStream>,
    pub(super) peer: Peer,
    /// Set by attach and join.
    pub(super) session: Option<SessionIndex>,
    /// Whether the session ends with this connection.
    pub(super) is_first: bool,
    /// The last grant: what the client has not claimed when its next message comes, it will not claim.
    pub(super) pending: Option<Pending>,
    /// The references in the last result, with the same rule.
    pub(super) issued: Vec<LiveTicket>,
    /// The last slab that was granted: the client has it once its next message comes.
    pub(super) slab: Vec<Pending>,
    pub(super) writing: bool,
    /// A descriptor that came before the session was known: the region of a dead broker.
    pub(super) descriptor: Option<OwnedFd>,
    /// What its proof of the authkey has to be made with, once it has asked for that.
    pub(super) challenge: Option<Nonce>,
    /// Whether it has proven that it knows the authkey.
    pub(super) is_proven: bool,
    /// Whether the client has said that it leaves.
    pub(super) has_left: bool,
    /// Whether it waits for an answer that comes later: no client asks anything else meanwhile.
    pub(super) waits: bool,
    /// Of a session for a child that has yet to claim it: who has sent what was read last.
    pub(super) claimant: Option<Claimant>,
    /// Where a thread that serves it waits for calls, once the client has asked for that.
    pub(super) ring: Option<AnswererEnd>,
    received: Vec<u8>,
    spare: Vec<u8>,
    unsent: VecDeque<u8>,
}

/// The process that claims a session, once it has spoken.
pub(super) type Claimant = Option<u32>;

/// A request with its body.
pub(super) struct Asked {
    pub(super) request: Request,
    /// 0 if it came by the call ring, where the turn is its number.
    pub(super) id: u64,
    /// Whether it came by the call ring, where its answer belongs.
    pub(super) by_ring: bool,
    /// With a head, if it did not.
    bytes: Vec<u8>,
}

impl Asked {
    pub(super) fn body(&self) -> &[u8] {
        if self.by_ring { &self.bytes } else { &self.bytes[HEAD..] }
    }
}

impl Connection {
    pub(super) fn new(stream: UnixStream, peer: Peer) -> Self {
        Self {
            _mark: ClosedInChild::of(&stream),
            stream: Arc::new(stream),
            peer,
            session: None,
            is_first: false,
            pending: None,
            slab: Vec::new(),
            issued: Vec::new(),
            writing: false,
            descriptor: None,
            challenge: None,
            is_proven: false,
            has_left: false,
            waits: false,
            claimant: None,
            ring: None,
            received: Vec::new(),
            spare: Vec::new(),
            unsent: VecDeque::new(),
        }
    }

    /// Reads what is there. `Ok(false)`: the other end has closed.
    pub(super) fn read(&mut self) -> io::Result<bool> {
        let read = if self.claimant.is_some() {
            self.read_claim()
        } else if self.session.is_some() {
            self.read_with(socket::receive_now)
        } else {
            self.read_first()
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            other => other,
        }
    }

    /// Reads what may bring a descriptor.
    fn read_first(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 256];
        let (count, descriptor) = socket::receive_now_with(&self.stream, &mut chunk)?;
        self.descriptor = descriptor.or(self.descriptor.take());
        self.received.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    /// Reads, and notes who has sent it.
    fn read_claim(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 256];
        let (count, sender) = socket::receive_now_from(&self.stream, &mut chunk)?;
        self.claimant = Some(sender);
        self.received.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    /// As [`Connection::read`], but waits until something is there, or the socket's timeout is over.
    pub(super) fn read_waiting(&mut self) -> io::Result<bool> {
        self.read_with(socket::receive_some)
    }

    fn read_with(&mut self, receive: fn(&UnixStream, &mut Vec<u8>) -> io::Result<usize>) -> io::Result<bool> {
        Ok(receive(&self.stream, &mut self.received)? > 0)
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
        // Whoever asks for more has read what was answered before.
        self.slab.clear();
        // Mostly there is one request, whose buffer changes places with that of the one before.
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.clear();
        if self.received.len() == end {
            std::mem::swap(&mut self.received, &mut bytes);
        } else {
            bytes.extend(self.received.drain(..end));
        }
        Ok(Some(Asked { request, id: head.request, by_ring: false, bytes }))
    }

    /// Waits at the call ring for a call. `None`: something is to be read from the socket, or nothing is.
    pub(super) fn next_call(&mut self, timeout: Option<Duration>) -> Result<(Posted, Option<Asked>)> {
        let Some(ring) = &mut self.ring else { return Ok((Posted::AtSocket, None)) };
        let mut bytes = std::mem::take(&mut self.spare);
        match ring.next(timeout, &mut bytes)? {
            Posted::Request(request) if !request.is_call() => {
                Err(protocol("what was posted in a call ring is not a call"))
            }
            posted @ Posted::Request(request) => Ok((posted, Some(Asked { request, id: 0, by_ring: true, bytes }))),
            posted => {
                self.spare = bytes;
                Ok((posted, None))
            }
        }
    }

    /// The ring's memory.
    pub(super) fn shared(&self) -> Option<Arc<Ring>> {
        self.ring.as_ref().map(|ring| Arc::clone(ring.ring()))
    }

    /// Takes back the buffer of a request that was answered, for the one after the next.
    pub(super) fn recycle(&mut self, asked: Asked) {
        self.spare = asked.bytes;
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
        let sent = socket::send_now_with(&self.stream, bytes, fd.as_fd())?;
        self.unsent.extend(&bytes[sent..]);
        Ok(())
    }

    fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match socket::send_now(&self.stream, bytes) {
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
