//! A broker dies, and another one takes its region over: from a named segment, or from a client that has kept the memfd. Nothing that the region holds is lost or counted wrong.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::time::{Duration, Instant};

use common::served::Served;
use common::{Actor, eventually, listen, role, say};
use serde::{Deserialize, Serialize};
use sharehold::{Array, Broker, ErrorKind, List, Manager, MethodError, Object, Proxy, Snapshot, Ticket, Value, check};

/// Keeps snapshots, with proxies in them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Shelf {
    label: String,
    things: Vec<Object>,
}

impl Snapshot for Shelf {
    type Saved = Self;

    fn save(&self) -> Self {
        self.clone()
    }

    fn restore(saved: Self) -> Result<Self, MethodError> {
        Ok(saved)
    }
}

#[sharehold::class(snapshot)]
impl Shelf {
    pub fn new(label: String) -> Self {
        Self { label, things: Vec::new() }
    }

    pub fn put(&mut self, thing: Object) -> u64 {
        self.things.push(thing);
        self.things.len() as u64
    }

    pub fn take(&mut self) -> Option<Object> {
        self.things.pop()
    }

    pub fn label(&self) -> String {
        self.label.clone()
    }

    /// Changes the object and fails: the change stays.
    pub fn rename_and_fail(&mut self, label: String) -> Result<(), MethodError> {
        self.label = label;
        Err(MethodError::new("renamed, and failed"))
    }
}

/// The entry of every process that a test of this file starts. Without a role it has nothing to do.
#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "serve" => {
            let mut broker = Broker::builder().capacity(64 << 20).class::<Shelf>();
            if arguments[1] == "fresh" {
                broker = broker.fresh();
            }
            common::served::serve(&arguments, broker).expect("served");
        }
        "hold" | "hold_within" => {
            let patience = if role == "hold" { Duration::ZERO } else { common::PATIENCE };
            let manager = Manager::connect_within(&arguments[0], patience).expect("connected");
            let held: Array<u64> = manager.lookup(&arguments[1]).expect("found");
            say("holds");
            while let Some(line) = listen() {
                match line.as_str() {
                    "sum" => say(held.read().expect("readable").iter().sum::<u64>()),
                    "create" => say(manager
                        .value(1_u8)
                        .map_or_else(|error| format!("{:?}", error.kind()), |_| "created".into())),
                    other => panic!("{other}?"),
                }
            }
        }
        other => panic!("there is no role {other}"),
    }
}

const BACKINGS: [&str; 2] = ["segment", "memfd"];

fn untyped(manager: &Manager, proxy: &impl Proxy) -> Object {
    manager.redeem(&proxy.ticket().expect("issued")).expect("redeemed")
}

fn back(manager: &Manager) {
    eventually("the session is back", || manager.stats().is_ok());
}

#[test]
fn counts_names_and_tickets_outlive_the_broker() {
    for backing in BACKINGS {
        let mut served = Served::start("kept", backing);
        let manager = served.manager();
        let named = manager.array(&[1_u64, 2, 3]).expect("created");
        manager.publish("named", &named).expect("published");
        let counted: Value<u64> = manager.value(5).expect("created");
        let copies = vec![counted.clone(); 9];
        let ticket: Ticket = manager.array(&[7_u64; 1000]).expect("created").ticket().expect("issued");
        let mut other = Actor::start("hold", &[&served.name, "named"]);
        assert_eq!(other.hear(), "holds");
        served.kill();

        // Nobody is there: what is held goes on, the rest is a typed error, at once.
        counted.set(6).expect("written");
        let second = counted.ticket().expect("issued");
        named.write().expect("writable")[0] = 10;
        assert_eq!(manager.array(&[1]).expect_err("nobody grants").kind(), ErrorKind::BrokerGone);
        other.tell("create");
        assert_eq!(other.hear(), "BrokerGone");
        drop(copies);

        served.serve(backing);
        back(&manager);
        let fresh: Array<u64> = manager.lookup("named").expect("still published");
        assert_eq!(*fresh.read().expect("readable"), [10, 2, 3]);
        assert_eq!(manager.redeem::<Array<u64>>(&ticket).expect("redeemed").read().expect("readable")[999], 7);
        assert_eq!(manager.redeem::<Value<u64>>(&second).expect("redeemed").get().expect("read"), 6);
        other.tell("sum");
        assert_eq!(other.hear(), "15");
        eventually("the other is back", || {
            other.tell("create");
            other.hear() == "created"
        });
        let info = manager.object_info(counted.id()).expect("alive");
        assert_eq!((info.proxies(), info.pins), (1, 0), "{info:?}");
        let info = manager.object_info(named.id()).expect("alive");
        assert_eq!((info.proxies(), info.pins, info.holders.len()), (3, 1, 2), "{info:?}");
        assert_eq!(check(&served.name).expect("checked").findings, Vec::<String>::new());
        // The memory of the living is not handed out again.
        let more: Vec<_> = (0..50).map(|i| manager.array(&vec![i; 500]).expect("created")).collect();
        assert_eq!(*fresh.read().expect("readable"), [10, 2, 3]);
        assert!(more.iter().zip(0..).all(|(array, i)| array.read().is_ok_and(|all| all.iter().all(|x| *x == i))));
        other.end();
        drop((named, counted, fresh, more));
        manager.unpublish("named").expect("removed");
        eventually("all is given back", || manager.number_of_objects().is_ok_and(|count| count == 0));
        assert_eq!(manager.stats().expect("told").heap_used, 0);
    }
}

/// Bytes that are less than a page and take a whole one, since they are rounded up.
#[test]
fn objects_of_nearly_a_page_keep_their_memory_when_the_broker_is_replaced() {
    for backing in BACKINGS {
        let mut served = Served::start("nearly", backing);
        let manager = served.manager();
        // What lies before them does not fill a page.
        let first = manager.array(&[1_u8; 2000]).expect("created");
        let lens = (4032..=4097).step_by(13).chain([4096]);
        let held: Vec<Array<u8>> = lens.map(|len| manager.array(&vec![7; len]).expect("created")).collect();
        served.kill();
        served.again();
        back(&manager);
        let more: Vec<Array<u8>> = (0..100).map(|_| manager.array(&[9; 3000]).expect("created")).collect();
        for array in held.iter().chain([&first]).chain(&more) {
            let elements = array.read().expect("readable");
            assert!(elements.iter().all(|element| *element == elements[0]), "{array:?} shares its bytes with another");
        }
        assert!(held.iter().all(|array| array.read().is_ok_and(|elements| elements[0] == 7)));
        assert_eq!(check(&served.name).expect("checked").findings, Vec::<String>::new());
        drop((first, held, more));
        eventually("all is given back", || manager.stats().is_ok_and(|stats| stats.heap_used == 0));
    }
}

#[test]
fn a_client_that_dies_while_there_is_no_broker_is_swept_by_the_next() {
    for backing in BACKINGS {
        let mut served = Served::start("orphans", backing);
        let manager = served.manager();
        let array = manager.array(&[1_u64; 100]).expect("created");
        manager.publish("array", &array).expect("published");
        let other = Actor::start("hold", &[&served.name, "array"]);
        assert_eq!(other.hear(), "holds");
        served.kill();
        other.kill();
        served.serve(backing);
        back(&manager);
        eventually("the dead one is swept", || manager.object_info(array.id()).is_ok_and(|info| info.proxies() == 1));
        assert_eq!(manager.stats().expect("told").sessions, 2);
        assert_eq!(check(&served.name).expect("checked").findings, Vec::<String>::new());
    }
}

#[test]
fn a_broker_can_die_again_and_again() {
    for backing in BACKINGS {
        let mut served = Served::start("again", backing);
        let manager = served.manager();
        let mut held = Vec::new();
        for round in 0..5_u64 {
            held.push(manager.array(&vec![round; 3000]).expect("created"));
            served.restart();
            back(&manager);
        }
        assert!(held.iter().zip(0..).all(|(array, round)| *array.read().expect("readable") == vec![round; 3000]));
        assert_eq!(manager.number_of_objects().expect("counted"), 5);
        assert_eq!(check(&served.name).expect("checked").findings, Vec::<String>::new());
    }
}

#[test]
fn hosted_objects_come_back_if_their_class_keeps_snapshots_and_are_lost_otherwise() {
    for backing in BACKINGS {
        let mut served = Served::start("hosted", backing);
        let manager = served.manager();
        let shelf = ShelfProxy::new(&manager, "first".into()).expect("created");
        let inner = ShelfProxy::new(&manager, "inner".into()).expect("created");
        let value: Value<u64> = manager.value(42).expect("created");
        let value_id = value.id();
        assert_eq!(shelf.put(untyped(&manager, &value)).expect("put"), 1);
        assert_eq!(shelf.put(untyped(&manager, &inner)).expect("put"), 2);
        drop((value, inner));
        assert_eq!(shelf.rename_and_fail("renamed".into()).expect_err("it fails").kind(), ErrorKind::MethodFailed);
        let list = List::new(&manager).expect("created");
        list.push("forgotten").expect("pushed");
        let ids = (shelf.id(), list.id());
        served.restart();
        back(&manager);

        assert_eq!((shelf.id(), list.id()), ids);
        assert_eq!(shelf.label().expect("it is back"), "renamed");
        let error = list.len().expect_err("its class keeps nothing");
        assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
        let inner: ShelfProxy = shelf.take().expect("called").expect("put").downcast().expect("a shelf");
        assert_eq!(inner.label().expect("it is back"), "inner");
        let value: Value<u64> = shelf.take().expect("called").expect("put").downcast().expect("a value");
        assert_eq!((value.id(), value.get().expect("read")), (value_id, 42));
        assert_eq!(check(&served.name).expect("checked").findings, Vec::<String>::new());
        drop((shelf, inner, list, value));
        eventually("all is given back", || manager.number_of_objects().is_ok_and(|count| count == 0));
    }
}

#[test]
fn what_a_reply_of_the_dead_broker_brought_is_not_lost_and_not_leaked() {
    let mut served = Served::start("replies", "memfd");
    let manager = served.manager();
    let shelf = ShelfProxy::new(&manager, "s".into()).expect("created");
    shelf.put(untyped(&manager, &manager.array(&[1_u8, 2, 3]).expect("created"))).expect("put");
    let got = shelf.take().expect("called").expect("there");
    served.restart();
    back(&manager);
    let array: Array<u8> = got.downcast().expect("an array");
    assert_eq!(*array.read().expect("readable"), [1, 2, 3]);
    drop((array, got, shelf));
    eventually("all is given back", || manager.number_of_objects().is_ok_and(|count| count == 0));
}

#[test]
fn a_new_client_does_not_overtake_the_region() {
    let mut served = Served::start("race", "memfd");
    let manager = served.manager();
    let array = manager.array(&[1_u64]).expect("created");
    manager.publish("array", &array).expect("published");
    served.kill();
    // It asks from the very start of the new broker on; the old client is the one that has the region.
    let name = served.name.clone();
    let newcomer = std::thread::spawn(move || {
        let other = Actor::start("hold_within", &[&name, "array"]);
        other.hear()
    });
    served.serve("memfd");
    assert_eq!(newcomer.join().expect("no panic"), "holds");
    back(&manager);
    assert_eq!(manager.lookup::<Array<u64>>("array").expect("found").id(), array.id());
}

#[test]
fn a_broker_that_begins_anew_leaves_the_old_objects_to_their_holders() {
    let mut served = Served::start("anew", "segment");
    let manager = served.manager();
    let value: Value<u64> = manager.value(1).expect("created");
    served.kill();
    served.serve("fresh");
    assert_eq!(value.get().expect("still mapped"), 1);
    assert_eq!(manager.value(2).expect_err("its broker is gone").kind(), ErrorKind::BrokerGone);
    let anew = served.manager();
    assert_eq!(anew.number_of_objects().expect("counted"), 0);
    assert_eq!(anew.value(2).expect("created").get().expect("read"), 2);
    assert_eq!(value.get().expect("still mapped"), 1);
}

#[test]
fn a_parent_starts_its_broker_again() {
    let manager = Manager::builder().class::<Shelf>().start().expect("started");
    let shelf = ShelfProxy::new(&manager, "kept".into()).expect("created");
    let array = manager.array(&[1_u64; 10]).expect("created");
    manager.restart().expect("nothing to do");
    let before = manager.child_pid().expect("ours");
    let killed = std::process::Command::new("kill").args(["-9", &before.to_string()]).status().expect("kill runs");
    assert!(killed.success());
    eventually("it is gone", || manager.stats().is_err());
    manager.restart().expect("restarted");
    assert_ne!(manager.child_pid(), Some(before));
    assert_eq!(shelf.label().expect("it is back"), "kept");
    assert_eq!(array.read().expect("readable").len(), 10);
    let other =
        Broker::builder().name(format!("other-{}", std::process::id())).capacity(1 << 20).spawn().expect("started");
    let error = Manager::connect(other.name()).expect("connected").restart().expect_err("not ours");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

/// How long it takes is printed, not asserted: `cargo test --release --test restart -- --nocapture how_long`.
#[test]
fn how_long_a_hundred_thousand_objects_take() {
    let many: usize = std::env::var("SHAREHOLD_RESTART_OBJECTS").map_or(3_000, |many| many.parse().expect("a number"));
    for backing in BACKINGS {
        let mut served = Served::start("many", backing);
        let manager = served.manager();
        let held: Vec<Value<u64>> = (0..many as u64).map(|i| manager.value(i).expect("created")).collect();
        served.kill();
        let started = Instant::now();
        served.serve(backing);
        let serving = started.elapsed();
        back(&manager);
        let whole = started.elapsed();
        assert_eq!(manager.number_of_objects().expect("counted"), many as u64);
        assert!(held.iter().zip(0..).all(|(value, i)| value.get().is_ok_and(|found| found == i)));
        println!(
            "{backing}: {many} objects: the new process serves after {serving:?}, the client is back after {whole:?}"
        );
        drop(held);
        eventually("all is given back", || manager.number_of_objects().is_ok_and(|count| count == 0));
        assert!(whole < Duration::from_secs(20));
    }
}
