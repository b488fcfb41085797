//! The call ring: a place for one request and one response in memory that a connection's two ends share, and nobody else. What goes through it is what would go over the
//! socket, which stays for all the rest. Who writes what and when: `docs/protocol.md`, "The call ring".
//!
//! | word | what it says | who writes it |
//! |---|---|---|
//! | request turn | number of what was posted last (30 bits); bit 30: nothing but that there is something at the socket; bit 31: nobody attends, use the socket | the client, by compare-and-swap from what it has posted last; bit 31 the broker |
//! | response turn | number of the request that is answered | the broker |
//! | closed, in each half | one end has gone | either |
//! | event, in each half | whether the other end sleeps | see [`Event`] |
//!
//! Everything here is the peer's to change at any moment: each word is read once, and bytes are copied out before they are looked at.

use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::message::{HEAD, LONGEST_BODY, protocol};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Event, Spin};
use crate::sys::fork::ForkToken;
use crate::sys::pages::Pages;

/// The longest message, in bytes and in words.
const LONGEST: usize = HEAD + LONGEST_BODY;
const WORDS: usize = LONGEST.div_ceil(4);
/// What goes before the message, so that a short one shares a cache line with it.
const TURN: usize = 0;
const CLOSED: usize = 1;
const EVENT: usize = 2;
const LEN: usize = 3;
const BYTES: usize = 4;
/// Words of a half: processors fetch lines in pairs, so halves begin 128 bytes apart.
const HALF: usize = (BYTES + WORDS).next_multiple_of(32);
const SIZE: u64 = (2 * HALF * 4) as u64;

const AWAY: u32 = 1 << 31;
const AT_SOCKET: u32 = 1 << 30;
const NUMBER: u32 = AT_SOCKET - 1;

/// The environment variable by which a program does without: `off`.
const VARIABLE: &str = "SHAREHOLD_CALL_RING";

/// Whether this process uses call rings.
pub(crate) fn is_wanted() -> bool {
    static WANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os(VARIABLE).is_none_or(|value| value != "off"));
    *WANTED
}

/// The memory that both ends have.
pub(crate) struct Ring(Pages);

/// The way there, or back.
#[derive(Clone, Copy)]
struct Half<'a>(&'a [AtomicU32]);

impl Ring {
    /// A new one, and the descriptor for the client. For the broker.
    pub(crate) fn create() -> Result<(Arc<Self>, OwnedFd)> {
        Pages::create("sharehold-ring", SIZE).map(|(pages, fd)| (Arc::new(Self(pages)), fd))
    }

    fn request(&self) -> Half<'_> {
        Half(&self.0.words()[..HALF])
    }

    fn response(&self) -> Half<'_> {
        Half(&self.0.words()[HALF..2 * HALF])
    }

    /// Says that one end has gone. By whoever sees it first.
    pub(crate) fn close(&self) {
        for half in [self.request(), self.response()] {
            // Release: what an end has written before is still seen.
            half.0[CLOSED].store(1, Ordering::Release);
            half.event().wake_in_any_case();
        }
    }
}

impl<'a> Half<'a> {
    fn turn(self) -> &'a AtomicU32 {
        &self.0[TURN]
    }

    fn event(self) -> Event<'a> {
        Event::new(&self.0[EVENT])
    }

    fn is_closed(self) -> bool {
        self.0[CLOSED].load(Ordering::Relaxed) != 0
    }

    // Relaxed, below: the turn is stored with Release after the bytes, and loaded with Acquire before them.
    fn write(self, message: &[u8]) {
        self.0[LEN].store(message.len() as u32, Ordering::Relaxed);
        let (words, rest) = message.as_chunks();
        for (place, word) in self.0[BYTES..].iter().zip(words) {
            place.store(u32::from_ne_bytes(*word), Ordering::Relaxed);
        }
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            self.0[BYTES + words.len()].store(u32::from_ne_bytes(last), Ordering::Relaxed);
        }
    }

    /// Copies the message over what was in the buffer.
    fn read(self, message: &mut Vec<u8>) -> Result<()> {
        let len = self.0[LEN].load(Ordering::Relaxed) as usize;
        if len > LONGEST {
            return Err(protocol(format!(
                "a message of {len} bytes in a call ring is longer than the {LONGEST} allowed"
            )));
        }
        message.clear();
        for word in &self.0[BYTES..BYTES + len.div_ceil(4)] {
            message.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        message.truncate(len);
        Ok(())
    }
}

/// The end of one that calls.
pub(crate) struct CallerEnd {
    ring: Ring,
    /// A forked child has its parent's mapping, and must not say anything there.
    process: ForkToken,
    /// What was posted last.
    turn: u32,
    spin: Spin,
}

impl std::fmt::Debug for CallerEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallerEnd").field("turn", &self.turn).finish_non_exhaustive()
    }
}

/// What a client has waited for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Answer,
    /// The broker has left the connection.
    Closed,
    /// Nothing, in the time given.
    Nothing,
}

impl CallerEnd {
    /// Of a ring that the broker has sent.
    pub(crate) fn received(fd: OwnedFd) -> Result<Self> {
        let ring = Ring(Pages::received(fd, SIZE)?);
        Ok(Self { ring, process: ForkToken::of_this_process()?, turn: 0, spin: Spin::default() })
    }

    /// Posts a request. False: nobody attends, the socket is the way.
    pub(crate) fn post(&mut self, message: &[u8]) -> bool {
        let half = self.ring.request();
        if message.len() > LONGEST || half.is_closed() {
            return false;
        }
        // The last one was answered: nobody reads here.
        half.write(message);
        self.take_turn(0)
    }

    /// All words of the ring, for a client that writes what it likes.
    #[cfg(test)]
    pub(crate) fn words(&self) -> &[AtomicU32] {
        self.ring.0.words()
    }

    /// Tells whoever attends that a request was sent over the socket.
    pub(crate) fn point_to_socket(&mut self) {
        self.take_turn(AT_SOCKET);
    }

    fn take_turn(&mut self, mark: u32) -> bool {
        let half = self.ring.request();
        let next = (self.turn + 1) & NUMBER | mark;
        // Release: the broker sees the message with the turn.
        if half.turn().compare_exchange(self.turn, next, Ordering::Release, Ordering::Relaxed).is_err() {
            return false;
        }
        self.turn = next;
        if !half.event().wake() {
            self.spin.encourage();
        }
        true
    }

    /// Waits for the answer to what was posted last, and copies it over what was in the buffer.
    pub(crate) fn hear(&self, timeout: Duration, answer: &mut Vec<u8>) -> Result<Heard> {
        let half = self.ring.response();
        let heard = half.event().wait(&self.spin, Some(timeout), || {
            // Acquire: pairs with the release of `answer`.
            let is_answered = half.turn().load(Ordering::Acquire) == self.turn;
            if is_answered { Some(Heard::Answer) } else { half.is_closed().then_some(Heard::Closed) }
        });
        match heard {
            Some(Heard::Answer) => half.read(answer).map(|()| Heard::Answer),
            other => Ok(other.unwrap_or(Heard::Nothing)),
        }
    }
}

impl Drop for CallerEnd {
    fn drop(&mut self) {
        if self.process.is_ours() {
            self.ring.close();
        }
    }
}

/// The end of one that answers.
pub(crate) struct AnswererEnd {
    ring: Arc<Ring>,
    /// What was taken last.
    turn: u32,
    spin: Spin,
}

/// What a broker has waited for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// A request, which is in the buffer.
    Request,
    /// There may be one at the socket.
    AtSocket,
    /// The client has gone.
    Closed,
    /// Nothing, in the time given: from now on nobody attends.
    Nothing,
}

impl AnswererEnd {
    pub(crate) fn new(ring: Arc<Ring>) -> Self {
        let end = Self { ring, turn: 0, spin: Spin::default() };
        end.ring.request().turn().store(AWAY, Ordering::Relaxed);
        end
    }

    /// The memory, for those who see first that the client has gone.
    pub(crate) fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// Lets the client post here. It has asked over the socket, and waits for the answer there.
    pub(crate) fn attend(&mut self) {
        self.turn = self.ring.request().turn().fetch_and(!AWAY, Ordering::AcqRel) & !AWAY;
    }

    /// Has the client use the socket. It waits for an answer there, so it has posted nothing but that there is something.
    pub(crate) fn leave(&self) {
        self.ring.request().turn().fetch_or(AWAY, Ordering::AcqRel);
    }

    /// Waits for a request, and copies it over what was in the buffer.
    pub(crate) fn next(&mut self, timeout: Option<Duration>, request: &mut Vec<u8>) -> Result<Posted> {
        let half = self.ring.request();
        let before = self.turn;
        let find = || {
            // Acquire: pairs with the release of `post`.
            let turn = half.turn().load(Ordering::Acquire) & !AWAY;
            if turn != before { Some(Some(turn)) } else { half.is_closed().then_some(None) }
        };
        let found = half.event().wait(&self.spin, timeout, find);
        let turn = match found {
            Some(Some(turn)) => turn,
            Some(None) => return Ok(Posted::Closed),
            // What was posted at the last moment is taken.
            None => match half.turn().compare_exchange(before, before | AWAY, Ordering::AcqRel, Ordering::Acquire) {
                Err(turn) if turn & !AWAY != before => turn & !AWAY,
                _ => return Ok(Posted::Nothing),
            },
        };
        // Not the next one, if it was told of the socket in between: only a request is waited for.
        self.turn = turn;
        if turn & AT_SOCKET != 0 {
            return Ok(Posted::AtSocket);
        }
        half.read(request).map(|()| Posted::Request)
    }

    /// Answers the request that was taken last.
    pub(crate) fn answer(&self, message: &[u8]) -> Result<()> {
        if message.len() > LONGEST {
            return Err(Error::new(ErrorKind::Protocol, "an answer is longer than a message can be"));
        }
        let half = self.ring.response();
        half.write(message);
        // Release: the client sees the message with the turn.
        half.turn().store(self.turn, Ordering::Release);
        if !half.event().wake() {
            self.spin.encourage();
        }
        Ok(())
    }
}

impl Drop for AnswererEnd {
    fn drop(&mut self) {
        self.ring.close();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(20);

    fn pair() -> (CallerEnd, AnswererEnd) {
        let (ring, fd) = Ring::create().expect("pages");
        (CallerEnd::received(fd).expect("the same pages"), AnswererEnd::new(ring))
    }

    #[test]
    fn requests_and_answers_of_every_length_arrive_whole() {
        let (mut caller, mut answerer) = pair();
        answerer.attend();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut request = Vec::new();
                while answerer.next(None, &mut request).expect("well formed") == Posted::Request {
                    request.reverse();
                    answerer.answer(&request).expect("it fits");
                }
            });
            let mut answer = Vec::new();
            for len in (1..200).chain([LONGEST - 1, LONGEST]) {
                let message: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
                assert!(caller.post(&message));
                assert_eq!(caller.hear(LONG, &mut answer).expect("well formed"), Heard::Answer);
                answer.reverse();
                assert_eq!(answer, message);
            }
            assert!(!caller.post(&vec![0; LONGEST + 1]));
            drop(caller);
        });
    }

    #[test]
    fn one_that_does_not_attend_is_not_asked_and_one_that_leaves_misses_nothing() {
        let (mut caller, mut answerer) = pair();
        let mut buffer = Vec::new();
        assert!(!caller.post(b"before anybody attends"));
        answerer.attend();
        assert_eq!(answerer.next(Some(SHORT), &mut buffer).expect("in order"), Posted::Nothing);
        assert!(!caller.post(b"after it has left"));
        answerer.attend();
        assert!(caller.post(b"in time"));
        // It would leave at once, but for what is there.
        assert_eq!(answerer.next(Some(Duration::ZERO), &mut buffer).expect("in order"), Posted::Request);
        assert_eq!(buffer, b"in time");
        answerer.answer(b"yes").expect("it fits");
        assert_eq!(caller.hear(LONG, &mut buffer).expect("in order"), Heard::Answer);
        caller.point_to_socket();
        assert_eq!(answerer.next(None, &mut buffer).expect("in order"), Posted::AtSocket);
        // Answered there, which is seen before the turn is.
        caller.point_to_socket();
        assert!(caller.post(b"the next"));
        assert_eq!(answerer.next(None, &mut buffer).expect("in order"), Posted::Request);
        assert_eq!(buffer, b"the next");
        // What was pointed to before it has left is no reason to lose count.
        caller.point_to_socket();
        answerer.leave();
        assert!(!caller.post(b"after it has left"));
        answerer.attend();
        assert!(caller.post(b"after it has come back"));
        assert_eq!(answerer.next(None, &mut buffer).expect("in order"), Posted::Request);
    }

    #[test]
    fn the_end_of_either_wakes_the_other() {
        let (mut caller, mut answerer) = pair();
        answerer.attend();
        assert!(caller.post(b"x"));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut request = Vec::new();
                assert_eq!(answerer.next(None, &mut request).expect("in order"), Posted::Request);
            });
            assert_eq!(caller.hear(LONG, &mut Vec::new()).expect("in order"), Heard::Closed);
        });
        assert!(!caller.post(b"x"));
        let (caller, mut answerer) = pair();
        answerer.attend();
        std::thread::scope(|scope| {
            scope.spawn(move || drop(caller));
            assert_eq!(answerer.next(None, &mut Vec::new()).expect("in order"), Posted::Closed);
        });
    }

    #[test]
    fn an_answer_to_an_older_request_is_not_heard() {
        let (mut caller, mut answerer) = pair();
        answerer.attend();
        let mut buffer = Vec::new();
        for number in [1, 2] {
            assert!(caller.post(&[number]));
            assert_eq!(answerer.next(None, &mut buffer).expect("in order"), Posted::Request);
        }
        answerer.turn = 1;
        answerer.answer(b"late").expect("it fits");
        assert_eq!(caller.hear(SHORT, &mut buffer).expect("in order"), Heard::Nothing);
    }

    #[test]
    fn numbers_wrap_round() {
        let (mut caller, mut answerer) = pair();
        answerer.attend();
        (caller.turn, answerer.turn) = (NUMBER - 1, NUMBER - 1);
        caller.ring.request().turn().store(NUMBER - 1, Ordering::Relaxed);
        let mut buffer = Vec::new();
        for byte in 0..4 {
            assert!(caller.post(&[byte]));
            assert_eq!(answerer.next(None, &mut buffer).expect("in order"), Posted::Request);
            answerer.answer(&buffer).expect("it fits");
            assert_eq!(caller.hear(LONG, &mut buffer).expect("in order"), Heard::Answer);
            assert_eq!(buffer, [byte]);
        }
    }
}
