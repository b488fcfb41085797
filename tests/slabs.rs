//! Small objects come from slabs that the broker has granted before, and go back there, whoever drops them. Nothing of that is seen: what is not in use is no object, and is there for
//! whoever needs it; and a broker or an owner that dies loses nothing.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test that can't go on fails")]
#![allow(unsafe_code, reason = "there is no safe fork")]

mod common;

use std::collections::HashSet;
use std::sync::mpsc::channel;

use common::served::Served;
use common::{Actor, PATIENCE, eventually, listen, role, say};
use sharehold::{Array, Broker, ErrorKind, Manager, ObjectId, Proxy, RunningBroker, Ticket, TicketOptions, check};

/// Every element follows from the first.
fn bytes(seed: u64) -> [u64; 8] {
    std::array::from_fn(|index| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64))
}

fn create(manager: &Manager, seed: u64) -> Array<u64> {
    let array = manager.array(&bytes(seed)).expect("room");
    array.seal().expect("nobody writes");
    array
}

fn is_whole(array: &Array<u64>, seed: u64) {
    assert_eq!(*array.sealed().expect("sealed"), bytes(seed));
}

/// Has this process get slabs of the shape of [`create`].
fn warm_up(manager: &Manager) {
    let held: Vec<Array<u64>> = (0..200).map(|seed| create(manager, seed)).collect();
    held.iter().zip(0..).for_each(|(array, seed)| is_whole(array, seed));
}

fn is_clean(manager: &Manager) {
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
}

fn started(what: &str, objects: u32) -> (RunningBroker, Manager) {
    let name = format!("slabs-{what}-{}", std::process::id());
    let broker = Broker::builder().name(&name).capacity(4 << 20).objects(objects).spawn().expect("started");
    let manager = Manager::connect(&name).expect("connected");
    (broker, manager)
}

/// The entry of every process that a test of this file starts. Without a role it has nothing to do.
#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "serve" => common::served::serve(&arguments, Broker::builder().capacity(64 << 20)).expect("served"),
        "drop" => {
            let manager = Manager::connect(&arguments[0]).expect("connected");
            say("ready");
            while let Some(line) = listen() {
                let ticket: Ticket = line.parse().expect("a ticket");
                let array: Array<u64> = manager.redeem(&ticket).expect("one use");
                drop(array);
                say("dropped");
            }
        }
        "create" => {
            let manager = Manager::connect(&arguments[0]).expect("connected");
            warm_up(&manager);
            let held: Vec<Array<u64>> = (0..100).map(|seed| create(&manager, seed)).collect();
            say(held[7].ticket().expect("issued"));
            while listen().is_some() {}
        }
        "silent" => {
            let manager = Manager::connect(&arguments[0]).expect("connected");
            std::thread::spawn(move || silent(&manager));
            while listen().is_some() {}
        }
        "fork" => fork(&Manager::connect(&arguments[0]).expect("connected")),
        other => panic!("there is no role {other}"),
    }
}

/// Creates, seals, gets by name, by ticket and by id, and drops, in a thread to which the system allows nothing but to read and to write: whoever asks for something else is killed.
fn silent(manager: &Manager) {
    warm_up(manager);
    let kept: Array<u64> = manager.lookup("kept").expect("published");
    let options = TicketOptions { uses: 1 << 20, deadline: None };
    let (ticket, weak) = (kept.ticket_with(options).expect("issued"), kept.downgrade());
    drop(kept);
    let work = |rounds| {
        for seed in 0..rounds {
            is_whole(&create(manager, seed), seed);
            is_whole(&manager.lookup("kept").expect("published"), 7);
            is_whole(&manager.redeem(&ticket).expect("one use"), 7);
            is_whole(&weak.upgrade().expect("alive"), 7);
        }
    };
    work(10);
    // SAFETY: concerns this thread alone, which does nothing but what follows.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) } == 0 {
        work(10_000);
        say("silent");
    } else {
        say("the system does not allow it");
    }
    // SAFETY: ends this thread, by the one call that it may still make.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// A child that creates and drops what is its own and what is its parent's, while the parent does the same.
fn fork(manager: &Manager) {
    warm_up(manager);
    let held: Vec<Array<u64>> = (0..50).map(|seed| create(manager, seed)).collect();
    // SAFETY: the child works on what it has inherited, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    let mut ids = HashSet::new();
    let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mine: Vec<Array<u64>> = (100..400).map(|seed| create(manager, seed)).collect();
        held.iter().zip(0..).for_each(|(array, seed)| is_whole(array, seed));
        mine.iter().zip(100..).for_each(|(array, seed)| is_whole(array, seed));
        ids.extend(mine.iter().map(Proxy::id));
        assert_eq!(ids.len(), mine.len());
        drop((held, mine));
        (0..1000).for_each(|seed| is_whole(&create(manager, seed), seed));
    }));
    if child == 0 {
        // SAFETY: ends the child without running what the parent registered.
        unsafe { libc::_exit(i32::from(worked.is_err())) }
    }
    worked.expect("the parent has done it");
    let mut status = 0;
    // SAFETY: waits for a child; the pointer is to a local.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");
    say("done");
    while listen().is_some() {}
}

#[test]
fn creating_getting_and_dropping_make_no_system_call() {
    let (_broker, manager) = started("silent", 4000);
    let kept = create(&manager, 7);
    manager.publish("kept", &kept).expect("published");
    drop(kept);
    let other = Actor::start("silent", &[manager.name()]);
    let said = other.try_hear().expect("a system call has been made");
    println!("{said}");
    assert!(["silent", "the system does not allow it"].contains(&said.as_str()), "{said}");
}

#[test]
fn a_dead_broker_keeps_nobody_from_creating_what_he_has_slabs_for() {
    for backing in ["memfd", "segment"] {
        let mut served = Served::start("slabs", backing);
        let manager = served.manager();
        warm_up(&manager);
        let before = manager.stats().expect("stats").granted;
        served.kill();
        for seed in 0..10_000 {
            is_whole(&create(&manager, seed), seed);
        }
        let held: Vec<Array<u64>> = (0..50).map(|seed| create(&manager, seed)).collect();
        // There is no slab of that.
        assert_eq!(manager.array(&[1_u8; 100]).expect_err("no broker").kind(), ErrorKind::BrokerGone);
        served.again();
        eventually("the session is back", || manager.stats().is_ok());
        let stats = manager.stats().expect("stats");
        assert_eq!((stats.objects, stats.granted, stats.heap_used), (50, before + 10_050, 50 * 64));
        held.iter().zip(0..).for_each(|(array, seed)| is_whole(array, seed));
        // The next broker has left it what it had.
        let ids: HashSet<ObjectId> = held.iter().map(Proxy::id).collect();
        let more: Vec<Array<u64>> = (50..600).map(|seed| create(&manager, seed)).collect();
        assert!(more.iter().all(|array| !ids.contains(&array.id())));
        more.iter().zip(50..).for_each(|(array, seed)| is_whole(array, seed));
        is_clean(&manager);
        drop((held, more));
        let stats = manager.stats().expect("stats");
        assert_eq!((stats.objects, stats.heap_used, stats.damaged), (0, 0, 0));
        is_clean(&manager);
    }
}

#[test]
fn what_another_process_drops_comes_back_to_its_slab_also_without_a_broker() {
    let mut served = Served::start("slabs-home", "memfd");
    let manager = served.manager();
    let mut other = Actor::start("drop", &[&served.name]);
    assert_eq!(other.hear(), "ready");
    warm_up(&manager);
    served.kill();
    // All that there is: as often as it is used up, it comes back.
    let mut created = 0;
    for round in 0..5 {
        let mut held = Vec::new();
        while let Ok(array) = manager.array(&bytes(round)) {
            array.seal().expect("nobody writes");
            held.push(array);
        }
        assert!(held.len() >= 40, "round {round}: {} slots", held.len());
        assert!(round == 0 || held.len() == created, "{} slots, and {created} before", held.len());
        created = held.len();
        for array in held {
            other.tell(&array.ticket().expect("issued").to_string());
            drop(array);
            assert_eq!(other.hear(), "dropped");
        }
        assert_eq!(manager.number_of_objects().expect("count"), 0);
    }
    other.end();
    served.again();
    eventually("the session is back", || manager.stats().is_ok());
    is_clean(&manager);
    assert_eq!(manager.stats().expect("stats").heap_used, 0);
}

#[test]
fn what_lies_idle_is_no_object_and_is_there_for_whoever_needs_it() {
    let (_broker, manager) = started("idle", 1000);
    let other = Actor::start("create", &[manager.name()]);
    let ticket: Ticket = other.hear().parse().expect("a ticket");
    warm_up(&manager);
    let stats = manager.stats().expect("stats");
    assert_eq!((stats.objects, stats.heap_used), (100, 100 * 64));
    assert!(stats.heap_kept > 0, "{stats:?}");
    assert_eq!(manager.debug_info().expect("info").len(), 100);
    is_clean(&manager);
    // Every slot that is not in use can be had, for another shape.
    let mut held = Vec::new();
    let error = loop {
        match manager.array(&[held.len() as u16; 100]) {
            Ok(array) => held.push(array),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), held.len()), (ErrorKind::TableFull, 900));
    let stats = manager.stats().expect("stats");
    assert_eq!((stats.objects, stats.heap_kept, stats.heap_used), (1000, 0, 100 * 64 + 900 * 256));
    is_clean(&manager);
    // Both go on when there is room again.
    held.truncate(500);
    warm_up(&manager);
    other.kill();
    eventually("its objects are gone", || manager.number_of_objects().expect("count") == 501);
    is_whole(&manager.redeem(&ticket).expect("one use"), 7);
    drop(held);
    assert_eq!((manager.number_of_objects().expect("count"), manager.stats().expect("stats").heap_used), (0, 0));
    is_clean(&manager);
}

#[test]
fn what_lies_idle_is_given_to_those_who_wait_for_room() {
    let (_broker, manager) = started("wanted", 200);
    warm_up_to(&manager, 150);
    let patient = manager.wait_for_room(PATIENCE);
    let held: Vec<Array<u64>> = (0..200).map(|seed| create(&manager, seed)).collect();
    let waiting = std::thread::spawn(move || patient.array(&[7_u16; 100]));
    eventually("one waits", || manager.stats().expect("stats").waiting == 1);
    // While room is wanted, what dies goes to the broker.
    drop(held);
    let got = waiting.join().expect("ended").expect("room");
    assert_eq!(got.read().expect("readable")[99], 7);
    drop(got);
    assert_eq!((manager.number_of_objects().expect("count"), manager.stats().expect("stats").heap_used), (0, 0));
    is_clean(&manager);
}

fn warm_up_to(manager: &Manager, count: u64) {
    drop((0..count).map(|seed| create(manager, seed)).collect::<Vec<_>>());
}

#[test]
fn a_dead_owner_leaves_nothing_but_what_others_hold() {
    let (_broker, manager) = started("dead", 4000);
    for round in 0..5 {
        let owner = Actor::start("create", &[manager.name()]);
        let ticket: Ticket = owner.hear().parse().expect("a ticket");
        let kept: Array<u64> = manager.redeem(&ticket).expect("one use");
        if round % 2 == 0 {
            owner.kill()
        } else {
            owner.end()
        }
        eventually("it is swept", || manager.stats().expect("stats").sessions == 2);
        let stats = manager.stats().expect("stats");
        assert_eq!((stats.objects, stats.heap_used, stats.heap_kept), (1, 64, 0));
        is_whole(&kept, 7);
        // Another process has the number of the dead one by now, and slabs of its own.
        let next = Actor::start("create", &[manager.name()]);
        let theirs: Ticket = next.hear().parse().expect("a ticket");
        drop(kept);
        is_whole(&manager.redeem(&theirs).expect("one use"), 7);
        is_clean(&manager);
        next.kill();
        eventually("nothing is left", || manager.number_of_objects().expect("count") == 0);
        eventually("it is swept", || manager.stats().expect("stats").sessions == 2);
        assert_eq!(manager.stats().expect("stats").heap_used, 0);
        is_clean(&manager);
    }
}

#[test]
fn a_forked_child_does_not_create_from_the_slabs_of_its_parent() {
    let served = Served::start("slabs-fork", "memfd");
    let parent = Actor::start("fork", &[&served.name]);
    assert_eq!(parent.hear(), "done");
    let manager = served.manager();
    eventually("nothing is left", || manager.number_of_objects().expect("count") == 0);
    is_clean(&manager);
    parent.end();
    eventually("it is swept", || manager.stats().expect("stats").sessions == 2);
    assert_eq!(manager.stats().expect("stats").heap_used, 0);
    is_clean(&manager);
}

#[test]
fn threads_that_create_and_threads_that_drop_never_have_the_same_slot_twice() {
    const EACH: u64 = 3000;
    let (_broker, manager) = started("threads", 4000);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (send, receive) = channel::<(u64, Array<u64>)>();
            let manager = &manager;
            scope.spawn(move || {
                for seed in 0..EACH {
                    let seed = thread * EACH + seed;
                    send.send((seed, create(manager, seed))).expect("the other thread lives");
                }
            });
            scope.spawn(move || {
                for (seed, array) in receive {
                    is_whole(&array, seed);
                }
            });
        }
    });
    let stats = manager.stats().expect("stats");
    assert_eq!((stats.objects, stats.heap_used, stats.granted), (0, 0, 4 * EACH));
    is_clean(&manager);
}
