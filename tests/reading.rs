//! Processes that only read: nothing that they do can change a byte of the region, and what they hold is counted all the same.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::time::Duration;

use common::served::Served;
use common::{Actor, eventually, listen, role, say};
use sharehold::{
    Archive, Array, Broker, CallScope, Canceller, ErrorKind, List, Manager, Object, Proxy, Ticket, Value, check,
};

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "serve" => {
            common::served::serve(&arguments, Broker::builder().capacity(16 << 20).objects(1000)).expect("served");
        }
        "look" => look(&arguments[0], &arguments[1].parse().expect("a ticket")),
        "change" => try_to_change(&arguments[0]),
        "hold" => hold(&arguments[0]),
        other => panic!("there is no role {other}"),
    }
}

fn reader(name: &str) -> Manager {
    Manager::builder().read_only().connect(name).expect("connected")
}

/// Reads all that there is to read.
fn look(name: &str, ticket: &Ticket) {
    let manager = reader(name);
    let value: Value<u64> = manager.lookup("value").expect("found");
    let sealed: Array<u64> = manager.redeem(ticket).expect("redeemed");
    let archive: Archive<Vec<String>> = manager.lookup("archive").expect("found");
    assert_eq!(value.get().expect("read"), 7);
    assert_eq!((sealed.sealed().expect("sealed"), &*sealed.read().expect("read")), (&[1, 2, 3][..], &[1, 2, 3][..]));
    assert_eq!(archive.get().expect("valid")[1], "two");
    assert_eq!(manager.redeem::<Array<u64>>(ticket).expect_err("spent").kind(), ErrorKind::TicketSpent);
    assert_eq!(manager.lookup::<Value<u64>>("nothing").expect_err("none").kind(), ErrorKind::NameNotFound);
    assert_eq!(manager.lookup::<Value<u32>>("value").expect_err("another type").kind(), ErrorKind::TypeMismatch);
    assert_eq!(manager.names().expect("names").len(), 4);
    assert_eq!(manager.stats().expect("stats").objects, manager.debug_info().expect("info").len() as u64);
    // The region is mapped once, for reading, by a descriptor that is open for reading.
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let of_region: Vec<&str> = maps.lines().filter(|line| line.contains("sharehold") && line.contains(name)).collect();
    assert!(!of_region.is_empty() && of_region.iter().all(|line| line.contains(" r--s ")), "{of_region:?}");
    for entry in std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten() {
        let to = std::fs::read_link(entry.path()).unwrap_or_default();
        if to.to_string_lossy().contains(name) && to.to_string_lossy().contains("sharehold") {
            let info =
                std::fs::read_to_string(entry.path().to_string_lossy().replace("/fd/", "/fdinfo/")).expect("info");
            assert!(info.lines().any(|line| line.starts_with("flags:") && line.ends_with('0')), "{info}");
        }
    }
    say("looked");
    listen();
}

/// Each is an error, and none is a SIGSEGV.
fn try_to_change(name: &str) {
    let manager = reader(name);
    let value: Value<u64> = manager.lookup("value").expect("found");
    let open: Array<u64> = manager.lookup("open").expect("found");
    let list: Object = manager.lookup("list").expect("found");
    let refused: Vec<(&str, sharehold::Result<()>)> = vec![
        ("value", manager.value(1_u8).map(drop)),
        ("array", manager.array(&[1_u8]).map(drop)),
        ("large array", manager.array_zeroed::<u64>(100_000).map(drop)),
        ("archive", manager.archive(&String::from("a")).map(drop)),
        ("wait for room", manager.wait_for_room(Duration::from_millis(5)).value(1_u8).map(drop)),
        ("create", manager.create::<List>("List", &()).map(drop)),
        ("set", value.set(2)),
        ("update", value.update(|n| *n += 1)),
        ("update_for", value.update_for(Duration::from_millis(5), |n| *n += 1)),
        ("seal a value", value.seal().map(drop)),
        ("write", open.write().map(drop)),
        ("read what is not sealed", open.read().map(drop)),
        ("read_for", open.read_for(Duration::from_millis(5)).map(drop)),
        ("seal", open.seal().map(drop)),
        ("clear_poison", open.clear_poison()),
        ("ticket", value.ticket().map(drop)),
        ("publish", manager.publish("more", &value)),
        ("publish_over", manager.publish_over("value", &value)),
        ("unpublish", manager.unpublish("value")),
        ("call", list.call::<u64>("len", &()).map(drop)),
        ("describe", list.describe().map(drop)),
        ("classes", manager.classes().map(drop)),
        ("collect", manager.collect().map(drop)),
        ("clear a hosted object's mark", manager.clear_poison(&list)),
        ("audit", manager.audit().map(drop)),
        ("shutdown", manager.shutdown()),
    ];
    for (what, result) in refused {
        assert_eq!(result.expect_err(what).kind(), ErrorKind::ReadOnly, "{what}");
    }
    assert_eq!(value.get().expect("read"), 7);
    say("refused");
}

/// Takes, clones and lets go as it is told, in many threads.
fn hold(name: &str) {
    let manager = reader(name);
    let mut held: Vec<Value<u64>> = Vec::new();
    say("ready");
    while let Some(line) = listen() {
        match line.as_str() {
            "take" => held.push(manager.lookup("value").expect("found")),
            "clone" => held.extend(held[0].downgrade().upgrade().into_iter().chain([held[0].clone()])),
            "drop" => held.clear(),
            "drop cancelled" => {
                let canceller = Canceller::new();
                canceller.cancel();
                CallScope::new().canceller(&canceller).run(|| held.clear());
            }
            "read" => say(held[0].get().expect("read")),
            "threads" => std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            let value: Value<u64> = manager.lookup("value").expect("found");
                            assert_eq!(value.clone().get().expect("read"), 7);
                        }
                    });
                }
            }),
            other => panic!("{other}?"),
        }
        say("done");
    }
}

fn ask(actor: &mut Actor, what: &str) {
    actor.tell(what);
    assert_eq!(actor.hear(), "done");
}

fn references(manager: &Manager, value: &Value<u64>, pid: u32) -> u64 {
    let info = manager.object_info(value.id()).expect("alive");
    info.holders.iter().filter(|holder| holder.pid == pid).map(|holder| u64::from(holder.proxies)).sum()
}

#[test]
fn what_only_reads_has_no_byte_of_the_region_mapped_for_writing() {
    for backing in ["memfd", "segment"] {
        let served = Served::start("reading", backing);
        let manager = served.manager();
        let (value, sealed) = (manager.value(7_u64).expect("room"), manager.array(&[1_u64, 2, 3]).expect("room"));
        let archive = manager.archive(&vec![String::from("one"), "two".into()]).expect("room");
        sealed.seal().expect("sealed");
        let open = manager.array(&[5_u64; 8]).expect("room");
        let list = List::new(&manager).expect("room");
        manager.publish("value", &value).expect("published");
        manager.publish("archive", &archive).expect("published");
        manager.publish("open", &open).expect("published");
        manager.publish("list", &list).expect("published");
        let ticket = sealed.ticket().expect("issued");
        drop((sealed, archive));
        let mut look = Actor::start("look", &[&served.name, &ticket.to_string()]);
        assert_eq!(look.hear(), "looked");
        // The ticket is taken: the array lives as long as the reader has it.
        assert_eq!(manager.number_of_objects().expect("ours"), 5);
        look.close_input();
        look.end();
        eventually("the array has died with its reader", || manager.number_of_objects().expect("ours") == 4);
        let change = Actor::start("change", &[&served.name]);
        assert_eq!(change.hear(), "refused");
        change.end();
        eventually("it has left", || manager.stats().expect("stats").sessions == 2);
        assert_eq!(value.get().expect("read"), 7);
        assert_eq!(*open.read().expect("read"), [5; 8]);
        assert_eq!(check(&served.name).expect("checked").findings, [""; 0]);
    }
}

#[test]
fn what_a_reader_holds_is_counted_and_comes_back_also_when_it_is_killed() {
    let served = Served::start("counted", "memfd");
    let manager = served.manager();
    let value = manager.value(7_u64).expect("room");
    manager.publish("value", &value).expect("published");
    let mut reader = Actor::start("hold", &[&served.name]);
    assert_eq!(reader.hear(), "ready");
    let pid = reader.pid();
    for let_go in ["drop", "drop cancelled"] {
        ask(&mut reader, "take");
        assert_eq!(references(&manager, &value, pid), 1);
        ask(&mut reader, "clone");
        // The weak one has asked, the clone has not.
        assert_eq!(references(&manager, &value, pid), 2);
        ask(&mut reader, let_go);
        assert_eq!(references(&manager, &value, pid), 0, "{let_go}");
    }
    ask(&mut reader, "threads");
    assert_eq!(references(&manager, &value, pid), 0);
    // Nothing but the reader holds it any more.
    ask(&mut reader, "take");
    manager.unpublish("value").expect("there");
    drop(value);
    assert_eq!(manager.number_of_objects().expect("ours"), 1);
    reader.kill();
    eventually("it has died with its reader", || manager.number_of_objects().expect("ours") == 0);
    assert_eq!(check(&served.name).expect("checked").findings, [""; 0]);
}

#[test]
fn a_reader_outlives_its_broker_and_its_counts_do_too() {
    for backing in ["memfd", "segment"] {
        let mut served = Served::start("readers", backing);
        let manager = served.manager();
        let value = manager.value(7_u64).expect("room");
        manager.publish("value", &value).expect("published");
        let mut reader = Actor::start("hold", &[&served.name]);
        assert_eq!(reader.hear(), "ready");
        ask(&mut reader, "take");
        served.kill();
        reader.tell("read");
        assert_eq!(reader.hear(), "7");
        assert_eq!(reader.hear(), "done");
        served.serve(backing);
        eventually("the region is back", || manager.stats().is_ok());
        assert_eq!(references(&manager, &value, reader.pid()), 1);
        // What is let go while there is no broker is given back with the next thing that is asked.
        served.kill();
        ask(&mut reader, "drop");
        served.serve(backing);
        eventually("the region is back", || manager.stats().is_ok());
        ask(&mut reader, "take");
        assert_eq!(references(&manager, &value, reader.pid()), 1);
        ask(&mut reader, "drop");
        assert_eq!(references(&manager, &value, reader.pid()), 0);
        reader.close_input();
        reader.end();
        eventually("it has left", || manager.stats().expect("stats").sessions == 2);
        assert_eq!(check(&served.name).expect("checked").findings, [""; 0]);
    }
}
