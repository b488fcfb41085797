//! Everything that can be full: each is an error in time that says what is full, nothing is lost, and work goes on when there is room again.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};
use common::{Actor, PATIENCE, eventually, listen, role, say};
use rustix::process::{Resource, Rlimit, setrlimit};
use sharehold::{
    Array, Backing, Broker, ErrorKind, List, Manager, Proxy, RunningBroker, Shareable, Ticket, Value, check,
};

fn started(name: &str, capacity: u64) -> (RunningBroker, Manager) {
    let name = format!("{name}-{}", std::process::id());
    let builder = Broker::builder().name(&name).capacity(capacity).objects(300).tickets(100).names(8).sessions(4);
    let broker = builder.spawn().expect("started");
    let manager = Manager::connect(&name).expect("connected");
    (broker, manager)
}

fn is_clean(manager: &Manager) {
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
}

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "attach" => {
            match Manager::connect(&arguments[0]) {
                Ok(manager) => {
                    let value = manager.value(1_u8);
                    say(value.as_ref().map_or_else(|error| format!("{:?}", error.kind()), |_| "attached".into()));
                    while listen().is_some() {}
                    drop(value);
                }
                Err(error) => say(format!("{:?}", error.kind())),
            };
        }
        "wait_for_room" => {
            let manager = Manager::connect(&arguments[0]).expect("connected").wait_for_room(PATIENCE);
            say("ready");
            let _ = manager.array(&vec![0_u8; arguments[1].parse().expect("a number")]);
            say("got it");
        }
        "tiny_shm" => tiny_shm(),
        "tiny_shm_client" => tiny_shm_client(&arguments[0]),
        "serve_with_few_descriptors" => {
            let few = Some(arguments[1].parse().expect("a number"));
            setrlimit(Resource::Nofile, Rlimit { current: few, maximum: few }).expect("allowed");
            let broker = Broker::builder().name(&arguments[0]).capacity(1 << 20);
            broker.serve_with(|_| say("serves")).expect("in order");
        }
        "use_up_descriptors" => use_up_descriptors(&arguments[0]),
        other => panic!("there is no role {other}"),
    }
}

#[test]
fn all_sessions_in_use_is_an_error_and_the_end_of_one_makes_room() {
    let (_broker, manager) = started("sessions", 1 << 20);
    let start = || Actor::start("attach", &[manager.name()]);
    let (first, second) = (start(), start());
    assert_eq!((first.hear(), second.hear()), ("attached".into(), "attached".into()));
    let third = start();
    assert_eq!(third.hear(), "TableFull");
    third.end();
    first.kill();
    eventually("there is room", || manager.stats().expect("stats").sessions == 3);
    let third = start();
    assert_eq!(third.hear(), "attached");
    assert_eq!(manager.number_of_objects().expect("count"), 2);
    second.end();
    third.end();
    eventually("all are swept", || manager.number_of_objects().expect("count") == 0);
    is_clean(&manager);
}

#[test]
fn all_slots_in_use_is_an_error_and_a_free_one_is_used() {
    let (_broker, manager) = started("slots", 1 << 20);
    let mut held: Vec<Value<u64>> = Vec::new();
    let error = loop {
        match manager.value(held.len() as u64) {
            Ok(value) => held.push(value),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), held.len()), (ErrorKind::TableFull, 300));
    assert_eq!(List::new(&manager).expect_err("full").kind(), ErrorKind::TableFull);
    for _ in 0..3 {
        drop(held.remove(17));
        held.push(manager.value(1_000).expect("one is free"));
        assert_eq!(manager.value(0_u64).expect_err("full").kind(), ErrorKind::TableFull);
    }
    drop(held.pop());
    let list = List::new(&manager).expect("one is free");
    assert!(list.push(held[0].clone()).is_ok());
    assert!((0..17).all(|n| held[n as usize].get().expect("read") == n));
    assert_eq!(manager.number_of_objects().expect("count"), 300);
    is_clean(&manager);
}

#[test]
fn all_tickets_in_use_is_an_error_that_leaves_no_pin() {
    let (_broker, manager) = started("tickets", 1 << 20);
    let value = manager.value(7_u64).expect("room");
    let mut tickets: Vec<Ticket> = (0..100).map(|_| value.ticket().expect("free")).collect();
    for _ in 0..3 {
        assert_eq!(value.ticket().expect_err("full").kind(), ErrorKind::TableFull);
        assert_eq!(manager.debug_info().expect("info")[0].pins, 100);
        let ticket = tickets.pop().expect("many");
        assert_eq!(manager.redeem::<Value<u64>>(&ticket).expect("redeemed").get().expect("read"), 7);
        tickets.push(value.ticket().expect("one is free"));
    }
    // A result with a reference needs one too.
    let list = List::new(&manager).expect_err("its reference has no ticket");
    assert_eq!(list.kind(), ErrorKind::TableFull);
    drop(value);
    assert_eq!(manager.number_of_objects().expect("count"), 1);
    is_clean(&manager);
    for ticket in &tickets {
        manager.redeem::<Value<u64>>(ticket).expect("redeemed");
    }
    assert_eq!(manager.number_of_objects().expect("count"), 0);
    is_clean(&manager);
}

#[test]
fn all_names_in_use_is_an_error_that_leaves_no_pin() {
    let (_broker, manager) = started("names", 1 << 20);
    let value = manager.value(7_u64).expect("room");
    for n in 0..8 {
        manager.publish(&format!("name {n}"), &value).expect("free");
    }
    for n in 0..8 {
        assert_eq!(manager.publish("ninth", &value).expect_err("full").kind(), ErrorKind::TableFull);
        assert_eq!(manager.publish_over("ninth", &value).expect_err("full").kind(), ErrorKind::TableFull);
        assert_eq!(manager.debug_info().expect("info")[0].pins, 8);
        manager.unpublish(&format!("name {n}")).expect("there");
        manager.publish(&format!("new {n}"), &value).expect("one is free");
    }
    // One that is there can be taken over, also without a place.
    let other = manager.value(8_u64).expect("room");
    manager.publish_over("new 3", &other).expect("taken over");
    assert_eq!(manager.lookup::<Value<u64>>("new 3").expect("found").get().expect("read"), 8);
    is_clean(&manager);
}

#[test]
fn all_types_in_use_is_an_error_and_one_without_objects_makes_room() {
    #[derive(Clone, Copy, Pod, Zeroable, Shareable)]
    #[repr(C)]
    struct Rare {
        x: u64,
    }
    // The table has at least a page, of which all is used.
    let name = format!("types-{}", std::process::id());
    let _broker = Broker::builder().name(&name).capacity(1 << 20).types(3).spawn().expect("started");
    let manager = Manager::connect(&name).expect("connected");
    let one = manager.value(1_u8).expect("first");
    let two = manager.value(1_u16).expect("second");
    let three = manager.value(1_u32).expect("third");
    for n in 0..3 {
        assert_eq!(manager.value(Rare { x: 1 }).expect_err("full").kind(), ErrorKind::TableFull);
        assert_eq!(manager.value(n as u8).expect("known").get().expect("read"), n as u8);
    }
    drop(two);
    let rare = manager.value(Rare { x: 9 }).expect("the type that nobody has makes room");
    assert_eq!(manager.value(1_u16).expect_err("full").kind(), ErrorKind::TableFull);
    let again: Value<Rare> = manager.redeem(&rare.ticket().expect("issued")).expect("redeemed");
    assert_eq!(again.get().expect("read").x, 9);
    assert_eq!((one.get().expect("read"), three.get().expect("read")), (1, 1));
    assert_eq!(manager.number_of_objects().expect("count"), 3);
    is_clean(&manager);
}

#[test]
fn who_waits_for_room_gets_it_in_turn_or_in_time() {
    let (_broker, manager) = started("room", 1 << 20);
    let short = manager.wait_for_room(Duration::from_millis(30));
    let held = manager.array(&vec![1_u8; 700 << 10]).expect("room");
    let started = Instant::now();
    let error = short.array(&vec![2_u8; 900 << 10]).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::RegionFull);
    assert!(error.message().contains("also after") && started.elapsed() >= Duration::from_millis(30), "{error}");
    // What never fits is not waited for.
    let error = manager.wait_for_room(Duration::MAX).array_zeroed::<u8>(2 << 20).expect_err("never");
    assert_eq!(error.kind(), ErrorKind::RegionFull);

    let (send, order) = channel();
    let wait = |kib: usize, waiting: u32| {
        let (patient, send) = (manager.wait_for_room(PATIENCE), send.clone());
        let thread = std::thread::spawn(move || {
            let array = patient.array(&vec![3_u8; kib << 10]);
            send.send(kib).expect("heard");
            array
        });
        eventually("it waits", || manager.stats().expect("stats").waiting == waiting);
        thread
    };
    let large = wait(900, 1);
    // There is room for this one already, but it came later.
    let small = wait(200, 2);
    // One that does not wait is served.
    drop(manager.array(&vec![4_u8; 100 << 10]).expect("room"));
    assert!(order.try_recv().is_err());
    drop(held);
    assert_eq!(order.recv_timeout(PATIENCE).expect("served"), 900);
    let large = large.join().expect("no panic").expect("room");
    assert_eq!(manager.stats().expect("stats").waiting, 1);
    drop(large);
    assert_eq!(order.recv_timeout(PATIENCE).expect("served"), 200);
    assert_eq!(small.join().expect("no panic").expect("room").len(), 200 << 10);
    // Small objects make room too, without anybody asking the broker for something.
    let tiny: Vec<_> = (0..250_u64).map(|n| manager.value([n; 100]).expect("room")).collect();
    let whole = wait(1000, 1);
    drop(tiny);
    assert_eq!(order.recv_timeout(PATIENCE).expect("served"), 1000);
    drop(whole.join().expect("no panic").expect("room"));
    assert_eq!(manager.number_of_objects().expect("count"), 0);
    is_clean(&manager);
}

#[test]
fn who_dies_while_it_waits_for_room_leaves_the_line() {
    let (_broker, manager) = started("left", 1 << 20);
    let held = manager.array(&vec![1_u8; 700 << 10]).expect("room");
    let waiter = Actor::start("wait_for_room", &[manager.name(), "900000"]);
    assert_eq!(waiter.hear(), "ready");
    eventually("it waits", || manager.stats().expect("stats").waiting == 1);
    let patient = manager.wait_for_room(PATIENCE);
    let second = std::thread::spawn(move || patient.array(&[2_u8; 100]));
    eventually("both wait", || manager.stats().expect("stats").waiting == 2);
    waiter.kill();
    assert_eq!(second.join().expect("no panic").expect("room").len(), 100);
    drop(held);
    assert_eq!(manager.number_of_objects().expect("count"), 0);
}

/// The test itself is in the role: it needs a `/dev/shm` of its own.
#[test]
fn a_full_file_system_is_an_error_everywhere_and_never_a_sigbus() {
    let mut command = Command::new("unshare");
    let mount = "mount -t tmpfs -o size=6m tmpfs /dev/shm 2>/dev/null || exit 77; exec \"$0\" \"$@\"";
    let exe = std::env::current_exe().expect("this program");
    command.args(["--mount", "--propagation", "private", "sh", "-c", mount]).arg(exe);
    let actor = Actor::start_by(command, "tiny_shm", &[]);
    loop {
        match actor.try_hear().as_deref() {
            Some("done") => break actor.end(),
            Some(line) => println!("{line}"),
            None => {
                let code = actor.end_with();
                assert_eq!(code, Some(77), "the role ended with {code:?}");
                println!("skipped: a file system can't be mounted here");
                break;
            }
        }
    }
}

/// Fills so many pages of `/dev/shm`, or what is left of it.
struct Filler(PathBuf);

impl Filler {
    fn new(name: &str, pages: usize) -> Self {
        let path = Path::new("/dev/shm").join(name);
        let mut file = File::create(&path).expect("created");
        let _ = (0..pages).try_for_each(|_| file.write_all(&[1; 4096]));
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn tiny_shm() {
    let name = format!("tiny-{}", std::process::id());
    let builder = Broker::builder().name(&name).capacity(64 << 20).objects(200_000).tickets(50_000).sessions(8);
    let broker = builder.backing(Backing::Segment).spawn().expect("started");
    let manager = Manager::connect(&name).expect("connected");

    let ballast = Filler::new("ballast", 400);
    let mut values: Vec<Value<u64>> = (0..100).map(|n| manager.value(n).expect("room")).collect();
    // The region is larger than the file system.
    let mut arrays: Vec<Array<u64>> = Vec::new();
    let error = loop {
        match manager.array(&vec![arrays.len() as u64; 16_000]) {
            Ok(array) => arrays.push(array),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::RegionFull);
    assert!(error.message().contains("memory") && arrays.len() > 10, "{error}");
    say(format!("{} arrays, then: {error}", arrays.len()));
    let rest = Filler::new("rest", usize::MAX);

    // Slots, cells, small objects, tickets, names, sessions: whatever needs a further page says that there is none.
    let error = loop {
        match manager.value(values.len() as u64) {
            Ok(value) => values.push(value),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::RegionFull);
    say(format!("{} values, then: {error}", values.len()));
    assert!(values.len() > 100, "what is reserved already is used up first");
    let mut tickets = Vec::new();
    let error = loop {
        match arrays[0].ticket() {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::RegionFull);
    say(format!("{} tickets, then: {error}", tickets.len()));
    manager.publish("first", &arrays[0]).expect("the directory is reserved from the start");
    let other = Actor::start("attach", &[&name]);
    let refused = other.hear();
    assert_eq!(refused, "RegionFull", "a row of the ledger needs a page");
    other.end();

    // Nothing is lost, and nothing is counted that is not there.
    let all = |arrays: &[Array<u64>]| {
        arrays.iter().zip(0..).all(|(array, n)| array.read().expect("readable").iter().all(|word| *word == n))
    };
    assert!(all(&arrays));
    assert!(values.iter().zip(0..).all(|(value, n)| value.get().expect("read") == n));
    assert_eq!(manager.number_of_objects().expect("count"), (arrays.len() + values.len()) as u64);
    assert_eq!(check(&name).expect("checked").findings, Vec::<String>::new());

    // What is given back can be used again while the file system is full.
    let last = arrays.len() as u64 - 1;
    for n in 0..20 {
        drop(arrays.pop());
        drop(values.pop());
        arrays.push(manager.array(&vec![last; 16_000]).unwrap_or_else(|error| panic!("round {n}: {error}")));
        values.push(manager.value(values.len() as u64).expect("its place is there"));
    }
    assert!(all(&arrays));

    // Room is waited for, whoever makes it.
    let patient = manager.wait_for_room(PATIENCE);
    let waiter = std::thread::spawn(move || patient.array(&vec![9_u64; 16_000]));
    drop(ballast);
    let late = waiter.join().expect("no panic").expect("there is room now");
    assert!(late.read().expect("readable").iter().all(|word| *word == 9));

    // Another process, with the file system full under it.
    let mut client = Actor::start("tiny_shm_client", &[&name]);
    assert_eq!(client.hear(), "attached");
    let filler = Filler::new("filler", usize::MAX);
    client.tell("full");
    for _ in 0..3 {
        say(client.hear());
    }
    drop(filler);
    client.tell("room");
    assert_eq!(client.hear(), "works");
    client.end();
    drop(rest);
    eventually("it is swept", || manager.stats().expect("stats").sessions == 2);
    manager.unpublish("first").expect("there");
    drop((arrays, values, late));
    for ticket in tickets {
        let _ = manager.redeem::<Array<u64>>(&ticket).expect("redeemed");
    }
    assert_eq!(manager.number_of_objects().expect("count"), 0);
    assert_eq!(check(&name).expect("checked").findings, Vec::<String>::new());
    broker.stop().expect("in order");
    assert_eq!(std::fs::read_dir("/dev/shm").expect("there").count(), 0);
    say("done");
}

fn tiny_shm_client(name: &str) {
    let manager = Manager::connect(name).expect("connected");
    let mine = manager.value(5_u64).expect("room");
    say("attached");
    listen();
    let mut held = Vec::new();
    let error = loop {
        match manager.value(held.len() as u64) {
            Ok(value) => held.push(value),
            Err(error) => break error,
        }
    };
    say(format!("another process: {} values, then {error}", held.len()));
    // Objects whose cells have no page yet in this process's row.
    let ids: Vec<_> = manager.debug_info().expect("info");
    let found = manager.lookup::<Array<u64>>("first");
    say(format!(
        "another process: sees {} objects, finds a name: {:?}",
        ids.len(),
        found.map(|array| array.len()).map_err(|error| error.kind())
    ));
    let issued = (0..100_000).map_while(|_| mine.ticket().ok()).count();
    say(format!("another process: {issued} tickets"));
    listen();
    assert!(held.iter().zip(0..).all(|(value, n)| value.get().expect("read") == n));
    assert_eq!(manager.array(&[1_u8; 100_000]).expect("room").len(), 100_000);
    for ticket in manager.tickets().expect("tickets").iter().filter(|ticket| ticket.object == mine.id()) {
        assert_eq!(ticket.uses, 1);
    }
    say("works");
    listen();
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

fn directory() -> PathBuf {
    let directory = std::env::var_os("SHAREHOLD_DIR").map(PathBuf::from);
    directory.unwrap_or_else(|| format!("/tmp/sharehold-{}", rustix::process::geteuid().as_raw()).into())
}

/// `accept` fails and the one that waits stays in the queue, so that a loop that only waits for events would spin.
#[test]
fn a_broker_without_descriptors_says_so_does_not_spin_and_goes_on() {
    let name = format!("few-{}", std::process::id());
    let broker = Actor::start("serve_with_few_descriptors", &[&name, "64"]);
    assert_eq!(broker.hear(), "serves");
    let manager = Manager::connect(&name).expect("connected");
    let value = manager.value(5_u64).expect("room");
    let socket = directory().join(format!("{name}.sock"));
    let silent: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&socket).expect("connected")).collect();
    let newcomer = Actor::start("attach", &[&name]);
    assert_eq!(newcomer.hear(), "TableFull");
    newcomer.end();
    // Its descriptors are still used up. It answers, and has nothing else to do.
    let before = cpu_ticks(broker.pid());
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        assert_eq!(manager.stats().expect("stats").objects, 1);
        std::thread::sleep(Duration::from_millis(10));
    }
    let used = cpu_ticks(broker.pid()) - before;
    println!("{used} of 50 ticks of processor time without descriptors");
    assert!(used < 25, "the broker spins");
    drop(silent);
    eventually("there is room again", || {
        let newcomer = Actor::start("attach", &[&name]);
        let said = newcomer.hear();
        newcomer.end();
        said == "attached"
    });
    assert_eq!(value.get().expect("read"), 5);
    drop(value);
    is_clean(&manager);
    manager.shutdown().expect("it serves");
    broker.end();
}

#[test]
fn a_client_without_descriptors_gets_errors_and_loses_nothing() {
    let (_broker, manager) = started("client", 1 << 20);
    let value = manager.value(5_u64).expect("room");
    let ticket = value.ticket_with(sharehold::TicketOptions { uses: 3, deadline: None }).expect("issued");
    let actor = Actor::start("use_up_descriptors", &[&ticket.to_string()]);
    loop {
        match actor.hear().as_str() {
            "done" => break,
            line => println!("{line}"),
        }
    }
    actor.end();
    eventually("it is swept", || manager.stats().expect("stats").sessions == 2);
    is_clean(&manager);
}

fn use_up_descriptors(ticket: &str) {
    let few = Some(40);
    setrlimit(Resource::Nofile, Rlimit { current: few, maximum: few }).expect("allowed");
    let ticket: Ticket = ticket.parse().expect("a ticket");
    let name = ticket.broker().to_owned();
    let use_up = || (0..100).map_while(|_| File::open("/dev/null").ok()).collect::<Vec<_>>();
    // Not attached yet, with none, one, two left.
    for left in 0..4 {
        let mut files = use_up();
        files.truncate(files.len().saturating_sub(left));
        match sharehold::redeem::<Value<u64>>(&ticket) {
            Ok(value) => {
                say(format!("with {left} descriptors: attached"));
                assert_eq!(value.get().expect("read"), 5);
            }
            Err(error) => {
                say(format!("with {left} descriptors: {error:?}"));
                assert_eq!(error.kind(), ErrorKind::Os, "{error:?}");
            }
        }
    }
    let manager = Manager::connect(&name).expect("there are descriptors");
    let value = manager.value(6_u64).expect("room");
    let files = use_up();
    // What has a connection goes on; what needs another one says why not; what needs none does not notice.
    assert_eq!(manager.value(7_u64).expect("its connection is there").get().expect("read"), 7);
    let all = std::thread::scope(|scope| {
        let name = &name;
        let value = |n: u64| Manager::connect(name).and_then(|manager| manager.value(n));
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || value(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    for error in all.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), ErrorKind::Os, "{error:?}");
    }
    let again: Value<u64> = manager.redeem(&value.ticket().expect("issued")).expect("redeemed");
    assert_eq!(again.get().expect("read"), 6);
    drop(files);
    assert_eq!(manager.value(8_u64).expect("room").get().expect("read"), 8);
    assert!(Path::new("/proc/self/fd/0").exists());
    say("done");
}
