//! Objects in one process: limits, errors, memory, and what happens at the edges.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use common::eventually;
use sharehold::{
    Archive, Array, Backing, Broker, ErrorKind, Manager, ObjectId, Proxy, RunningBroker, Schema, Value, check,
};

fn small(name: &str, bytes: u64) -> (RunningBroker, Manager) {
    let name = format!("{name}-{}", std::process::id());
    let broker = Broker::builder().name(&name).capacity(bytes).objects(1000).tickets(100).names(8);
    let broker = broker.spawn().expect("started");
    let manager = Manager::connect(&name).expect("connected");
    (broker, manager)
}

#[test]
fn a_full_region_is_an_error_that_says_what_there_is_and_work_goes_on() {
    let (_broker, manager) = small("full", 1 << 20);
    let kept = manager.array(&vec![1_u8; 600 << 10]).expect("room");
    let error = manager.array(&vec![2_u8; 600 << 10]).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::RegionFull);
    for number in ["614400", "1048576", "434176"] {
        assert!(error.message().contains(number), "{error} does not say {number}");
    }
    manager.array(&[3_u8; 1000]).expect("smaller things fit");
    drop(kept);
    let again = manager.array(&vec![4_u8; 900 << 10]).expect("what was freed is used again");
    assert!(again.read().expect("readable").iter().all(|byte| *byte == 4));
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
}

#[test]
fn big_memory_goes_back_to_the_system_and_some_stays_warm() {
    let manager = Manager::builder().capacity(1 << 30).start().expect("started");
    let before = manager.stats().expect("stats").resident;
    let big = manager.array_zeroed::<u8>(600 << 20).expect("room");
    let during = manager.stats().expect("stats").resident;
    assert!(during >= before + (600 << 20), "the memory is reserved first");
    drop(big);
    eventually("all but the warm part is given back", || {
        manager.stats().expect("stats").resident < before + (260 << 20)
    });
    assert!(manager.stats().expect("stats").warm >= 100 << 20, "some stays warm");
}

#[test]
fn alignment_is_kept_up_to_a_page_and_refused_above() {
    let (_broker, manager) = small("align", 8 << 20);
    for align in [1, 64, 256, 4096] {
        let array = manager.array_aligned::<u8>(100, align).expect("room");
        let at = array.read().expect("readable").as_ptr() as usize;
        assert_eq!(at % align.max(64), 0, "{align}");
    }
    for align in [3, 8192] {
        assert_eq!(manager.array_aligned::<u8>(1, align).expect_err("not possible").kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn an_empty_array_is_one_and_an_endless_one_is_an_error() {
    let (_broker, manager) = small("lengths", 1 << 20);
    let empty: Array<u64> = manager.array(&[]).expect("nothing needs no room");
    assert!(empty.is_empty() && empty.seal().expect("sealed").is_empty());
    let again: Array<u64> = manager.redeem(&empty.ticket().expect("issued")).expect("redeemed");
    assert_eq!(again.id(), empty.id());
    for len in [usize::MAX, usize::MAX / 8, 1 << 40] {
        assert_eq!(manager.array_zeroed::<u64>(len).expect_err("too long").kind(), ErrorKind::RegionFull);
    }
}

#[test]
fn sealed_means_for_ever_and_for_everybody() {
    let (_broker, manager) = small("sealed", 1 << 20);
    let array = manager.array(&[1_u32, 2, 3]).expect("room");
    let same: Array<u32> = manager.redeem(&array.ticket().expect("issued")).expect("redeemed");
    assert_eq!(same.sealed().expect_err("not yet").kind(), ErrorKind::NotSealed);
    assert_eq!(array.seal().expect("sealed"), [1, 2, 3]);
    assert_eq!(same.sealed().expect("sealed by the other"), [1, 2, 3]);
    assert_eq!(same.write().err().expect("too late").kind(), ErrorKind::Sealed);
    let value = manager.value(3_i64).expect("room");
    value.set(4).expect("written");
    assert_eq!(value.seal().expect("sealed"), &4);
    assert_eq!(value.set(5).expect_err("too late").kind(), ErrorKind::Sealed);
    assert_eq!(value.get().expect("read"), 4);
}

#[test]
fn archives_of_rich_types_are_read_in_place() {
    let (_broker, manager) = small("archives", 1 << 20);
    let map: BTreeMap<String, Vec<u32>> = (0..50).map(|i| (format!("key {i}"), vec![i; 3])).collect();
    let archive = manager.archive(&map).expect("archived");
    let same: Archive<BTreeMap<String, Vec<u32>>> =
        manager.redeem(&archive.ticket().expect("issued")).expect("redeemed");
    assert_eq!(same.get().expect("valid").get("key 7").expect("there")[2], 7);
    drop(archive);
    assert_eq!(same.clone().get().expect("valid").len(), 50);
    let other = manager.redeem::<Archive<Vec<String>>>(&same.ticket().expect("issued")).expect_err("another type");
    assert!(other.message().contains("archive of BTreeMap<String, Vec<u32>>"), "{other}");
}

#[test]
fn a_panic_in_a_change_leaves_the_value_whole_and_the_array_marked() {
    let (_broker, manager) = small("panics", 1 << 20);
    let value = manager.value([1_u64; 4]).expect("room");
    let array = manager.array(&[1_u64; 4]).expect("room");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        value.update(|all| {
            all[0] = 9;
            panic!("in the middle of a change");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(value.get().expect("read"), [1; 4]);
    value.set([2; 4]).expect("the lock was given back");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = array.write().expect("writable");
        panic!("in the middle of a change");
    }));
    assert!(panicked.is_err());
    assert_eq!(array.read().err().expect("marked").kind(), ErrorKind::Poisoned);
}

#[test]
fn threads_that_create_at_once_take_nothing_from_each_other() {
    let manager = Manager::start().expect("started");
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let manager = &manager;
            scope.spawn(move || {
                for i in 0..1500 {
                    let value = manager.value([thread, i]).expect("created");
                    assert_eq!(value.get().expect("read"), [thread, i]);
                }
            });
        }
    });
    assert_eq!(manager.number_of_objects().expect("a number"), 0);
    assert_eq!(manager.stats().expect("stats").granted, 9000, "a grant was withdrawn and asked for again");
}

#[test]
fn a_stale_id_is_an_error_and_never_another_object() {
    let (_broker, manager) = small("stale", 1 << 20);
    let first = manager.value(1_u8).expect("room");
    let id = first.id();
    drop(first);
    let second = manager.value(2_u8).expect("room");
    assert_eq!(id.to_string().split('.').next(), second.id().to_string().split('.').next(), "the slot is used again");
    assert_ne!(id, second.id());
    assert_eq!(manager.object_info(id).expect_err("gone").kind(), ErrorKind::Gone);
    for bits in [u64::MAX, 0, 999 << 32 | 12345] {
        assert!(manager.object_info(ObjectId::from_bits(bits)).is_err());
    }
}

#[test]
fn full_tables_are_errors_and_work_goes_on_after_room_is_made() {
    let (_broker, manager) = small("tables", 8 << 20);
    let value = manager.value(1_u8).expect("room");
    let tickets: Vec<_> = (0..100).map(|_| value.ticket().expect("room")).collect();
    assert_eq!(value.ticket().expect_err("all 100 are in use").kind(), ErrorKind::TableFull);
    drop(manager.redeem::<Value<u8>>(&tickets[50]).expect("redeemed"));
    value.ticket().expect("room again");
    for i in 0..8 {
        manager.publish(&format!("name {i}"), &value).expect("room");
    }
    assert_eq!(manager.publish("one more", &value).expect_err("all 8 are in use").kind(), ErrorKind::TableFull);
    assert_eq!(manager.publish("name 3", &value).expect_err("taken").kind(), ErrorKind::NameTaken);
    manager.unpublish("name 3").expect("there");
    manager.publish("one more", &value).expect("room again");
    let mut held: Vec<Value<u8>> = Vec::new();
    let error = loop {
        match manager.value(1_u8) {
            Ok(value) => held.push(value),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), held.len()), (ErrorKind::TableFull, 999));
    held.pop();
    manager.value(1_u8).expect("room again");
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
}

#[test]
fn names_survive_replacement_and_removal_in_any_order() {
    let (_broker, manager) = small("names", 1 << 20);
    let one = manager.value(1_u8).expect("room");
    let two = manager.value(2_u8).expect("room");
    for _ in 0..20 {
        for i in 0..6 {
            manager.publish(&format!("n{i}"), &one).expect("room");
        }
        manager.publish_over("n3", &two).expect("replaced");
        assert_eq!(manager.lookup::<Value<u8>>("n3").expect("found").get().expect("read"), 2);
        for i in [3, 0, 5, 1, 4, 2] {
            manager.unpublish(&format!("n{i}")).expect("there");
        }
        assert_eq!(manager.unpublish("n0").expect_err("gone").kind(), ErrorKind::NameNotFound);
    }
    assert_eq!(manager.names().expect("names"), []);
    assert_eq!(manager.debug_info().expect("info").iter().map(|object| object.pins).sum::<u32>(), 0);
    assert_eq!(manager.publish("", &one).expect_err("no name").kind(), ErrorKind::InvalidArgument);
    assert_eq!(manager.publish(&"x".repeat(193), &one).expect_err("too long").kind(), ErrorKind::InvalidArgument);
}

#[test]
fn threads_share_a_session_and_counts_stay_exact() {
    let (_broker, manager) = small("threads", 8 << 20);
    let value = manager.value(0_u64).expect("room");
    let array = manager.array(&[0_u64; 16]).expect("room");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (manager, value, array) = (manager.clone(), value.clone(), array.clone());
            scope.spawn(move || {
                for round in 0..500 {
                    value.update(|n| *n += 1).expect("written");
                    array.write().expect("writable").iter_mut().for_each(|n| *n += 1);
                    let read = array.read().expect("readable");
                    assert!(read.iter().all(|n| *n == read[0]), "torn");
                    drop(read);
                    let again: Value<u64> = manager.redeem(&value.ticket().expect("issued")).expect("redeemed");
                    if round % 50 == 0 {
                        manager.value(again.get().expect("read")).expect("room");
                    }
                }
            });
        }
    });
    assert_eq!(value.get().expect("read"), 4000);
    assert_eq!(array.read().expect("readable")[7], 4000);
    let info = manager.debug_info().expect("info");
    assert_eq!(info.iter().map(|object| (object.proxies(), object.pins)).collect::<Vec<_>>(), [(1, 0), (1, 0)]);
}

/// Where the broker listens.
fn socket_of(manager: &Manager) -> PathBuf {
    let folder = std::env::var_os("SHAREHOLD_DIR").map_or_else(
        || {
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
            let uid = std::fs::metadata("/proc/self").map(|me| MetadataExt::uid(&me)).expect("a uid");
            runtime.map_or_else(|| format!("/tmp/sharehold-{uid}").into(), |runtime| runtime.join("sharehold"))
        },
        PathBuf::from,
    );
    folder.join(format!("{}.sock", manager.name()))
}

#[test]
fn a_program_of_another_layout_is_refused_with_both_named() {
    let (_broker, manager) = small("layout", 1 << 20);
    let mut stream = UnixStream::connect(socket_of(&manager)).expect("it listens");
    // Attach, request 1, 16 bytes: another fingerprint, version 1.
    let mut attach = [0_u8; 40];
    attach[..6].copy_from_slice(b"SHLD\x01\0");
    attach[8] = 1;
    attach[16] = 16;
    attach[24..32].copy_from_slice(&0x0bad_1a10_0000_0001_u64.to_le_bytes());
    attach[32] = 1;
    stream.write_all(&attach).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer, then the end");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("the program has layout 1 with fingerprint 0bad1a1000000001"), "{answer}");
    assert!(answer.contains("the broker layout 3 with"), "{answer}");
    assert_eq!(manager.value(1_u8).expect("it serves").get().expect("read"), 1);
}

#[test]
fn foreign_bytes_cost_their_sender_the_connection_and_nobody_else_anything() {
    let (_broker, manager) = small("hostile", 1 << 20);
    let socket = socket_of(&manager);
    let mut state = 1_u64;
    for round in 0..200 {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        let mut bytes: Vec<u8> = (0..100)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        if round % 2 == 0 {
            // Looks like a head for a moment.
            bytes[..8].copy_from_slice(b"SHLD\x04\0\0\0");
        }
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
        // The broker may have hung up after the first bytes.
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let _ = stream.take(1000).read_to_end(&mut answer);
    }
    let silent: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&socket).expect("it listens")).collect();
    assert_eq!(manager.value(7_u8).expect("it serves").get().expect("read"), 7);
    drop(silent);
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
}

/// Removes the segment of a broker that a test has killed, also when the test fails.
struct Segment<'a>(&'a str);

impl Drop for Segment<'_> {
    fn drop(&mut self) {
        // A new broker of the name does so.
        drop(Broker::builder().name(self.0).capacity(1 << 20).fresh().spawn());
    }
}

#[test]
fn the_region_of_a_dead_broker_can_be_audited_and_is_replaced_by_a_fresh_one() {
    let name = format!("dead-{}", std::process::id());
    let _cleanup = Segment(&name);
    let manager = Manager::builder().name(&name).capacity(1 << 20).backing(Backing::Segment).start().expect("started");
    let value = manager.value(5_u8).expect("room");
    let pid = manager.child_pid().expect("a child");
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    assert!(killed.success());
    // A process that is being killed closes its descriptors one by one.
    eventually("the broker is dead", || check(&name).is_ok_and(|report| !report.broker_alive));
    let report = check(&name).expect("the segment is still there");
    assert_eq!((report.broker_alive, report.objects, report.findings), (false, 1, Vec::new()));
    assert_eq!(value.get().expect("still mapped"), 5);
    let next = Broker::builder().name(&name).capacity(1 << 20).fresh().spawn().expect("the name is free");
    assert_eq!(Manager::connect(&name).expect("connected").number_of_objects().expect("count"), 0);
    assert_eq!(value.get().expect("still mapped"), 5);
    next.stop().expect("in order");
    assert_eq!(check(&name).expect_err("nothing is left").kind(), ErrorKind::BrokerNotFound);
}

#[test]
fn a_value_of_a_stated_type_is_the_value_that_typed_code_has() {
    let (_broker, manager) = small("stated", 1 << 20);
    let pair = Schema::of::<u32>().array(3);
    let stated = manager.value_of(&pair, &[0; 12]).expect("room");
    let typed: Value<[u32; 3]> = stated.untyped().downcast().expect("the same type");
    stated.set(bytemuck::bytes_of(&[1_u32, 2, 3])).expect("not sealed");
    assert_eq!(typed.get().expect("read"), [1, 2, 3]);
    stated.update_within(None, |bytes| bytes[0] = 9).expect("not sealed");
    typed.update(|value| value[2] = 7).expect("not sealed");
    let mut bytes = [0; 12];
    stated.get(&mut bytes).expect("read");
    assert_eq!(bytes, bytemuck::cast::<[u32; 3], [u8; 12]>([9, 2, 7]));

    for wrong in [0, 11, 13, 24] {
        assert_eq!(stated.set(&vec![1; wrong]).expect_err("another length").kind(), ErrorKind::InvalidArgument);
        assert_eq!(stated.get(&mut vec![0; wrong]).expect_err("another length").kind(), ErrorKind::InvalidArgument);
        assert_eq!(manager.value_of(&pair, &vec![1; wrong]).expect_err("refused").kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(stated.sealed().expect_err("others may change it").kind(), ErrorKind::NotSealed);
    assert_eq!(stated.seal().expect("sealed"), bytes);
    assert_eq!(stated.set(&bytes).expect_err("sealed").kind(), ErrorKind::Sealed);
    assert_eq!(typed.set([0; 3]).expect_err("sealed").kind(), ErrorKind::Sealed);

    let array = manager.array(&[1_u32]).expect("room").untyped();
    assert_eq!(array.value_bytes().expect_err("an array").kind(), ErrorKind::TypeMismatch);
    assert_eq!(array.expect(&pair).expect_err("of another type").kind(), ErrorKind::TypeMismatch);
}

/// They are the system's to give: where it has none, nothing is different.
#[test]
fn a_region_in_huge_pages_has_what_any_other_has() {
    let manager = Manager::builder().capacity(64 << 20).huge_pages().start().expect("started");
    let zeroed = manager.array_zeroed::<u64>(1 << 20).expect("room");
    zeroed.write().expect("nobody reads")[(1 << 20) - 1] = 7;
    let small = manager.array(&[1_u8; 3]).expect("room");
    assert_eq!((zeroed.read().expect("readable")[(1 << 20) - 1], small.read().expect("readable")[2]), (7, 1));
    drop((zeroed, small));
    assert_eq!(manager.stats().expect("stats").heap_used, 0);
}
