//! Many processes on one region: what one does to objects the others see, and what one leaves behind when it dies is given back.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test that can't go on fails")]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};
use common::{Actor, eventually, listen, role, say};
use sharehold::{
    Archive, Array, Backing, Broker, ErrorKind, Manager, Object, Proxy, Shareable, Ticket, TicketOptions, Value, check,
};

fn parse(text: &str) -> Ticket {
    text.parse().expect("a ticket")
}

/// The entry of every process that a test of this file starts. Without a role it has nothing to do.
#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "redeem_and_hold" => {
            let array: Array<u64> = sharehold::redeem(&parse(&arguments[0])).expect("redeemed");
            say(array.read().expect("readable").iter().sum::<u64>());
            while let Some(line) = listen() {
                array.write().expect("writable")[0] = line.parse().expect("a number");
                say("written");
            }
        }
        "lookup_and_hold" => {
            let manager = Manager::connect(&arguments[0]).expect("connected");
            let mut held = Vec::new();
            for _ in 0..arguments[2].parse().expect("a number") {
                held.push(manager.lookup::<Object>(&arguments[1]).expect("found"));
            }
            say("held");
            while listen().is_some() {}
        }
        "create_and_hold" => {
            let manager = Manager::connect(&arguments[0]).expect("connected");
            let many: u32 = arguments[1].parse().expect("a number");
            let _held: Vec<Value<u32>> = (0..many).map(|i| manager.value(i).expect("created")).collect();
            say("held");
            while listen().is_some() {}
        }
        "send_and_end" => {
            let manager = Manager::connect(&arguments[0]).expect("connected");
            for i in 0..10_u64 {
                say(manager.value(i).expect("created").ticket().expect("issued"));
            }
        }
        "write_and_die" => {
            let array: Array<u64> = sharehold::redeem(&parse(&arguments[0])).expect("redeemed");
            let mut guard = array.write().expect("writable");
            guard[0] = 13;
            say("locked");
            listen();
            std::process::abort();
        }
        "hold_a_broker" => {
            let manager = Manager::start().expect("started");
            let value = manager.value(1_u8).expect("created");
            say(manager.name());
            say(manager.child_pid().expect("a child"));
            listen();
            drop(value);
        }
        "publish_later" => {
            let manager = Manager::connect(&arguments[0]).expect("connected");
            let value = manager.value(77_u32).expect("created");
            say("ready");
            listen();
            manager.publish("late", &value).expect("published");
            listen();
        }
        "redeem_a_struct" => {
            #[derive(Clone, Copy, Pod, Zeroable, Shareable)]
            #[repr(C)]
            struct Quote {
                ask: f64,
                bid: f64,
            }
            let ticket = parse(&arguments[0]);
            say(sharehold::redeem::<Value<Quote>>(&ticket)
                .map_or_else(|error| error.to_string(), |_| "accepted".into()));
        }
        "hammer_a_value" => {
            let value: Value<[u64; 8]> = sharehold::redeem(&parse(&arguments[0])).expect("redeemed");
            say("ready");
            loop {
                value.update(|all| all.iter_mut().for_each(|x| *x += 1)).expect("updated");
            }
        }
        other => panic!("there is no role {other}"),
    }
}

#[test]
fn a_change_in_one_process_is_seen_in_the_other_without_a_copy() {
    let manager = Manager::start().expect("started");
    let array = manager.array(&[1_u64, 2, 3]).expect("created");
    let mut other = Actor::start("redeem_and_hold", &[&array.ticket().expect("issued").to_string()]);
    assert_eq!(other.hear(), "6");
    array.write().expect("writable")[2] = 30;
    other.tell("10");
    assert_eq!(other.hear(), "written");
    assert_eq!(*array.read().expect("readable"), [10, 2, 30]);
    other.end();
}

#[test]
fn counts_are_exact_and_the_object_dies_with_its_last_holder() {
    let manager = Manager::start().expect("started");
    let array = manager.array(&[0_u8; 100]).expect("created");
    manager.publish("shared", &array).expect("published");
    let other = Actor::start("lookup_and_hold", &[manager.name(), "shared", "3"]);
    assert_eq!(other.hear(), "held");
    let second = array.clone();
    let info = &manager.debug_info().expect("info")[0];
    let mut proxies: Vec<(u32, u32)> = info.holders.iter().map(|holder| (holder.pid, holder.proxies)).collect();
    proxies.sort_unstable();
    let mut expected = vec![(std::process::id(), 2), (other.pid(), 3)];
    expected.sort_unstable();
    assert_eq!((proxies, info.pins), (expected, 1));
    drop((array, second));
    other.end();
    // The broker sweeps after the process has gone; the name still holds.
    eventually("the other's row is swept", || manager.debug_info().expect("info")[0].holders.is_empty());
    manager.unpublish("shared").expect("removed");
    assert_eq!(manager.number_of_objects().expect("count"), 0);
}

#[test]
fn a_killed_client_gives_back_all_that_it_held() {
    let manager = Manager::start().expect("started");
    let array = manager.array(&[7_u32; 1000]).expect("created");
    manager.publish("victim", &array).expect("published");
    drop(array);
    let other = Actor::start("lookup_and_hold", &[manager.name(), "victim", "100000"]);
    assert_eq!(other.hear(), "held");
    manager.unpublish("victim").expect("removed");
    assert_eq!(manager.debug_info().expect("info")[0].holders[0].proxies, 100_000);
    other.kill();
    eventually("the dead one's references are back", || manager.number_of_objects().expect("count") == 0);
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
}

/// How long it takes is printed, not asserted: `SHAREHOLD_MANY=100000 cargo test --release --test processes how_long -- --nocapture`.
#[test]
fn how_long_the_objects_of_a_killed_client_take_to_come_back() {
    let many = std::env::var("SHAREHOLD_MANY").map_or(2_000, |many| many.parse().expect("a number"));
    let manager = Manager::start().expect("started");
    let other = Actor::start("create_and_hold", &[manager.name(), &many.to_string()]);
    assert_eq!(other.hear(), "held");
    assert_eq!(manager.number_of_objects().expect("count"), many);
    let killed = Instant::now();
    other.kill();
    eventually("all are back", || manager.number_of_objects().expect("count") == 0);
    println!("{many} objects of a killed client: back {:?} after the kill", killed.elapsed());
    assert_eq!(manager.stats().expect("told").heap_used, 0);
}

#[test]
fn a_ticket_outlives_its_sender() {
    let manager = Manager::start().expect("started");
    let sender = Actor::start("send_and_end", &[manager.name()]);
    let tickets: Vec<Ticket> = (0..10).map(|_| parse(&sender.hear())).collect();
    sender.end();
    eventually("the sender is swept", || manager.stats().expect("stats").sessions == 2);
    for (i, ticket) in (0_u64..).zip(&tickets) {
        assert_eq!(manager.redeem::<Value<u64>>(ticket).expect("redeemed").get().expect("read"), i);
        let again = manager.redeem::<Value<u64>>(ticket).expect_err("it was for one use");
        assert_eq!(again.kind(), ErrorKind::TicketSpent);
    }
    assert_eq!(manager.number_of_objects().expect("count"), 0);
}

#[test]
fn a_dead_writer_leaves_a_mark_and_blocks_nobody() {
    let manager = Manager::start().expect("started");
    let array = manager.array(&[1_u64, 2]).expect("created");
    let mut other = Actor::start("write_and_die", &[&array.ticket().expect("issued").to_string()]);
    assert_eq!(other.hear(), "locked");
    let error = array.read_for(Duration::from_millis(20)).err().expect("the writer lives");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    other.tell("die");
    let error = array.read().err().expect("the writer died in the middle");
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert!(array.is_poisoned().expect("known"));
    array.clear_poison().expect("cleared");
    array.write().expect("writable").copy_from_slice(&[5, 6]);
    assert_eq!(*array.read().expect("readable"), [5, 6]);
}

#[test]
fn a_stopped_client_blocks_nobody_who_does_not_wait_for_its_lock() {
    let manager = Manager::start().expect("started");
    let value = manager.value([0_u64; 8]).expect("created");
    let other = Actor::start("hammer_a_value", &[&value.ticket().expect("issued").to_string()]);
    assert_eq!(other.hear(), "ready");
    eventually("it writes", || value.get().expect("read")[0] > 1000);
    other.signal(19);
    let seen = value.get().expect("read");
    assert!(seen.iter().all(|x| *x == seen[0]), "torn: {seen:?}");
    let fresh = manager.value(1_u8).expect("created");
    drop(fresh.clone());
    drop(fresh);
    manager.redeem::<Value<[u64; 8]>>(&value.ticket().expect("issued")).expect("redeemed");
    // If it was stopped with the lock in hand, a writer can give up in time; if not, this writes.
    if let Err(error) = value.update_for(Duration::from_millis(20), |all| all[0] += 1) {
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    other.kill();
    // A dead writer leaves the value whole.
    value.set([9; 8]).expect("written");
    assert_eq!(value.get().expect("read"), [9; 8]);
}

/// What a broker of this name has in the file system.
fn files_of(name: &str) -> Vec<String> {
    let segments = std::fs::read_dir("/dev/shm").expect("a folder").flatten();
    let segments = segments.filter_map(|entry| entry.file_name().into_string().ok());
    sharehold::brokers().into_iter().chain(segments).filter(|found| found.ends_with(name)).collect()
}

#[test]
fn nothing_is_left_of_a_killed_broker_that_had_no_name_unless_another_has_it() {
    for backing in [Backing::Memfd, Backing::Segment] {
        for is_followed in [false, true] {
            let manager = Manager::builder().capacity(1 << 20).backing(backing).start().expect("started");
            let name = manager.name().to_owned();
            let pid = manager.child_pid().expect("its own").to_string();
            assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill runs").success());
            eventually("it is gone", || manager.stats().is_err());
            assert!(!files_of(&name).is_empty());
            let follower = is_followed
                .then(|| Broker::builder().name(&name).capacity(1 << 20).backing(backing).spawn().expect("taken over"));
            drop(manager);
            match follower {
                Some(follower) => {
                    Manager::connect(&name).expect("it is there").value(1).expect("it serves");
                    follower.stop().expect("in order");
                }
                None => assert_eq!(files_of(&name), [""; 0]),
            }
        }
    }
}

#[test]
fn a_broker_ends_with_its_parent_however_that_ends() {
    for by_kill in [false, true] {
        let parent = Actor::start("hold_a_broker", &[]);
        let name = parent.hear();
        let pid: u32 = parent.hear().parse().expect("a pid");
        let observer = Manager::connect(&name).expect("connected");
        if by_kill {
            parent.kill();
        } else {
            parent.end();
        }
        eventually("the broker ends", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
        let error = observer.value(1_u8).expect_err("the broker is gone");
        assert_eq!(error.kind(), ErrorKind::BrokerGone);
        assert!(!sharehold::brokers().contains(&name), "a socket was left behind");
    }
}

#[test]
fn what_is_held_can_be_used_after_the_broker_is_gone() {
    let manager = Manager::start().expect("started");
    let array = manager.array(&[1_u16, 2, 3]).expect("created");
    manager.shutdown().expect("it was there");
    eventually("the broker is gone", || manager.stats().is_err());
    array.clone().write().expect("writable")[0] = 9;
    let ticket = array.ticket().expect("issued");
    assert_eq!(*manager.redeem::<Array<u16>>(&ticket).expect("redeemed").read().expect("readable"), [9, 2, 3]);
    assert_eq!(manager.array(&[1]).expect_err("nobody grants").kind(), ErrorKind::BrokerGone);
}

#[test]
fn a_wait_for_a_name_ends_when_it_comes_or_in_time() {
    let manager = Manager::start().expect("started");
    let error = manager.wait::<Value<u32>>("late", Duration::from_millis(10)).expect_err("nobody publishes");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let mut other = Actor::start("publish_later", &[manager.name()]);
    assert_eq!(other.hear(), "ready");
    let waiting = manager.clone();
    let waiter = std::thread::spawn(move || waiting.wait::<Value<u32>>("late", common::PATIENCE));
    other.tell("now");
    assert_eq!(waiter.join().expect("no panic").expect("it came").get().expect("read"), 77);
    assert_eq!(manager.names().expect("names")[0].publisher, other.pid());
    other.kill();
    // A name holds its object, whoever published it.
    assert_eq!(manager.lookup::<Value<u32>>("late").expect("found").get().expect("read"), 77);
}

#[test]
fn a_second_broker_of_a_name_is_refused_and_a_dead_ones_rests_are_cleaned() {
    let first = Broker::builder().name("only-one").capacity(1 << 20).spawn().expect("started");
    for second in [Broker::builder().name("only-one").spawn().err(), Manager::builder().name("only-one").start().err()]
    {
        let error = second.expect("the name is taken");
        assert_eq!(error.kind(), ErrorKind::BrokerExists);
        assert!(error.message().contains(&std::process::id().to_string()), "{error}");
    }
    first.stop().expect("in order");
    Broker::builder().name("only-one").capacity(1 << 20).spawn().expect("the name is free").stop().expect("in order");
}

#[test]
fn a_type_that_differs_between_processes_is_refused_with_both_named() {
    #[derive(Clone, Copy, Pod, Zeroable, Shareable)]
    #[repr(C)]
    struct Quote {
        bid: f64,
        ask: f64,
    }
    let manager = Manager::start().expect("started");
    let value = manager.value(Quote { bid: 1.0, ask: 2.0 }).expect("created");
    let ticket = value.ticket().expect("issued").to_string();
    let other = Actor::start("redeem_a_struct", &[&ticket]);
    let said = other.hear();
    let object: Object = manager.redeem(&parse(&ticket)).expect("a refusal takes no use");
    assert!(said.contains("value of Quote, not value of Quote") && said.contains("different fields"), "{said}");
    other.end();
    let error = object.downcast::<Array<f32>>().expect_err("it is a value");
    assert!(error.to_string().contains("value of Quote, not array of f32"), "{error}");
    assert_eq!(error.kind(), ErrorKind::TypeMismatch);
    assert!(object.downcast::<Value<Quote>>().is_ok());
    assert!(object.downcast::<Archive<String>>().is_err());
}

#[test]
fn each_ticket_ends_at_its_time_whichever_the_broker_was_told_of() {
    let manager = Manager::start().expect("started");
    // The broker is told of a deadline only if it comes before all others.
    let lives = [80, 20, 60, 3_600_000, 5, 40, 100, 30];
    for life in lives {
        let options = TicketOptions { uses: 1, deadline: Some(Duration::from_millis(life)) };
        manager.value(life).expect("created").ticket_with(options).expect("issued");
    }
    eventually("all but one have ended", || manager.number_of_objects().expect("count") == 1);
    let left = manager.tickets().expect("told");
    assert!(left[0].expires_in.is_some_and(|left| left > Duration::from_secs(3000)), "{left:?}");
    let options = TicketOptions { uses: 1, deadline: Some(Duration::from_millis(1)) };
    manager.value(1).expect("created").ticket_with(options).expect("issued");
    eventually("one that came later has too", || manager.number_of_objects().expect("count") == 1);
}

#[test]
fn spent_expired_forged_foreign_and_malformed_tickets_are_told_apart() {
    let manager = Manager::start().expect("started");
    let value = manager.value(1_u64).expect("created");
    let kind = |ticket: &Ticket| manager.redeem::<Value<u64>>(ticket).expect_err("refused").kind();

    let twice = value.ticket_with(TicketOptions { uses: 2, deadline: None }).expect("issued");
    drop((manager.redeem::<Value<u64>>(&twice).expect("first"), manager.redeem::<Value<u64>>(&twice).expect("second")));
    assert_eq!(kind(&twice), ErrorKind::TicketSpent);

    let options = TicketOptions { uses: 1, deadline: Some(Duration::from_millis(1)) };
    let short = value.ticket_with(options).expect("issued");
    eventually("the ticket lets go", || manager.tickets().expect("tickets").is_empty());
    assert_eq!(kind(&short), ErrorKind::TicketExpired);
    assert_eq!(manager.debug_info().expect("info")[0].pins, 0);

    let genuine = value.ticket().expect("issued").to_string();
    // Whatever of it is another, behind the region's number: its entry does not say the same, and its hash does not fit.
    for at in genuine.len() - 43..genuine.len() - 1 {
        let other = if genuine.as_bytes()[at] == b'A' { "B" } else { "A" };
        let forged = format!("{}{other}{}", &genuine[..at], &genuine[at + 1..]);
        assert_eq!(kind(&parse(&forged)), ErrorKind::TicketForged, "{forged}");
    }

    let elsewhere = Manager::start().expect("started");
    let foreign = elsewhere.value(1_u64).expect("created").ticket().expect("issued");
    assert_eq!(kind(&foreign), ErrorKind::TicketForeign);
    for text in ["", "nonsense", "a/b", &genuine[..genuine.len() - 1], "../x/AAAA"] {
        assert_eq!(text.parse::<Ticket>().expect_err("refused").kind(), ErrorKind::TicketMalformed, "{text}");
    }
    assert!(manager.redeem::<Value<u64>>(&parse(&genuine)).is_ok(), "the genuine one is still good");
}

#[test]
fn a_process_that_has_let_go_of_everything_keeps_no_memory_of_it() {
    let manager = Manager::start().expect("started");
    let file = format!("/memfd:sharehold:{} ", manager.name());
    let is_mapped = || std::fs::read_to_string("/proc/self/maps").expect("read").contains(&file);
    let array = manager.array(&[1_u64; 1000]).expect("created");
    assert!(is_mapped());
    drop((array, manager));
    // The thread that watches the broker may have it a moment longer.
    eventually("the region is given up", || !is_mapped());
}
