//! A client's end of the control channel: one question at a time, answered or broken.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::message::{self, Announced, HEAD, Head, LONGEST_BODY, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{place, socket};

/// A connection. After an error it is broken: whoever has it drops it, and the broker withdraws what was never claimed.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    next_request: u64,
}

/// How long a request that the broker answers at once may take. It is over only if the broker is stopped.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

impl Connection {
    /// Connects to the broker of this name.
    pub(crate) fn open(name: &str) -> Result<Self> {
        place::check_name(name)?;
        let path = place::socket_path(name);
        let stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(
                ErrorKind::BrokerNotFound,
                format!("no broker named '{name}' runs: there is no {}", path.display()),
            )
            .help("start one with `sharehold serve --name NAME`, or look at SHAREHOLD_DIR")
            .caused_by(error),
            io::ErrorKind::ConnectionRefused => Error::new(
                ErrorKind::BrokerNotFound,
                format!("the broker '{name}' is dead: nobody listens at {}", path.display()),
            )
            .help("start it again: a new broker of this name cleans up")
            .caused_by(error),
            _ => Error::os(format!("connect to {}", path.display()), error),
        })?;
        Ok(Self { stream, next_request: 1 })
    }

    /// Sends a request and waits for its reply's body.
    pub(crate) fn call(&mut self, kind: Request, body: &[u8], patience: Duration) -> Result<Vec<u8>> {
        self.call_with(kind, body, patience).map(|(body, _)| body)
    }

    /// As [`Connection::call`], and takes a descriptor that comes along.
    pub(crate) fn call_with(
        &mut self,
        kind: Request,
        body: &[u8],
        patience: Duration,
    ) -> Result<(Vec<u8>, Option<OwnedFd>)> {
        let request = self.next_request;
        self.next_request += 1;
        self.send(&message::request(kind, request, body))?;
        let deadline = Instant::now().checked_add(patience);
        let mut bytes = Vec::with_capacity(256);
        let mut fd = None;
        loop {
            if let Some(head) = self.whole(&bytes)? {
                let (head, announced) = head;
                let body = bytes[HEAD..HEAD + head.len as usize].to_vec();
                return match announced {
                    _ if head.request != request => Err(message::protocol("a reply to another request came")),
                    Announced::Reply(to) if to == kind => Ok((body, fd)),
                    Announced::Failure => Err(failure(&body)),
                    _ => Err(message::protocol("a reply of another kind came")),
                };
            }
            if !socket::wait_readable(&self.stream, deadline).map_err(broken)? {
                return Err(Error::new(ErrorKind::Timeout, format!("the broker has not answered for {patience:?}"))
                    .help("is its process stopped?"));
            }
            let mut chunk = [0; 1024];
            let (received, came) = socket::receive_some_with(&self.stream, &mut chunk).map_err(broken)?;
            if received == 0 {
                return Err(gone());
            }
            bytes.extend_from_slice(&chunk[..received]);
            fd = came.or(fd);
        }
    }

    /// Whether the other end has closed, as far as can be told between calls, when nothing else is to be read.
    pub(crate) fn is_closed(&self) -> bool {
        socket::wait_readable(&self.stream, Some(Instant::now())).unwrap_or(true)
    }

    /// Sends a message that has no reply.
    pub(crate) fn tell(&mut self, kind: Request, body: &[u8]) -> Result<()> {
        self.send(&message::request(kind, 0, body))
    }

    fn send(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let sent = socket::send_some(&self.stream, bytes).map_err(broken)?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// The head, once it and its body are there.
    fn whole(&self, bytes: &[u8]) -> Result<Option<(Head, Announced)>> {
        if bytes.len() < HEAD {
            return Ok(None);
        }
        let (head, announced) = Head::parse(bytes)?;
        debug_assert!(head.len as usize <= LONGEST_BODY);
        Ok((bytes.len() >= HEAD + head.len as usize).then_some((head, announced)))
    }
}

fn failure(body: &[u8]) -> Error {
    match message::unarchive::<message::Failure>(body) {
        Ok(failure) => Error::new(ErrorKind::from_number(failure.kind).unwrap_or(ErrorKind::Protocol), failure.message),
        Err(error) => error,
    }
}

fn broken(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => gone(),
        _ => Error::os("talk to the broker", error),
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::BrokerGone, "the broker has ended")
        .help("objects that are held can still be read; start a broker and connect again for the rest")
}
