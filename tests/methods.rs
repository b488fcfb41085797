//! Methods as a sceptic writes them: each does something that the broker did not expect.

#![allow(missing_docs, clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::eventually;
use rustix::process::{Pid, Signal, kill_process};
use sharehold::{CallScope, Canceller, Datum, Dict, ErrorKind, List, Manager, MethodError, Proxy};

/// An error with a cause, which has a cause, and so on.
#[derive(Debug)]
struct Link(u32, Option<Box<Link>>);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cause {}", self.0)
    }
}

impl std::error::Error for Link {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

/// A result that panics while it is written.
pub struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        panic!("while it was written");
    }
}

impl<'de> serde::Deserialize<'de> for Unwritable {
    fn deserialize<D: serde::Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

/// Adds one to a counter when it goes.
struct AddsAtItsEnd(CounterProxy);

impl Drop for AddsAtItsEnd {
    fn drop(&mut self) {
        self.0.add().expect("the counter is whole");
    }
}

#[derive(Debug, Default)]
pub struct Counter {
    count: u64,
}

#[sharehold::class]
impl Counter {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Goes on until nobody waits for it, or for the longest time of a test.
    pub fn keep(&mut self) {
        let until = Instant::now() + common::PATIENCE;
        while !sharehold::is_cancelled() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether a [`Slow`] is being made.
    pub fn sees_construction(&self) -> bool {
        CONSTRUCTING.load(Ordering::SeqCst)
    }

    pub fn fail_with_causes(&self, count: u32) -> Result<(), MethodError> {
        let first = (0..count).rev().fold(None, |cause, number| Some(Box::new(Link(number, cause))));
        Err(*first.expect("at least one"))?;
        Ok(())
    }

    /// Calls the last of the others with the rest of them, which does the same.
    pub fn fail_far_away(&self, mut others: Vec<CounterProxy>) -> Result<(), MethodError> {
        match others.pop() {
            Some(next) => Ok(next.fail_far_away(others)?),
            None => Err(MethodError::new("here")),
        }
    }

    pub fn give_and_panic(&self, list: List) -> (List, Unwritable) {
        (list, Unwritable)
    }

    pub fn panic_and_add(&self, other: CounterProxy) {
        let _adds = AddsAtItsEnd(other);
        panic!("first");
    }

    /// What comes of a call that may take 30 ms.
    pub fn ask_in_haste(&self, other: CounterProxy) -> String {
        let asked = CallScope::new().timeout(Duration::from_millis(30)).run(|| other.count());
        format!("{:?}", asked.map_err(|error| error.kind()))
    }
}

static CONSTRUCTING: AtomicBool = AtomicBool::new(false);

/// A class whose constructor takes long.
#[derive(Debug, Default)]
pub struct Slow;

#[sharehold::class]
impl Slow {
    pub fn new() -> Self {
        CONSTRUCTING.store(true, Ordering::SeqCst);
        let until = Instant::now() + common::PATIENCE;
        while !sharehold::is_cancelled() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self
    }
}

fn started() -> Manager {
    Manager::builder().class::<Counter>().class::<Slow>().start().expect("started")
}

#[test]
fn a_result_that_panics_while_it_is_written_holds_nothing() {
    let manager = started();
    let counter = CounterProxy::new(&manager).expect("created");
    let list = List::new(&manager).expect("created");
    let error = counter.give_and_panic(list.clone()).map(drop).expect_err("it panics");
    assert_eq!(error.kind(), ErrorKind::MethodPanicked);
    assert_eq!(manager.tickets().expect("listed"), []);
    assert_eq!(manager.object_info(list.id()).expect("alive").pins, 0);
    drop(list);
    eventually("only the counter is left", || manager.number_of_objects().expect("a number") == 1);
}

#[test]
fn a_destructor_that_calls_while_a_method_panics_poisons_nothing() {
    let manager = started();
    let (counter, other) = (CounterProxy::new(&manager).expect("created"), CounterProxy::new(&manager).expect("made"));
    assert_eq!(counter.panic_and_add(other.clone()).expect_err("it panics").kind(), ErrorKind::MethodPanicked);
    assert_eq!(other.count().expect("the call was whole"), 1);
    assert_eq!(counter.count().expect("the method was only reading"), 0);
}

#[test]
fn the_whole_chain_of_causes_and_calls_arrives() {
    let manager = started();
    let counter = CounterProxy::new(&manager).expect("created");
    let error = counter.fail_with_causes(12).expect_err("it fails");
    let causes: Vec<&str> =
        error.remote().expect("all of it").causes.iter().map(|cause| cause.message.as_str()).collect();
    assert_eq!(causes, (0..12).map(|number| format!("cause {number}")).collect::<Vec<_>>());
    let others = (0..24).map(|_| CounterProxy::new(&manager).expect("created")).collect();
    let error = counter.fail_far_away(others).expect_err("it fails");
    assert_eq!(error.remote().expect("all of it").places.len(), 25);
    // What no message has room for is cut, and says so.
    let error = counter.fail_with_causes(10_000).expect_err("it fails");
    let causes = &error.remote().expect("the start of it").causes;
    assert!(causes.len() > 8 && causes.last().expect("some").message.contains("more"), "{causes:?}");
}

#[test]
fn a_call_inside_of_a_method_keeps_to_its_time() {
    let manager = started();
    let (counter, busy) = (CounterProxy::new(&manager).expect("created"), CounterProxy::new(&manager).expect("made"));
    let canceller = Canceller::new();
    std::thread::scope(|scope| {
        scope.spawn(|| CallScope::new().canceller(&canceller).run(|| busy.keep()));
        eventually("it is busy", || manager.describe(busy.id()).expect("described") == "(busy)");
        assert_eq!(counter.ask_in_haste(busy.clone()).expect("called"), "Err(Timeout)");
        canceller.cancel();
    });
}

#[test]
fn one_that_is_asked_whether_to_wait_on_gives_up_and_its_next_call_gets_its_own_answer() {
    let manager = started();
    let (counter, busy) = (CounterProxy::new(&manager).expect("created"), CounterProxy::new(&manager).expect("made"));
    // The first calls of a connection go over the socket, later ones by its call ring.
    for calls_before in [0, 5] {
        (0..calls_before).for_each(|_| assert_eq!(counter.count().expect("called"), 0));
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let scope =
            CallScope::new().timeout(common::PATIENCE).give_up_if(move || count.fetch_add(1, Ordering::Relaxed) == 1);
        assert_eq!(scope.run(|| busy.keep()).expect_err("given up").kind(), ErrorKind::Cancelled);
        assert_eq!(asked.load(Ordering::Relaxed), 2, "the first answer was no");
        assert_eq!(counter.count().expect("called"), 0);
        // The method ends, since nobody waits for it.
        eventually("it is not busy", || manager.describe(busy.id()).expect("described") != "(busy)");
    }
}

#[test]
fn a_slow_constructor_holds_up_nobody_and_its_object_goes_with_its_caller() {
    let manager = started();
    let counter = CounterProxy::new(&manager).expect("created");
    let canceller = Canceller::new();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| CallScope::new().canceller(&canceller).run(|| SlowProxy::new(&manager)));
        eventually("it is being made", || counter.sees_construction().expect("called meanwhile"));
        manager.value(1_u8).expect("created meanwhile");
        CounterProxy::new(&manager).expect("created meanwhile");
        canceller.cancel();
        assert_eq!(slow.join().expect("no panic").expect_err("cancelled").kind(), ErrorKind::Cancelled);
    });
    eventually("only the counter is left", || manager.number_of_objects().expect("a number") == 1);
}

/// The first call of a thread needs a connection of its own, which only the broker can give.
#[test]
fn a_call_to_a_stopped_broker_ends_in_time_also_when_it_must_connect_first() {
    let manager = started();
    let counter = CounterProxy::new(&manager).expect("created");
    let broker = manager.child_pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("our child");
    kill_process(broker, Signal::STOP).expect("stopped");
    let stat = format!("/proc/{}/stat", broker.as_raw_nonzero());
    eventually("it has stopped", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    let haste = CallScope::new().timeout(Duration::from_millis(30));
    let started = Instant::now();
    let list = vec![7_u8; 1 << 20];
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(haste.run(|| counter.add()).expect_err("stopped").kind(), ErrorKind::Timeout));
            scope.spawn(|| {
                let pushed = haste.run(|| manager.create::<List>("List", &(list.clone(),)));
                assert_eq!(pushed.expect_err("stopped").kind(), ErrorKind::Timeout);
            });
        }
    });
    kill_process(broker, Signal::CONT).expect("goes on");
    assert!(started.elapsed() < common::PATIENCE, "they waited for {:?}", started.elapsed());
    assert!(counter.count().expect("callable again") <= 3);
}

#[test]
fn places_in_a_list_count_from_both_ends() {
    let manager = started();
    let list = List::new(&manager).expect("created");
    list.extend(vec![Datum::from(1), Datum::from(2), Datum::from(3)]).expect("extended");
    list.insert(-1, 9).expect("before the last one");
    list.insert(0, 8).expect("at the start");
    list.insert(5, 7).expect("at the end");
    list.insert(-6, 6).expect("at the start");
    let numbers: Vec<i128> = list.to_vec().expect("read").iter().filter_map(Datum::as_int).collect();
    assert_eq!(numbers, [6, 8, 1, 2, 9, 3, 7]);
    for index in [8, -8, i64::MAX, i64::MIN] {
        let error = list.insert(index, 1).expect_err("refused");
        assert!(error.to_string().contains("the list has 7 elements"), "{error}");
    }
    let empty = List::new(&manager).expect("created");
    assert_eq!(empty.insert(-1, 1).expect_err("there is no last one").kind(), ErrorKind::MethodFailed);
    empty.insert(0, 1).expect("at the end");
}

/// A container wraps what it holds: a value that fits an argument must fit each result too.
#[test]
fn what_a_container_takes_it_can_give_back_however_deep() {
    let manager = started();
    let (list, dict) = (List::new(&manager).expect("created"), Dict::new(&manager).expect("created"));
    let mut taken = 0;
    for depth in 90..140 {
        let value = (0..depth).fold(Datum::Unit, |inner, _| Datum::List(vec![inner]));
        if list.push(value.clone()).is_ok() {
            taken += 1;
            assert_eq!(list.get(-1).expect("given back"), value);
        }
        assert_eq!(dict.set(depth, value).is_ok(), list.len().expect("a number") == depth as usize - 89);
    }
    assert!((10..50).contains(&taken), "{taken}");
    assert_eq!(list.to_vec().expect("given back").len(), taken);
    assert_eq!(dict.items().expect("given back").len(), taken);
}
