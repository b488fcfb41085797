//! Frozen objects: no process can change their bytes, and they are counted like all others.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::io::Write;
use std::process::Command;

use common::served::Served;
use common::{Actor, eventually, listen, role, say};
use sharehold::{Array, Broker, ErrorKind, Frozen, List, Manager, Proxy, Ticket, check};

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "serve" => {
            common::served::serve(&arguments, Broker::builder().capacity(16 << 20).objects(1000).debuggable())
                .expect("served");
        }
        "freeze_and_die" => {
            let manager = Manager::connect(&arguments[0]).expect("connected");
            let frozen = manager.freeze(&[1_u64, 2, 3]).expect("room");
            let _kept = manager.freeze(&[4_u64]).expect("room");
            say(frozen.ticket().expect("issued"));
            listen();
        }
        "read" => {
            let only_reads = arguments[2] == "reader";
            let manager = if only_reads { Manager::builder().read_only() } else { Manager::builder() };
            let manager = manager.connect(&arguments[0]).expect("connected");
            let frozen: Frozen<u64> =
                manager.redeem(&arguments[1].parse::<Ticket>().expect("a ticket")).expect("redeemed");
            let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
            let its: Vec<&str> = maps.lines().filter(|line| line.contains("sharehold-frozen")).collect();
            assert!(its.len() == 1 && its[0].contains(" r--"), "{its:?}");
            say(frozen.iter().sum::<u64>());
            while listen().is_some() {
                say(frozen.iter().sum::<u64>());
            }
        }
        other => panic!("there is no role {other}"),
    }
}

/// The files of frozen objects that a process has open.
fn files(pid: u32) -> Vec<std::path::PathBuf> {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").flatten().map(|entry| entry.path());
    all.filter(|path| std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("sharehold-frozen")))
        .collect()
}

#[test]
fn what_is_frozen_can_be_written_by_nobody_who_has_it() {
    let served = Served::start("frozen", "memfd");
    let manager = served.manager();
    let broker = manager.stats().expect("stats").broker_pid;
    let array = manager.array(&[1_u64, 2, 3]).expect("room");
    let frozen = manager.freeze(&array.read().expect("read")).expect("room");
    array.write().expect("free")[0] = 9;
    assert_eq!(*frozen, [1, 2, 3]);
    let [file] = &files(broker)[..] else { panic!("{:?}", files(broker)) };
    // By its owner, who may open it anew.
    let mut writable = std::fs::OpenOptions::new().read(true).write(true).open(file).expect("it is this user's");
    assert!(writable.write_all(&[0; 8]).is_err() && writable.set_len(1).is_err() && writable.set_len(4096).is_err());
    drop(writable);
    for who in ["writer", "reader"] {
        let ticket = frozen.ticket().expect("issued").to_string();
        let reader = Actor::start("read", &[&served.name, &ticket, who]);
        assert_eq!(reader.hear(), "6", "{who}");
        assert_eq!(manager.object_info(frozen.id()).expect("alive").holders.len(), 2, "{who}");
        reader.kill();
        eventually("it is swept", || manager.object_info(frozen.id()).expect("alive").holders.len() == 1);
    }
    let ticket = frozen.ticket().expect("issued");
    assert_eq!(manager.redeem::<Array<u64>>(&ticket).expect_err("another kind").kind(), ErrorKind::TypeMismatch);
    drop(manager.redeem::<Frozen<u64>>(&ticket).expect("no use was taken"));
    // In a container it is held by the broker.
    let list = List::new(&manager).expect("room");
    list.push(frozen.clone()).expect("pushed");
    let id = frozen.id();
    drop(frozen);
    let again: Frozen<u64> = list.pop().expect("there").expect("there").downcast().expect("frozen");
    assert_eq!((again.id(), &*again), (id, &[1, 2, 3][..]));
    assert_eq!(check(&served.name).expect("checked").findings, [""; 0]);
    drop(again);
    eventually("its file is closed", || files(broker).is_empty());
    assert!(manager.freeze::<u8>(&[]).expect("room").is_empty());
}

#[test]
fn frozen_objects_of_a_dead_process_live_as_long_as_somebody_has_them() {
    let served = Served::start("frozen-dead", "memfd");
    let manager = served.manager();
    let broker = manager.stats().expect("stats").broker_pid;
    let actor = Actor::start("freeze_and_die", &[&served.name]);
    let ticket: Ticket = actor.hear().parse().expect("a ticket");
    assert_eq!(files(broker).len(), 2);
    actor.kill();
    eventually("one file is closed", || files(broker).len() == 1);
    let frozen: Frozen<u64> = manager.redeem(&ticket).expect("redeemed");
    assert_eq!(*frozen, [1, 2, 3]);
    drop(frozen);
    eventually("the other is closed", || files(broker).is_empty());
    assert_eq!(manager.number_of_objects().expect("ours"), 0);
}

#[test]
fn frozen_bytes_outlive_the_broker_with_those_who_read_them() {
    for backing in ["memfd", "segment"] {
        let mut served = Served::start("frozen-kept", backing);
        let manager = served.manager();
        let frozen = manager.freeze(&[1_u64, 2, 3]).expect("room");
        manager.publish("read", &frozen).expect("published");
        manager.publish("not read", &manager.freeze(&[4_u64]).expect("room")).expect("published");
        let ticket = frozen.ticket().expect("issued").to_string();
        let mut reader = Actor::start("read", &[&served.name, &ticket, "reader"]);
        assert_eq!(reader.hear(), "6");
        drop(frozen);
        // The second broker has it from the reader, as the third one has.
        for _ in 0..2 {
            served.restart();
            eventually("the region is back", || manager.stats().is_ok());
            // Whoever is faster than the reader waits for him.
            assert_eq!(*manager.lookup::<Frozen<u64>>("read").expect("brought back"), [1, 2, 3]);
            let lost = manager.lookup::<Frozen<u64>>("not read").expect_err("nobody has it");
            assert_eq!(lost.kind(), ErrorKind::Lost);
            let broker = manager.stats().expect("stats").broker_pid;
            assert_eq!(files(broker).len(), 1);
            reader.tell("again");
            assert_eq!(reader.hear(), "6");
        }
        assert_eq!(*manager.freeze(&[5_u64]).expect("room"), [5]);
        assert_eq!(check(&served.name).expect("checked").findings, [""; 0]);
        manager.unpublish("read").expect("there");
        manager.unpublish("not read").expect("there");
        reader.close_input();
        reader.end();
        eventually("nothing is left", || manager.number_of_objects().expect("ours") == 0);
        let broker = manager.stats().expect("stats").broker_pid;
        eventually("its file is closed", || files(broker).is_empty());
    }
}

#[test]
fn a_broker_without_descriptors_for_more_says_so_and_goes_on() {
    let mut limited = Command::new("sh");
    limited.args([
        "-c",
        "ulimit -n 64; exec \"$0\" \"$@\"",
        &std::env::current_exe().expect("a path").to_string_lossy(),
    ]);
    let name = format!("frozen-many-{}", std::process::id());
    let broker = Actor::start_by(limited, "serve", &[&name, "memfd"]);
    assert_eq!(broker.hear(), "serving");
    let manager = Manager::connect(&name).expect("connected");
    let mut held: Vec<Frozen<u64>> = Vec::new();
    let error = loop {
        match manager.freeze(&[held.len() as u64]) {
            Ok(frozen) => held.push(frozen),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), held.len()), (ErrorKind::TableFull, 32));
    assert!((0..).zip(&held).all(|(n, frozen)| **frozen == [n]));
    assert_eq!(manager.value(1_u8).expect("room").get().expect("read"), 1);
    held.pop();
    assert_eq!(*manager.freeze(&[7_u64]).expect("there is room again"), [7]);
    manager.shutdown().expect("in order");
    broker.end();
}
