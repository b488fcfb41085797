//! A client's end of the control channel: one question at a time, answered or broken.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::authkey::{self, Login, Side};
use super::message::{self, Announced, Challenge, HEAD, Head, LONGEST_BODY, Prove, Proven, Request};
use super::ring::{self, CallerEnd, Heard};
use crate::error::{Error, ErrorKind, Result};
use crate::object::scope::{self, Limits};
use crate::sys::fork::ClosedInChild;
use crate::sys::place::Place;
use crate::sys::socket;

/// After so many calls of a connection it asks for a call ring: those who call once or twice do without.
const FEW: u32 = 2;
const OF_ANOTHER_KIND: &str = "a reply of another kind came";
/// How often one that waits at a call ring looks whether the broker is still there: one that was killed can't say so.
const LOOK: Duration = Duration::from_millis(100);

/// A connection. After an error it is broken: whoever has it drops it, and the broker withdraws what was never claimed.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Before the stream, so that it goes first.
    _mark: ClosedInChild,
    stream: Arc<UnixStream>,
    next_request: u64,
    /// The request that is being sent, and the reply that is being received: used again and again.
    sent: Vec<u8>,
    received: Vec<u8>,
    /// How many calls were made before there was a ring.
    calls: u32,
    /// Where calls go, if both ends want one.
    ring: Option<CallerEnd>,
}

impl Connection {
    /// Connects to the broker of a place, if it is one of the user whose place it is.
    pub(crate) fn open(place: &Place) -> Result<Self> {
        let (owner, path) = (place.owner()?, place.socket_path());
        let stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => place.not_found().caused_by(error),
            io::ErrorKind::ConnectionRefused => Error::new(
                ErrorKind::BrokerNotFound,
                format!("the broker is dead: nobody listens at {}", path.display()),
            )
            .help("start it again: the new one takes over what its clients, or a named segment, still have")
            .caused_by(error),
            io::ErrorKind::PermissionDenied => {
                Error::new(ErrorKind::Refused, format!("the broker at {} is user {owner}'s alone", path.display()))
                    .help("have it started with --allow-uid")
                    .caused_by(error)
            }
            _ => Error::os(format!("connect to {}", path.display()), error),
        })?;
        let peer = socket::peer(&stream)?;
        if peer.uid != owner {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("user {} listens at {}, where a broker of user {owner} belongs", peer.uid, path.display()),
            ));
        }
        Ok(Self::over(stream))
    }

    fn over(stream: UnixStream) -> Self {
        let mark = ClosedInChild::of(&stream);
        Self {
            _mark: mark,
            stream: Arc::new(stream),
            next_request: 1,
            sent: Vec::new(),
            received: Vec::new(),
            calls: 0,
            ring: None,
        }
    }

    /// One that has a ring, and has made no request.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn ringed(stream: UnixStream, ring: CallerEnd) -> Self {
        Self { calls: FEW + 1, ring: Some(ring), ..Self::over(stream) }
    }

    /// The end of its ring.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn ring(&mut self) -> Option<&mut CallerEnd> {
        self.ring.as_mut()
    }

    /// Connects, and proves what has to be proven: then a session can be asked for.
    pub(crate) fn log_in(place: &Place, login: &Login, patience: Duration) -> Result<Self> {
        let mut connection = Self::open(place)?;
        connection.prove(login, patience).map(|()| connection)
    }

    /// Proves that this process knows the broker's authkey, and has the broker prove that it knows it.
    fn prove(&mut self, login: &Login, patience: Duration) -> Result<()> {
        let (authkey, is_demanded) = match login {
            Login::Plain => return Ok(()),
            Login::Offer(authkey) => (authkey, false),
            Login::Demand(authkey) => (authkey, true),
        };
        let answer = self.call(Request::Challenge, &[], Some(patience))?;
        if answer.is_empty() && !is_demanded {
            return Ok(());
        }
        if answer.is_empty() {
            return Err(Error::new(
                ErrorKind::WrongAuthkey,
                "the broker has no authkey, and can't prove that it is the right one",
            )
            .help("start it with the authkey, or connect without one"));
        }
        let (theirs, nonce) = (message::fixed::<Challenge>(answer)?.nonce, authkey::nonce()?);
        let prove = Prove { nonce, proof: authkey.prove(Side::Client, &theirs, &nonce) };
        let proven: Proven =
            message::fixed(self.call(Request::Prove, &[bytemuck::bytes_of(&prove)], Some(patience))?)?;
        if authkey.is_proven(Side::Broker, &theirs, &nonce, &proven.proof) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::WrongAuthkey, "what listens there does not know the authkey, and is not the broker"))
    }

    /// Sends a request and waits for its reply's body; without a patience for as long as it takes.
    pub(crate) fn call(&mut self, kind: Request, body: &[&[u8]], patience: Option<Duration>) -> Result<&[u8]> {
        self.call_with(kind, body, patience).map(|(body, _)| body)
    }

    /// As [`Connection::call`], and takes a descriptor that comes along.
    pub(crate) fn call_with(
        &mut self,
        kind: Request,
        body: &[&[u8]],
        patience: Option<Duration>,
    ) -> Result<(&[u8], Option<OwnedFd>)> {
        self.ask(kind, body, &Wait::at_most(patience)?)
    }

    /// Sends a request, and does not wait: neither for room nor for the reply. Returns its number.
    pub(crate) fn send(&mut self, kind: Request, body: &[&[u8]]) -> Result<u64> {
        self.put(kind, body, &Wait::not())
    }

    /// Waits for the reply to what was sent.
    pub(crate) fn reply(&mut self, kind: Request, request: u64, patience: Option<Duration>) -> Result<&[u8]> {
        self.receive(kind, request, &Wait::at_most(patience)?).map(|(body, _)| body)
    }

    /// As [`Connection::call`], and asks from time to time whether the answer is still wanted.
    pub(crate) fn call_under(
        &mut self,
        limits: &Limits,
        kind: Request,
        body: &[&[u8]],
        patience: Option<Duration>,
    ) -> Result<&[u8]> {
        self.ask(kind, body, &Wait::under(limits, patience)?).map(|(body, _)| body)
    }

    /// Sends a request over the socket and waits for the reply.
    fn ask(&mut self, kind: Request, body: &[&[u8]], wait: &Wait<'_>) -> Result<(&[u8], Option<OwnedFd>)> {
        let request = self.put(kind, body, wait)?;
        self.receive(kind, request, wait)
    }

    /// As [`Connection::call_under`], by the call ring if there is one. Another thread can't interrupt the wait there.
    pub(crate) fn call_by_ring(
        &mut self,
        limits: &Limits,
        kind: Request,
        body: &[&[u8]],
        patience: Option<Duration>,
    ) -> Result<&[u8]> {
        let wait = Wait::under(limits, patience)?;
        self.want_ring(&wait)?;
        if !self.ring.as_mut().is_some_and(|ring| ring.post(kind, body)) {
            return self.ask(kind, body, &wait).map(|(body, _)| body);
        }
        match self.hear(&wait)? {
            Announced::Reply(to) if to == kind => Ok(&self.received),
            Announced::Failure => Err(message::failed(&self.received)),
            _ => Err(message::protocol(OF_ANOTHER_KIND)),
        }
    }

    /// Waits for an answer in the call ring.
    fn hear(&mut self, wait: &Wait<'_>) -> Result<Announced> {
        let Some(ring) = &self.ring else { return Err(gone()) };
        loop {
            match ring.hear(wait.slice(), &mut self.received)? {
                Heard::Answer(announced) => return Ok(announced),
                Heard::Nothing => wait.check()?,
                Heard::Closed => break,
            }
            if socket::is_hung_up(&self.stream) {
                break;
            }
        }
        self.received.clear();
        Err(self.last_words().unwrap_or_else(gone))
    }

    /// Asks for a ring once, after a few calls. A broker that gives none is no error.
    fn want_ring(&mut self, wait: &Wait<'_>) -> Result<()> {
        if self.calls > FEW {
            return Ok(());
        }
        self.calls += 1;
        if self.calls <= FEW || !ring::is_wanted() {
            return Ok(());
        }
        let given = match self.ask(Request::Ring, &[], wait) {
            Ok((_, given)) => given,
            Err(error) if matches!(error.kind(), ErrorKind::Refused) => None,
            Err(error) => return Err(error),
        };
        if let Some(given) = given {
            self.ring = Some(CallerEnd::received(given)?);
        }
        Ok(())
    }

    /// As [`Connection::call`], and sends a descriptor along. The message is short.
    pub(crate) fn call_sending(
        &mut self,
        kind: Request,
        body: &[&[u8]],
        descriptor: BorrowedFd<'_>,
        patience: Option<Duration>,
    ) -> Result<&[u8]> {
        let wait = Wait::at_most(patience)?;
        let request = self.write(kind, body);
        self.flush(&wait, Some(descriptor))?;
        self.receive(kind, request, &wait).map(|(body, _)| body)
    }

    /// Puts a request into the socket. Returns its number.
    fn put(&mut self, kind: Request, body: &[&[u8]], wait: &Wait<'_>) -> Result<u64> {
        let request = self.write(kind, body);
        self.flush(wait, None)?;
        if let Some(ring) = &mut self.ring {
            // Whoever attends there is told to look here.
            ring.point_to_socket();
        }
        Ok(request)
    }

    /// Writes a request into the buffer, and empties the other one. Returns its number.
    fn write(&mut self, kind: Request, body: &[&[u8]]) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.received.clear();
        message::write_request(&mut self.sent, kind, request, body);
        request
    }

    /// Sends what was written, and a descriptor with its first byte. A broker that is stopped, or busy, makes no room.
    fn flush(&mut self, wait: &Wait<'_>, mut descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
        let mut rest = &self.sent[..];
        while !rest.is_empty() {
            let sent = match descriptor {
                Some(descriptor) => socket::send_now_with(&self.stream, rest, descriptor),
                None => socket::send_now(&self.stream, rest),
            };
            match sent {
                Ok(sent) => (rest, descriptor) = (&rest[sent..], None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait.until(|until| socket::wait_writable(&self.stream, until))?;
                }
                Err(error) => return Err(self.last_words().unwrap_or_else(|| broken(error))),
            }
        }
        Ok(())
    }

    /// Waits for the reply to a request, and for the descriptor that comes with it.
    fn receive(&mut self, kind: Request, request: u64, wait: &Wait<'_>) -> Result<(&[u8], Option<OwnedFd>)> {
        // Only the replies to these bring a descriptor.
        let mut fd = matches!(kind, Request::Attach | Request::Fetch | Request::Ring).then_some(None);
        let (head, announced) = loop {
            if let Some(whole) = whole(&self.received)? {
                break whole;
            }
            wait.until(|until| socket::wait_readable(&self.stream, until))?;
            let received = if let Some(fd) = &mut fd {
                let mut chunk = [0; 1024];
                socket::receive_now_with(&self.stream, &mut chunk).map(|(received, came)| {
                    *fd = came.or(fd.take());
                    self.received.extend_from_slice(&chunk[..received]);
                    received
                })
            } else {
                socket::receive_now(&self.stream, &mut self.received)
            };
            match received {
                Ok(0) => return Err(gone()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(broken(error)),
                _ => {}
            }
        };
        self.body_of(head, announced, kind, request).map(|body| (body, fd.flatten()))
    }

    /// The body of what was received, if it is the reply to this request.
    fn body_of(&self, head: Head, announced: Announced, kind: Request, request: u64) -> Result<&[u8]> {
        let body = &self.received[HEAD..HEAD + head.len as usize];
        match announced {
            Announced::Failure if head.request == message::UNASKED => Err(message::failed(body)),
            _ if head.request != request => Err(message::protocol("a reply to another request came")),
            Announced::Reply(to) if to == kind => Ok(body),
            Announced::Failure => Err(message::failed(body)),
            _ => Err(message::protocol(OF_ANOTHER_KIND)),
        }
    }

    /// What the broker has said before it closed the connection, if it has.
    fn last_words(&mut self) -> Option<Error> {
        while let Ok(1..) = socket::receive_now(&self.stream, &mut self.received) {}
        let (head, announced) = whole(&self.received).ok()??;
        let failed = message::failed(self.received.get(HEAD..HEAD + head.len as usize)?);
        (announced == Announced::Failure && head.request == message::UNASKED).then_some(failed)
    }

    /// The socket, for those who may have to end a call from another thread.
    pub(crate) fn stream(&self) -> &Arc<UnixStream> {
        &self.stream
    }

    /// Whether the other end has closed, as far as can be told between calls, when nothing else is to be read.
    pub(crate) fn is_closed(&self) -> bool {
        socket::wait_readable(&self.stream, Some(Instant::now())).unwrap_or(true)
    }

    /// Sends a short message that has no reply, unless it would have to wait: then the broker has enough to read already.
    pub(crate) fn tell(&self, kind: Request, body: &[u8]) -> Result<()> {
        match socket::send_now(&self.stream, &message::request(kind, 0, body)) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(broken(error)),
            _ => Ok(()),
        }
    }
}

/// How long one waits for the broker, and who is asked meanwhile whether to wait on.
struct Wait<'a> {
    until: Option<Instant>,
    limits: Option<&'a Limits>,
}

impl<'a> Wait<'a> {
    /// Without any time nothing is begun.
    fn at_most(patience: Option<Duration>) -> Result<Self> {
        if patience == Some(Duration::ZERO) {
            return Err(late());
        }
        Ok(Self { until: patience.and_then(|patience| Instant::now().checked_add(patience)), limits: None })
    }

    fn under(limits: &'a Limits, patience: Option<Duration>) -> Result<Self> {
        Ok(Self { limits: limits.ask().then_some(limits), ..Self::at_most(patience)? })
    }

    /// Of one who does not wait.
    fn not() -> Self {
        Self { until: Some(Instant::now()), limits: None }
    }

    /// Waits until it is ready, which `is_ready` waits for until some time. By the clock: a signal that interrupts it does not make it longer.
    fn until(&self, is_ready: impl Fn(Option<Instant>) -> io::Result<bool>) -> Result<()> {
        loop {
            let look = self.limits.map(|_| Instant::now() + LOOK);
            if is_ready(self.until.into_iter().chain(look).min()).map_err(broken)? {
                return Ok(());
            }
            self.check()?;
        }
    }

    /// How long one waits until it looks up.
    fn slice(&self) -> Duration {
        self.until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK))
    }

    /// Whether to wait on.
    fn check(&self) -> Result<()> {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            return Err(late());
        }
        if self.limits.is_some_and(Limits::is_given_up) { Err(scope::cancelled()) } else { Ok(()) }
    }
}

/// The head, once it and its body are there.
fn whole(bytes: &[u8]) -> Result<Option<(Head, Announced)>> {
    if bytes.len() < HEAD {
        return Ok(None);
    }
    let (head, announced) = Head::parse(bytes)?;
    debug_assert!(head.len as usize <= LONGEST_BODY);
    Ok((bytes.len() >= HEAD + head.len as usize).then_some((head, announced)))
}

fn broken(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => gone(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => late(),
        _ => Error::os("talk to the broker", error),
    }
}

fn late() -> Error {
    Error::new(ErrorKind::Timeout, "the broker has not answered in time")
        .help("does the method take long, or is the broker stopped?")
}

fn gone() -> Error {
    Error::new(ErrorKind::BrokerGone, "the broker has ended")
        .help("objects that are held can still be used; for the rest start the broker again: its clients find it by themselves")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::authkey::Authkey;
    use crate::object::CallScope;
    use crate::sys::signals::ends_while_signals_come;

    /// What a client with a key says to something that answers each of its messages with these bodies.
    fn prove_to(login: &Login, answers: &[&[u8]]) -> Result<()> {
        let (stream, theirs) = UnixStream::pair().expect("a pair");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut received = Vec::new();
                for answer in answers {
                    while whole(&received).expect("a message").is_none() {
                        if socket::receive_some(&theirs, &mut received).expect("received") == 0 {
                            return;
                        }
                    }
                    let (head, announced) = whole(&received).expect("a message").expect("whole");
                    received.drain(..HEAD + head.len as usize);
                    let Announced::Request(request) = announced else { panic!("{announced:?}") };
                    socket::send_all(&theirs, &message::reply(request, head.request, answer)).expect("sent");
                }
            });
            Connection::over(stream).prove(login, Duration::from_secs(20))
        })
    }

    #[test]
    fn what_does_not_know_the_key_is_no_broker() {
        let key = Authkey::new("key");
        let demand = Login::Demand(key.clone());
        let kind = |answers: &[&[u8]]| prove_to(&demand, answers).expect_err("refused").kind();
        assert_eq!(kind(&[&[7; 32], &[8; 32]]), ErrorKind::WrongAuthkey);
        // It says that there is nothing to prove.
        assert_eq!(kind(&[&[]]), ErrorKind::WrongAuthkey);
        assert!(prove_to(&Login::Offer(key.clone()), &[&[]]).is_ok());
        // With a key that is offered, it is not the broker either.
        let offered = prove_to(&Login::Offer(key), &[&[7; 32], &[8; 32]]).expect_err("refused");
        assert_eq!(offered.kind(), ErrorKind::WrongAuthkey);
        // Proofs of other lengths, and none.
        for answers in [&[&[7_u8; 31][..]][..], &[&[7; 33]], &[&[7; 32], &[8; 31]], &[&[7; 32], &[]]] {
            assert_eq!(kind(answers), ErrorKind::Protocol);
        }
    }
    /// Until when a test that shows a mistake goes on.
    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(30);

    #[test]
    fn signals_do_not_make_a_call_wait_longer() {
        let (stream, theirs) = UnixStream::pair().expect("a pair");
        let mut connection = Connection::over(stream);
        assert!(ends_while_signals_come(LONG, || {
            let error = connection.call(Request::Attach, &[], Some(SHORT)).expect_err("no answer");
            assert_eq!(error.kind(), ErrorKind::Timeout);
        }));
        drop(theirs);
    }

    #[test]
    fn signals_do_not_keep_a_call_from_being_given_up() {
        let (stream, theirs) = UnixStream::pair().expect("a pair");
        let mut connection = Connection::over(stream);
        let given_up = || connection.call_under(&scope::current(), Request::Attach, &[], None).map(|_| ());
        let limits = CallScope::new().give_up_if(|| true);
        assert!(ends_while_signals_come(LONG, || {
            assert_eq!(limits.run(given_up).expect_err("given up").kind(), ErrorKind::Cancelled);
        }));
        drop(theirs);
    }

    #[test]
    fn a_broker_that_reads_nothing_holds_nobody() {
        let large = vec![0; 1 << 22];
        let (stream, theirs) = UnixStream::pair().expect("a pair");
        let mut connection = Connection::over(stream);
        let (said, heard) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let error = connection.call(Request::Call, &[&large], Some(SHORT)).expect_err("no room");
                said.send(error.kind()).expect("heard");
                let given_up = || connection.call_under(&scope::current(), Request::Call, &[&large], None).map(|_| ());
                let error = CallScope::new().give_up_if(|| true).run(given_up).expect_err("no room");
                said.send(error.kind()).expect("heard");
                let error = connection.send(Request::Slab, &[&large]).expect_err("no room");
                said.send(error.kind()).expect("heard");
            });
            for kind in [ErrorKind::Timeout, ErrorKind::Cancelled, ErrorKind::Timeout] {
                let kinds = heard.recv_timeout(LONG).unwrap_or_else(|_| {
                    // Or the thread is waited for in vain.
                    theirs.shutdown(std::net::Shutdown::Both).expect("shut");
                    panic!("the call waits on")
                });
                assert_eq!(kinds, kind);
            }
        });
    }
}
