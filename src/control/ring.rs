//! The call ring: a place for one request and one response in memory that a connection's two ends share, and nobody else. What goes through it is what would go over the
//! socket, which stays for all the rest, but for the head: a turn says which request it is, so kind and length are enough. Who writes what and when: `docs/protocol.md`, "The
//! call ring".
//!
//! | word | what it says | who writes it |
//! |---|---|---|
//! | request turn | number of what was posted last (30 bits); bit 30: nothing but that there is something at the socket; bit 31: nobody attends, use the socket | the client, by compare-and-swap from what it has posted last; bit 31 the broker |
//! | response turn | number of the request that is answered | the broker |
//! | closed, in each half | one end has gone | either |
//! | event, in each half | whether the other end sleeps | see [`Event`] |
//! | head, in each half | length of the body (24 bits) and what it is (8 bits): the number of a request, or of the one that is answered, or that it has failed | the one that writes the body |
//!
//! Everything here is the peer's to change at any moment: each word is read once, and bytes are copied out before they are looked at.

use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::message::{Announced, LONGEST_BODY, Request, protocol};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Event, Spin};
use crate::sys::fork::ForkToken;
use crate::sys::pages::Pages;

/// The longest body in words.
const WORDS: usize = LONGEST_BODY.div_ceil(4);
/// What goes before the body, so that a short one shares a cache line with it.
const TURN: usize = 0;
const CLOSED: usize = 1;
const EVENT: usize = 2;
const HEAD: usize = 3;
const BODY: usize = 4;
/// Words of a half: processors fetch lines in pairs, so halves begin 128 bytes apart.
const HALF: usize = (BODY + WORDS).next_multiple_of(32);
const SIZE: u64 = (2 * HALF * 4) as u64;

const AWAY: u32 = 1 << 31;
const AT_SOCKET: u32 = 1 << 30;
const NUMBER: u32 = AT_SOCKET - 1;

/// Where in a head it stands what the body is.
const KIND: u32 = 24;
const LEN: u32 = (1 << KIND) - 1;
/// No request has this number.
const FAILURE: u8 = u8::MAX;
const _: () = assert!(LONGEST_BODY <= LEN as usize && Request::LARGEST < FAILURE as u16);

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

    /// Writes a body, which is in parts. What is too long for it must not come here.
    // Relaxed, here and below: the turn is stored with Release after the body, and loaded with Acquire before it.
    fn write(self, kind: u8, parts: &[&[u8]]) {
        let mut words = self.0[BODY..].iter();
        let mut put = |word: u64| words.next().iter().for_each(|place| place.store(word as u32, Ordering::Relaxed));
        // Bytes that do not fill a word yet, and how many.
        let (mut begun, mut count) = (0_u64, 0);
        let mut len = 0;
        for part in parts {
            len += part.len();
            let (whole, rest) = part.as_chunks();
            for word in whole {
                begun |= u64::from(u32::from_le_bytes(*word)) << (8 * count);
                put(begun);
                begun >>= 32;
            }
            for byte in rest {
                begun |= u64::from(*byte) << (8 * count);
                count += 1;
                if count == 4 {
                    put(begun);
                    (begun, count) = (0, 0);
                }
            }
        }
        if count > 0 {
            put(begun);
        }
        self.0[HEAD].store(u32::from(kind) << KIND | len as u32, Ordering::Relaxed);
    }

    /// Copies the body over what was in the buffer. Returns what it is.
    fn read(self, body: &mut Vec<u8>) -> Result<u8> {
        let head = self.0[HEAD].load(Ordering::Relaxed);
        let len = (head & LEN) as usize;
        if len > LONGEST_BODY {
            return Err(protocol(format!(
                "a body of {len} bytes in a call ring is longer than the {LONGEST_BODY} allowed"
            )));
        }
        body.resize(len.next_multiple_of(4), 0);
        for (place, word) in body.as_chunks_mut().0.iter_mut().zip(&self.0[BODY..]) {
            *place = word.load(Ordering::Relaxed).to_le_bytes();
        }
        body.truncate(len);
        Ok((head >> KIND) as u8)
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
    /// One, whose body is in the buffer.
    Answer(Announced),
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

    /// Posts a request, whose body is in parts. False: nobody attends, or it is too long; the socket is the way.
    pub(crate) fn post(&mut self, kind: Request, body: &[&[u8]]) -> bool {
        let half = self.ring.request();
        // Not in the half of the request, whose line the one that looks there has: what is read there has to be fetched before it is written.
        let is_closed = self.ring.response().is_closed();
        if is_closed || body.iter().map(|part| part.len()).sum::<usize>() > LONGEST_BODY {
            return false;
        }
        // The last one was answered: nobody reads here.
        half.write(kind as u8, body);
        self.take_turn(0)
    }

    /// All words of both halves, for one that writes what it likes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn words(&self) -> &[AtomicU32] {
        &self.ring.0.words()[..2 * HALF]
    }

    /// Tells whoever attends that a request was sent over the socket.
    pub(crate) fn point_to_socket(&mut self) {
        self.take_turn(AT_SOCKET);
    }

    fn take_turn(&mut self, mark: u32) -> bool {
        let half = self.ring.request();
        let next = (self.turn + 1) & NUMBER | mark;
        // Release: the broker sees the body with the turn. SeqCst: see `Event::wake_after_swap`.
        if half.turn().compare_exchange(self.turn, next, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            return false;
        }
        self.turn = next;
        self.spin.saw(half.event().wake_after_swap());
        true
    }

    /// Waits for the answer to what was posted last, and copies it over what was in the buffer.
    pub(crate) fn hear(&self, timeout: Duration, answer: &mut Vec<u8>) -> Result<Heard> {
        let half = self.ring.response();
        let heard = half.event().wait(&self.spin, Some(timeout), || {
            // Acquire: pairs with the release of `answer`.
            let is_answered = half.turn().load(Ordering::Acquire) == self.turn;
            if is_answered { Some(true) } else { half.is_closed().then_some(false) }
        });
        match heard {
            Some(true) => {}
            Some(false) => return Ok(Heard::Closed),
            None => return Ok(Heard::Nothing),
        }
        match half.read(answer)? {
            FAILURE => Ok(Heard::Answer(Announced::Failure)),
            number => kind(number).map(|to| Heard::Answer(Announced::Reply(to))),
        }
    }
}

fn kind(number: u8) -> Result<Request> {
    Request::numbered(number.into()).ok_or_else(|| protocol(format!("there is no request {number} in a call ring")))
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
    /// A request, whose body is in the buffer.
    Request(Request),
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
        kind(half.read(request)?).map(Posted::Request)
    }

    /// Counts the next request as taken, which has yet to be posted: for a broker that answers what it likes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn foresee(&mut self) {
        self.turn = (self.turn + 1) & NUMBER;
    }

    /// Answers the request that was taken last. `to`: what that was; `None`: it has failed.
    pub(crate) fn answer(&self, to: Option<Request>, body: &[u8]) -> Result<()> {
        if body.len() > LONGEST_BODY {
            return Err(Error::new(ErrorKind::Protocol, "an answer is longer than a message can be"));
        }
        let half = self.ring.response();
        half.write(to.map_or(FAILURE, |to| to as u8), &[body]);
        // Release: the client sees the body with the turn.
        half.turn().store(self.turn, Ordering::Release);
        self.spin.saw(half.event().wake());
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

    const ASKED: Posted = Posted::Request(Request::Call);
    const ANSWERED: Heard = Heard::Answer(Announced::Reply(Request::Call));

    fn post(caller: &mut CallerEnd, body: &[u8]) -> bool {
        caller.post(Request::Call, &[body])
    }

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
                while answerer.next(None, &mut request).expect("well formed") == ASKED {
                    request.reverse();
                    answerer.answer(Some(Request::Call), &request).expect("it fits");
                }
            });
            let mut answer = Vec::new();
            for len in (0..200).chain([LONGEST_BODY - 1, LONGEST_BODY]) {
                let message: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
                // In parts of all lengths.
                let (first, rest) = message.split_at(len / 3);
                let (second, third) = rest.split_at(len % 5 * rest.len() / 8);
                assert!(caller.post(Request::Call, &[first, second, third]));
                assert_eq!(caller.hear(LONG, &mut answer).expect("well formed"), ANSWERED);
                answer.reverse();
                assert_eq!(answer, message);
            }
            assert!(!post(&mut caller, &vec![0; LONGEST_BODY + 1]));
            drop(caller);
        });
    }

    #[test]
    fn one_that_does_not_attend_is_not_asked_and_one_that_leaves_misses_nothing() {
        let (mut caller, mut answerer) = pair();
        let mut buffer = Vec::new();
        assert!(!post(&mut caller, b"before anybody attends"));
        answerer.attend();
        assert_eq!(answerer.next(Some(SHORT), &mut buffer).expect("in order"), Posted::Nothing);
        assert!(!post(&mut caller, b"after it has left"));
        answerer.attend();
        assert!(post(&mut caller, b"in time"));
        // It would leave at once, but for what is there.
        assert_eq!(answerer.next(Some(Duration::ZERO), &mut buffer).expect("in order"), ASKED);
        assert_eq!(buffer, b"in time");
        answerer.answer(Some(Request::Call), b"yes").expect("it fits");
        assert_eq!(caller.hear(LONG, &mut buffer).expect("in order"), ANSWERED);
        caller.point_to_socket();
        assert_eq!(answerer.next(None, &mut buffer).expect("in order"), Posted::AtSocket);
        // Answered there, which is seen before the turn is.
        caller.point_to_socket();
        assert!(post(&mut caller, b"the next"));
        assert_eq!(answerer.next(None, &mut buffer).expect("in order"), ASKED);
        assert_eq!(buffer, b"the next");
        // What was pointed to before it has left is no reason to lose count.
        caller.point_to_socket();
        answerer.leave();
        assert!(!post(&mut caller, b"after it has left"));
        answerer.attend();
        assert!(post(&mut caller, b"after it has come back"));
        assert_eq!(answerer.next(None, &mut buffer).expect("in order"), ASKED);
    }

    #[test]
    fn the_end_of_either_wakes_the_other() {
        let (mut caller, mut answerer) = pair();
        answerer.attend();
        assert!(post(&mut caller, b"x"));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut request = Vec::new();
                assert_eq!(answerer.next(None, &mut request).expect("in order"), ASKED);
            });
            assert_eq!(caller.hear(LONG, &mut Vec::new()).expect("in order"), Heard::Closed);
        });
        assert!(!post(&mut caller, b"x"));
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
            assert!(post(&mut caller, &[number]));
            assert_eq!(answerer.next(None, &mut buffer).expect("in order"), ASKED);
        }
        answerer.turn = 1;
        answerer.answer(Some(Request::Call), b"late").expect("it fits");
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
            assert!(post(&mut caller, &[byte]));
            assert_eq!(answerer.next(None, &mut buffer).expect("in order"), ASKED);
            answerer.answer(Some(Request::Call), &buffer).expect("it fits");
            assert_eq!(caller.hear(LONG, &mut buffer).expect("in order"), ANSWERED);
            assert_eq!(buffer, [byte]);
        }
    }
}
