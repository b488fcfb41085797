//! Calls: large ones, slow ones, many at once, and their ends.

use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use sharehold::{CallScope, Canceller, ErrorKind, List, Proxy};

use crate::classes::{MagnifierProxy, SleeperProxy, started};
use crate::common::{self, Actor, eventually};

#[test]
fn large_arguments_and_results_arrive_whole_and_leave_nothing() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    for len in [0, 1, 15_000, 16_000, 16_100, 17_000, 1_000_000] {
        let bytes: Vec<u8> = (0..len).map(|i: u32| i as u8).collect();
        let reversed = lens.reverse(bytes.clone()).expect("called");
        assert!(reversed.iter().rev().eq(&bytes), "{len}");
    }
    eventually("only the lens is left", || manager.number_of_objects().expect("a number") == 1);
    assert_eq!(manager.tickets().expect("listed"), []);
}

#[test]
fn arrays_go_through_calls_without_a_copy() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let array = manager.array(&[0_u64; 1000]).expect("created");
    let made = lens.fill(&array).expect("called");
    assert_eq!(array.read().expect("readable")[0], 77);
    assert_eq!(*made.read().expect("readable"), [1, 2, 3]);
    assert_eq!(manager.object_info(made.id()).expect("alive").proxies(), 1);
}

#[test]
fn a_slow_method_or_constructor_holds_up_nobody() {
    let manager = started();
    let sleeper = SleeperProxy::new(&manager).expect("created");
    let canceller = Canceller::new();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| CallScope::new().canceller(&canceller).run(|| sleeper.until_cancelled()));
        eventually("the slow method runs", || sleeper.steps().expect("called") == 1);
        let lens = MagnifierProxy::new(&manager, 2.0).expect("created meanwhile");
        assert_eq!(lens.scale(1.0).expect("called meanwhile"), 2.0);
        manager.publish("lens", &lens).expect("published meanwhile");
        canceller.cancel();
        let error = slow.join().expect("no panic").expect_err("cancelled");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        eventually("the method has seen it", || sleeper.steps().expect("called") == 2);
    });
}

#[test]
fn an_interrupted_call_never_gets_another_calls_answer() {
    let manager = started();
    let sleeper = SleeperProxy::new(&manager).expect("created");
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let short = CallScope::new().timeout(Duration::from_millis(30));
    for i in 0..5 {
        let error = short.run(|| sleeper.until_cancelled()).expect_err("too slow");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(lens.scale(f64::from(i)).expect("called"), 2.0 * f64::from(i));
    }
    let error = short.run(|| {
        std::thread::sleep(Duration::from_millis(40));
        lens.scale(1.0).expect_err("the time of the scope is over")
    });
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(lens.scale(1.0).expect("outside of the scope"), 2.0);
}

#[test]
fn a_client_that_is_killed_in_the_middle_of_a_call_leaves_nothing_locked() {
    let manager = started();
    let sleeper = SleeperProxy::new(&manager).expect("created");
    let other = Actor::start("call_and_wait", &[&sleeper.ticket().expect("issued").to_string()]);
    assert_eq!(other.hear(), "calling");
    other.kill();
    // The call may or may not have begun: either way the object is free soon.
    let within = CallScope::new().timeout(common::PATIENCE);
    assert!(within.run(|| sleeper.changes()).expect("free again") <= 1);
    let info = manager.object_info(sleeper.id()).expect("alive");
    eventually("its proxy is given back", || manager.object_info(sleeper.id()).expect("alive").proxies() == 1);
    drop((sleeper, info));
    eventually("nothing is left", || manager.number_of_objects().expect("a number") == 0);
}

#[test]
fn a_call_that_waits_at_a_ring_hears_of_the_death_of_its_broker() {
    let manager = started();
    let sleeper = SleeperProxy::new(&manager).expect("created");
    (0..4).for_each(|_| assert_eq!(sleeper.changes().expect("called"), 0));
    let broker = manager.child_pid().expect("our child").to_string();
    let (about_to, calls) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        (0..4).for_each(|_| assert_eq!(sleeper.changes().expect("called"), 0));
        about_to.send(()).expect("listened to");
        sleeper.change_until_cancelled()
    });
    calls.recv().expect("it calls");
    assert!(Command::new("kill").args(["-9", &broker]).status().expect("kill runs").success());
    let error = waiting.join().expect("no panic").expect_err("nobody is left to answer");
    assert_eq!(error.kind(), ErrorKind::BrokerGone, "{error}");
}

#[test]
fn calls_that_wait_for_each_other_end_with_an_error_instead_of_never() {
    let manager = started();
    let (first, second) =
        (SleeperProxy::new(&manager).expect("created"), SleeperProxy::new(&manager).expect("created"));
    let error = first.change_self(first.clone()).expect_err("it would wait for itself");
    assert!(error.to_string().contains("in the middle of a call"), "{error}");
    std::thread::scope(|scope| {
        let one = scope.spawn(|| first.change_with(second.clone(), 1));
        let other = scope.spawn(|| second.change_with(first.clone(), 1));
        let ends = [one.join().expect("no panic"), other.join().expect("no panic")];
        let failed: Vec<String> = ends.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
        assert!(!failed.is_empty() && failed.iter().all(|error| error.contains("waits for")), "{failed:?}");
    });
    assert!(first.changes().expect("callable") + second.changes().expect("callable") >= 1);
}

#[test]
fn many_threads_call_at_once_and_changes_are_not_lost() {
    let manager = started();
    let list = List::new(&manager).expect("created");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..200).for_each(|i| list.push(i).expect("pushed")));
        }
    });
    assert_eq!(list.len().expect("a number"), 1600);
}

#[test]
fn more_callers_than_threads_wait_for_each_other_and_all_are_answered() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    // Each thread has a connection of its own while it calls; the broker has 512 threads at most.
    let callers = 560;
    let barrier = Barrier::new(callers);
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let (lens, barrier) = (&lens, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for x in 0..3 {
                    let x = f64::from(x) + caller as f64;
                    assert_eq!(lens.scale(x).expect("answered"), 2.0 * x);
                }
            });
        }
    });
}

#[test]
fn sleeping_callers_in_all_threads_hold_up_only_calls() {
    let manager = started();
    let sleeper = SleeperProxy::new(&manager).expect("created");
    let canceller = Canceller::new();
    std::thread::scope(|scope| {
        for _ in 0..520 {
            scope.spawn(|| CallScope::new().canceller(&canceller).run(|| sleeper.until_cancelled()));
        }
        // No call gets through, but all else does.
        eventually("all threads are in their calls", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", manager.child_pid().expect("a child")));
            let status = status.expect("it lives");
            let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).expect("Linux says");
            threads.trim().parse::<u32>().expect("a number") >= 512
        });
        manager.value(1_u8).expect("created meanwhile");
        canceller.cancel();
    });
    assert!(CallScope::new().timeout(common::PATIENCE).run(|| sleeper.steps()).expect("callable again") >= 512);
}
