//! Every way in which foreign bytes come in, as a function of bytes that panics if a promise is broken.
//!
//! `cargo test` runs each with the seeds in `tests/fuzz/seeds`, with damaged seeds and with random bytes; the targets in `tests/fuzz` run the same functions, guided by what
//! code they reach. What those find becomes a seed. A function says whether its bytes made sense, so that seeds can't silently become nonsense.
#![allow(clippy::expect_used, clippy::panic, reason = "a broken promise ends the run")]

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::broker::alone::{Alone, Attended};
use crate::broker::config::Config;
use crate::class::{ClassBuilder, ClassTable, Dict, Key, List, MethodError};
use crate::client::Manager;
use crate::control::call;
use crate::control::connection::Connection;
use crate::control::message::{
    self, Announced, At, Attach, AuditDone, Create, GiveBack, Granted, HEAD, Head, HeapUse, Join, Named, Of, OrderSlab,
    Publish, Request, Take, Welcome,
};
use crate::control::ring::{AnswererEnd, CallerEnd, Ring};
use crate::error::ErrorKind;
use crate::object::scope::Limits;
use crate::object::{Array, Datum, Object, Proxy, Ticket, Value, transit};
use crate::region::Region;
use crate::region::layout::{Capacities, Map, PAGE};
use crate::sync::Event;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sys::place;
use crate::table::{census, names, tickets};

/// A body of the `rkyv` format: what can be read is written and read again as the same.
macro_rules! archived {
    ($type:ty, $body:expr) => {
        message::unarchive::<$type>($body).is_ok_and(|value| {
            let again = message::archive(&value).expect("what was read can be written");
            assert_eq!(message::unarchive::<$type>(&again).expect("what was written can be read"), value);
            true
        })
    };
}

/// A message, as either end reads it.
pub fn message(bytes: &[u8]) -> bool {
    let Ok((head, announced)) = Head::parse(bytes) else { return false };
    let Some(body) = bytes[HEAD..].get(..head.len as usize) else { return false };
    let whole = &bytes[..HEAD + body.len()];
    match announced {
        Announced::Request(request) => {
            assert_eq!(message::request(request, head.request, body), whole);
            match request {
                Request::Attach => message::fixed::<Attach>(body).is_ok(),
                Request::Join => message::fixed::<Join>(body).is_ok(),
                Request::Create => archived!(Create, body),
                Request::Slab => archived!(OrderSlab, body),
                Request::Publish => archived!(Publish, body),
                Request::Unpublish | Request::Wait => archived!(Named, body),
                Request::Deadline => message::fixed::<At>(body).is_ok(),
                Request::ClearPoison => message::fixed::<Of>(body).is_ok(),
                Request::Take => message::fixed::<Take>(body).is_ok(),
                Request::GiveBack => message::fixed::<GiveBack>(body).is_ok(),
                _ => true,
            }
        }
        Announced::Reply(to) => {
            assert_eq!(message::reply(to, head.request, body), whole);
            match to {
                Request::Attach => message::fixed::<Welcome>(body).is_ok(),
                Request::Create => message::fixed::<Granted>(body).is_ok(),
                Request::Slab => message::slab(body).is_ok(),
                Request::Audit => message::fixed::<AuditDone>(body).is_ok(),
                Request::Usage => message::fixed::<HeapUse>(body).is_ok(),
                _ => true,
            }
        }
        Announced::Failure => {
            let error = message::failed(body);
            let again = message::failure(head.request, &error);
            let (_, announced) = Head::parse(&again).expect("the longest error fits a message");
            assert_eq!(announced, Announced::Failure);
            assert_eq!(message::failed(&again[HEAD..]).kind(), error.kind());
            error.kind() != ErrorKind::Protocol
        }
    }
}

/// A host with an object of each kind.
struct Stage {
    alone: Alone,
    list: List,
    dict: Dict,
    /// Kept alive, so that their ids can be used.
    _others: (Object, Array<u64>, Value<u64>, Array<u8>),
    objects: u64,
}

thread_local! {
    static STAGE: Stage = Stage::new();
}

impl Stage {
    fn new() -> Self {
        let capacities =
            Capacities { sessions: 2, objects: 4096, tickets: 1024, names: 64, types: 64, heap: 1024 * PAGE };
        let config = Config { name: "alone".into(), capacities, ..Config::default() };
        let alone = Alone::new(&config, vec![taker()]).expect("a host");
        let (list, dict, others) = alone.inside(|| {
            let manager = Manager::current().expect("inside");
            let list = List::new(&manager).expect("a list");
            let dict = Dict::new(&manager).expect("a dict");
            let taker = manager.create::<Object>("Taker", &()).expect("a taker");
            let numbers = manager.array(&[1_u64, 2, 3]).expect("an array");
            let value = manager.value(4_u64).expect("a value");
            // The arguments of `List.push(7)`.
            let arguments = manager.array(b"\x91\x07").expect("arguments");
            arguments.seal().expect("sealed");
            (list, dict, (taker, numbers, value, arguments))
        });
        let objects = census::count(alone.session().region());
        Self { alone, list, dict, _others: others, objects }
    }

    fn region(&self) -> &Region {
        self.alone.session().region()
    }

    /// Whether nothing is left but what was there at the start. Destructors run in a thread.
    fn is_clean(&self) -> bool {
        census::count(self.region()) == self.objects && tickets::live(self.region()).next().is_none()
    }

    /// Empties the containers, after which nothing may be left.
    fn clear(&self) {
        self.alone.inside(|| {
            self.list.clear().expect("cleared");
            self.dict.clear().expect("cleared");
        });
        let until = Instant::now() + Duration::from_secs(10);
        while !self.is_clean() {
            let written = self.alone.answer(Request::Collect, &[0; 24]).expect("collected");
            self.alone.settle(&written);
            assert!(
                Instant::now() < until,
                "something is left: {:?}",
                census::objects(self.region()).collect::<Vec<_>>()
            );
        }
    }
}

/// A class whose methods take every form of argument, and return it.
fn taker() -> ClassTable {
    fn same<A>(_: &(), arguments: A) -> Result<A, MethodError> {
        Ok(arguments)
    }
    ClassBuilder::<()>::new("Taker")
        .constructor("", |(): ()| Ok(()))
        .method("plain", "", same::<Plain>)
        .method("shapes", "", same::<Shapes>)
        .method("maps", "", same::<Maps>)
        .method("proxies", "", same::<Proxies>)
        .method("any", "", same::<Datum>)
        .build()
}

type Plain = (bool, Option<i8>, u64, f32, char, String);
type Shapes = (Shape, Vec<Shape>, Option<Box<Shape>>, (u8, u8), [u8; 4]);
type Maps = (BTreeMap<String, Vec<u8>>, BTreeMap<i32, Option<String>>, Vec<Key>, VecDeque<u16>);
type Proxies = (Object, Option<Array<u64>>, Vec<Datum>, Option<List>);

#[derive(Serialize, Deserialize)]
enum Shape {
    Nothing,
    Number(i64),
    Pair(u16, String),
    Named { x: f64, text: Option<String> },
}

/// What can be asked of a method's thread.
const CALLS: [Request; 5] = [Request::Call, Request::New, Request::Describe, Request::Collect, Request::Classes];

/// Calls as they come over the socket, one after the other: a byte for the request, two for the length, the body.
pub fn calls(mut bytes: &[u8]) -> bool {
    STAGE.with(|stage| {
        // What a client gets it keeps, so that later calls can name it.
        let mut results: Vec<Datum> = Vec::new();
        let mut all_answered = !bytes.is_empty();
        while let [request, low, high, rest @ ..] = bytes {
            let request = CALLS[usize::from(*request) % CALLS.len()];
            let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()).min(message::LONGEST_BODY);
            let (body, after) = rest.split_at(len);
            bytes = after;
            match stage.alone.answer(request, body) {
                Ok(written) => {
                    let (head, announced) = Head::parse(&written.bytes).expect("a reply has a head");
                    assert_eq!((announced, head.len as usize), (Announced::Reply(request), written.bytes.len() - HEAD));
                    let session = stage.alone.session();
                    let read = call::read_result(session, &written.bytes[HEAD..], &mut |result| {
                        results.push(transit::read_result(session, result)?);
                        Ok(())
                    });
                    read.expect("what is answered can be read");
                    stage.alone.settle(&written);
                }
                Err(error) => {
                    all_answered = false;
                    assert_ne!(error.kind(), ErrorKind::MethodPanicked, "{error}");
                    let failure = message::failure(1, &error);
                    assert_eq!(message::failed(&failure[HEAD..]).kind(), error.kind());
                }
            }
        }
        drop(results);
        stage.clear();
        all_answered
    })
}

/// A call ring whose other end writes what it likes, at any time: a byte that says whose end is looked at, then what the other one does, step by step.
pub fn ring(bytes: &[u8]) -> bool {
    let Some((side, script)) = bytes.split_first() else { return false };
    let (ring, fd) = Ring::create().expect("pages");
    let caller = CallerEnd::received(fd).expect("the same pages");
    STAGE.with(|stage| {
        let made_sense = match side % 2 {
            0 => hostile_client(stage, ring, caller, Script(script)),
            _ => hostile_broker(stage, ring, caller, Script(script)),
        };
        stage.clear();
        made_sense
    })
}

/// What the other end of a ring does.
enum Step<'a> {
    /// Writes a word, and wakes whoever sleeps at it.
    Word { place: usize, value: u32 },
    /// Writes bytes from a word on.
    Bytes { place: usize, bytes: &'a [u8] },
    /// Sends a message as it should be; what is in it may be anything.
    Message { request: Request, body: &'a [u8] },
    /// Says that there is something at the socket.
    Point,
    /// Lets the other one have its turn.
    Turn,
}

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(u16::from_le_bytes(self.take()?)).min(self.0.len()).min(message::LONGEST_BODY);
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(bytes)
    }

    fn next(&mut self, words: usize) -> Option<Step<'a>> {
        let [what] = self.take()?;
        Some(match what % 8 {
            // Where the words are that say something: the first few of each half.
            0 | 1 => {
                let [place] = self.take()?;
                let half = usize::from(place & 1) * (words / 2);
                Step::Word { place: half + usize::from(place >> 1) % 128, value: u32::from_le_bytes(self.take()?) }
            }
            2 => {
                let place = usize::from(u16::from_le_bytes(self.take()?)) % words;
                Step::Word { place, value: u32::from_le_bytes(self.take()?) }
            }
            3 => {
                let place = usize::from(u16::from_le_bytes(self.take()?)) % words;
                Step::Bytes { place, bytes: self.bytes()? }
            }
            4 | 5 => {
                let [request] = self.take()?;
                Step::Message { request: CALLS[usize::from(request) % CALLS.len()], body: self.bytes()? }
            }
            6 => Step::Point,
            _ => Step::Turn,
        })
    }
}

impl Step<'_> {
    /// Does what is done by words alone. Returns what is more.
    fn scribble(self, words: &[AtomicU32]) -> Option<Self> {
        match self {
            Step::Word { place, value } => {
                words[place].store(value, Ordering::Release);
                Event::new(&words[place]).wake();
            }
            Step::Bytes { place, bytes } => {
                for (word, bytes) in words[place..].iter().zip(bytes.chunks_exact(4)) {
                    word.store(u32::from_le_bytes(bytes.try_into().expect("four")), Ordering::Relaxed);
                }
            }
            more => return Some(more),
        }
        None
    }
}

/// What a broker's thread makes of a ring.
fn hostile_client(stage: &Stage, ring: Arc<Ring>, mut caller: CallerEnd, mut script: Script<'_>) -> bool {
    let mut attendant = stage.alone.attend(ring).expect("a connection");
    let mut answered = 0;
    while let Some(step) = script.next(caller.words().len()) {
        match step.scribble(caller.words()) {
            Some(Step::Message { request, body }) => _ = caller.post(request, &[body]),
            Some(Step::Point) => caller.point_to_socket(),
            Some(Step::Turn) => match attendant.serve() {
                Ok(Attended::Call) => answered += 1,
                Ok(Attended::Nothing) => {}
                Ok(Attended::Closed) => break,
                // The connection is closed.
                Err(fault) => {
                    assert!(!fault.is_empty());
                    return false;
                }
            },
            _ => {}
        }
    }
    answered > 0
}

/// What a client makes of a ring.
fn hostile_broker(stage: &Stage, ring: Arc<Ring>, caller: CallerEnd, mut script: Script<'_>) -> bool {
    /// The client waits for so long; what it is given is there already.
    const PATIENCE: Duration = Duration::from_micros(200);
    // The broker's end of the socket is closed: nobody waits there.
    let stream = UnixStream::pair().expect("a pair").0;
    let (mut answerer, mut connection) = (AnswererEnd::new(ring), Connection::ringed(stream, caller));
    answerer.attend();
    let mut answered = 0;
    while let Some(caller) = connection.ring()
        && let Some(step) = script.next(caller.words().len())
    {
        match step.scribble(caller.words()) {
            Some(Step::Message { request, body }) => {
                answerer.foresee();
                // An answer that says that it has failed is one of another kind.
                let (to, body) = body.strip_prefix(b"\xff").map_or((Some(request), body), |failure| (None, failure));
                answerer.answer(to, body).expect("it fits");
            }
            Some(Step::Point) => answerer.leave(),
            Some(Step::Turn) => {
                match connection.call_by_ring(&Limits::default(), Request::Call, &[b"asked"], Some(PATIENCE)) {
                    Ok(body) => {
                        assert!(body.len() <= message::LONGEST_BODY);
                        answered += 1;
                        // Whatever it is, it can be read, or is an error.
                        let session = stage.alone.session();
                        let _ = call::read_result(session, body, &mut |result| {
                            transit::read_result::<Datum>(session, result).map(drop)
                        });
                    }
                    Err(error) => {
                        assert!(!error.message().is_empty());
                        return false;
                    }
                }
            }
            _ => {}
        }
    }
    answered > 0
}

/// Arguments and results as the types that a method declares: a byte for the type, then MessagePack.
pub fn arguments(bytes: &[u8]) -> bool {
    let Some((choice, bytes)) = bytes.split_first() else { return false };
    let read = match choice % 6 {
        0 => read_as::<Datum>,
        1 => read_as::<Plain>,
        2 => read_as::<Shapes>,
        3 => read_as::<Maps>,
        4 => read_as::<Proxies>,
        _ => read_as::<(Vec<Datum>, Key, BTreeMap<Key, Datum>, Option<Ticket>)>,
    };
    STAGE.with(|stage| {
        let understood = read(stage, bytes);
        stage.clear();
        understood
    })
}

/// What can be read can be written, and read again as the same. (Written is compared: a float may differ from itself.)
fn read_as<T: Serialize + DeserializeOwned>(stage: &Stage, bytes: &[u8]) -> bool {
    let session = stage.alone.session();
    let _ = transit::read_result::<T>(session, bytes);
    let Ok(value) = transit::read_arguments::<T>(session, bytes) else { return false };
    let written = transit::write_arguments(stage.region(), &value).expect("what was read can be written");
    let again: T = transit::read_arguments(session, &written).expect("what was written can be read");
    assert_eq!(transit::write_arguments(stage.region(), &again).expect("written once already"), written);
    let result = transit::write_result(session, &value).expect("what was read can be a result");
    let _: T = transit::read_result(session, result.value()).expect("a result arrives");
    stage.alone.settle(&result);
    true
}

/// The text of a ticket.
pub fn ticket(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(ticket) = text.parse::<Ticket>() else { return false };
    assert_eq!(ticket.to_string().parse::<Ticket>().expect("what is printed can be read"), ticket);
    STAGE.with(|stage| {
        let Ok(place) = ticket.verify(stage.region()) else { return false };
        // Signed, but nobody has issued it.
        let session = stage.alone.session();
        assert!(!crate::session::Hold::redeem(session, place, ticket.object()).is_ok_and(|taken| taken.is_ok()));
        stage.clear();
        true
    })
}

/// The text with which a program tells its broker what to be.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(config) = text.parse::<Config>() else { return false };
    let again: Config = config.to_string().parse().expect("what is printed can be read");
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
    if config.check().is_err() {
        return false;
    }
    let map = Map::of(config.capacities);
    let starts =
        [0, map.types, map.sessions, map.names, map.endings, map.tickets, map.slots, map.ledger, map.heap, map.end];
    assert!(starts.is_sorted_by(|a, b| a < b) && starts.iter().all(|start| start % PAGE == 0), "{map:?}");
    true
}

/// A text as the name of a broker and of an object.
pub fn name(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let is_brokers = place::check_name(text).is_ok();
    if is_brokers {
        let path = place::socket_path(text);
        assert_eq!(path.parent(), Some(&*place::directory()));
        assert_eq!(path.file_name().and_then(|file| file.to_str()), Some(&*format!("{text}.sock")));
        assert_eq!(place::segment_name(text).matches('/').count(), 1);
    }
    let is_objects = names::check_name(text).is_ok();
    STAGE.with(|stage| {
        let (region, id) = (stage.region(), stage.list.id());
        stage.alone.session().with_lane(|lane| {
            assert_eq!(names::insert(region, lane, text, id, 1).is_ok(), is_objects);
            let found = names::find(region, text);
            assert_eq!(found.as_ref().map(|found| (&*found.name, found.object)), is_objects.then_some((text, id)));
            if let Some(found) = found {
                names::remove(region, lane, &found);
            }
            assert_eq!(names::all(region).count(), 0);
        });
        assert!(stage.is_clean());
    });
    is_brokers || is_objects
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    type Target = fn(&[u8]) -> bool;

    const TARGETS: [(&str, Target); 7] = [
        ("message", message),
        ("calls", calls),
        ("arguments", arguments),
        ("ring", ring),
        ("ticket", ticket),
        ("config", config),
        ("name", name),
    ];

    /// The seeds of a target, with the names of their files.
    fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
        let mut seeds: Vec<_> = fs::read_dir(folder)
            .expect("each target has seeds")
            .map(|entry| {
                let entry = entry.expect("a file");
                (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a seed"))
            })
            .collect();
        seeds.sort();
        seeds
    }

    /// A seed is named `broken-...` if nothing is to come of it.
    #[test]
    fn every_seed_is_what_its_name_says() {
        for (target, run) in TARGETS {
            for (file, bytes) in seeds(target) {
                assert_eq!(run(&bytes), !file.starts_with("broken"), "tests/fuzz/seeds/{target}/{file}");
            }
        }
    }

    /// Each change: where, to what, and how.
    fn damage(bytes: &mut Vec<u8>, changes: &[(u16, u8, u8)]) {
        for (place, to, how) in changes {
            if bytes.is_empty() {
                return;
            }
            let place = usize::from(*place) % bytes.len();
            match how % 4 {
                0 => bytes[place] = *to,
                1 => bytes[place] ^= 1 << (to % 8),
                2 => drop(bytes.remove(place)),
                _ => bytes.insert(place, *to),
            }
        }
    }

    proptest! {
        #[test]
        fn damaged_seeds_break_no_promise(
            seed in any::<prop::sample::Index>(),
            changes in prop::collection::vec(any::<(u16, u8, u8)>(), 0..6),
        ) {
            for (target, run) in TARGETS {
                let mut bytes = seed.get(&seeds(target)).1.clone();
                damage(&mut bytes, &changes);
                run(&bytes);
            }
        }

        #[test]
        fn random_bytes_break_no_promise(bytes in prop::collection::vec(any::<u8>(), 0..400), text in ".{0,60}") {
            for (_, run) in TARGETS {
                run(&bytes);
                run(text.as_bytes());
            }
        }
    }
}
