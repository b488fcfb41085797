//! Who may attach, and what those who may not, and those of the broker's own user, can do to it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::folder::{Folder, NOBODY, is_root};
use common::{Actor, eventually, listen, role, say};
use sharehold::{Array, Broker, Error, List, Manager, Proxy, Ticket, Value, check, redeem};

/// Another one.
const SOMEBODY: u32 = 65533;

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "serve" => {
            let mut broker = Broker::builder().capacity(1 << 20);
            for uid in &arguments[2..] {
                broker = broker.allow_uid(uid.parse().expect("a number"));
            }
            common::served::serve(&arguments, broker).expect("served");
        }
        "use" => match use_broker(&arguments[0], arguments.get(1).map(|ticket| ticket.parse().expect("a ticket"))) {
            Ok(()) => {
                say("used");
                while listen().is_some() {}
            }
            Err(error) => say(format!("{:?}: {error}", error.kind())),
        },
        "knock" => {
            // What the broker says to one that may not come in, again and again.
            for _ in 0..2000 {
                let mut stream = UnixStream::connect(format!("{}.sock", arguments[0])).expect("everybody can reach it");
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said);
                assert!(String::from_utf8_lossy(&said).contains("may not use this broker"));
            }
            say("knocked");
        }
        "own" => own(arguments[0] == "debuggable"),
        other => panic!("there is no role {other}"),
    }
}

fn use_broker(place: &str, ticket: Option<Ticket>) -> Result<(), Error> {
    let manager = Manager::connect(place)?;
    if let Some(ticket) = ticket {
        let array: Array<u64> = redeem(&ticket)?;
        array.write()?[0] = 7;
    }
    let numbers: Value<u64> = manager.lookup("number")?;
    numbers.update(|number| *number += 1)?;
    manager.publish("mine", &manager.array(&[1_u8; 10_000])?)?;
    let list: List = manager.lookup("list")?;
    list.push("from another user")?;
    // What it holds while the test goes on.
    std::mem::forget((numbers, list));
    Ok(())
}

fn as_user(uid: u32, folder: &Folder) -> Command {
    let mut command = folder.command();
    command.env_remove("SHAREHOLD_DIR").uid(uid).gid(uid);
    command
}

/// A broker of this user in a folder.
fn serve(folder: &Folder, arguments: &[&str]) -> (Actor, Manager) {
    let broker = Actor::start_by(folder.command(), "serve", arguments);
    assert_eq!(broker.hear(), "serving");
    (broker, Manager::connect(&folder.place(arguments[0])).expect("connected"))
}

#[test]
fn another_user_is_refused_unless_it_is_allowed() {
    if !is_root() {
        return;
    }
    for backing in ["memfd", "segment"] {
        let (folder, name) = (Folder::new("users"), format!("users-{}", std::process::id()));
        let place = folder.place(&name);
        let (broker, manager) = serve(&folder, &[&name, backing, &NOBODY.to_string()]);
        let mode = |path: &Path| fs::symlink_metadata(path).expect("there").mode() & 0o7777;
        assert_eq!((mode(&folder.0), mode(&folder.0.join(format!("{name}.sock")))), (0o711, 0o666));
        assert_eq!(mode(&folder.0.join(format!("{name}.lock"))), 0o600);

        let (number, list) = (manager.value(0_u64).expect("room"), List::new(&manager).expect("created"));
        manager.publish("number", &number).expect("published");
        manager.publish("list", &list).expect("published");
        let array = manager.array(&[0_u64; 1000]).expect("room");
        let ticket = array.ticket().expect("issued").to_string();

        // By a place; by the directory.
        let allowed = Actor::start_by(as_user(NOBODY, &folder), "use", &[&place, &ticket]);
        assert_eq!(allowed.hear(), "used");
        let mut command = as_user(NOBODY, &folder);
        command.env("SHAREHOLD_DIR", &folder.0);
        let second = Actor::start_by(command, "use", &[&place]);
        assert!(second.hear().starts_with("NameTaken: "));
        assert_eq!(
            (number.get().expect("read"), array.read().expect("read")[0], list.len().expect("called")),
            (2, 7, 1)
        );

        let refused = Actor::start_by(as_user(SOMEBODY, &folder), "use", &[&place]);
        assert_eq!(
            refused.hear(),
            "Refused: user 65533 may not use this broker (have it started with --allow-uid 65533)"
        );
        // What the one that is allowed held is given back, as anybody's.
        let held = |manager: &Manager| manager.object_info(number.id()).expect("alive").proxies();
        assert_eq!(held(&manager), 2);
        allowed.kill();
        eventually("it is swept", || held(&manager) == 1);
        assert_eq!(check(&place).expect("checked").findings, Vec::<String>::new());
        drop((number, list, array));
        manager.shutdown().expect("in order");
        broker.end();
    }
}

#[test]
fn without_others_allowed_nobody_else_gets_to_the_socket() {
    if !is_root() {
        return;
    }
    let folder = Folder::new("closed");
    let (broker, manager) = serve(&folder, &["closed", "memfd"]);
    let place = folder.place("closed");
    let refused = Actor::start_by(as_user(NOBODY, &folder), "use", &[&place]);
    let said = refused.hear();
    assert!(said.starts_with("Refused: ") && said.contains("is user 0's alone"), "{said}");
    // Another broker has opened the directory.
    let (other, second) = serve(&folder, &["open", "memfd", &NOBODY.to_string()]);
    let refused = Actor::start_by(as_user(NOBODY, &folder), "use", &[&place]);
    let said = refused.hear();
    assert!(
        said.starts_with("Refused: ") && said.contains("is user 0's alone (have it started with --allow-uid)"),
        "{said}"
    );
    manager.shutdown().expect("in order");
    second.shutdown().expect("in order");
    broker.end();
    other.end();
}

#[test]
fn one_that_is_refused_harms_nobody() {
    if !is_root() {
        return;
    }
    let folder = Folder::new("knock");
    let log = folder.0.with_extension("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sharehold"));
    command
        .args(["serve", "--name", "knock", "--capacity", "1M", "--allow-uid", "65533"])
        .env("SHAREHOLD_DIR", &folder.0);
    let mut broker =
        command.stdout(Stdio::piped()).stderr(File::create(&log).expect("made")).spawn().expect("the command runs");
    let mut ready = String::new();
    BufReader::new(broker.stdout.take().expect("piped")).read_line(&mut ready).expect("it says that it serves");
    let place = folder.place("knock");
    let manager = Manager::connect(&place).expect("connected");
    let value = manager.value(0_u64).expect("room");
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", broker.id())).expect("root may").count();
    let before = descriptors();
    let knocking = Actor::start_by(as_user(NOBODY, &folder), "knock", &[&place]);
    for _ in 0..200 {
        assert_eq!(manager.value(1_u64).expect("room").get().expect("read"), 1);
    }
    assert_eq!(knocking.hear(), "knocked");
    eventually("all are closed", || descriptors() == before);
    drop(value);
    manager.shutdown().expect("in order");
    assert!(broker.wait().expect("ended").success());
    let said = fs::read_to_string(&log).expect("written");
    fs::remove_file(&log).expect("ours");
    assert!(said.contains("connections of other users were refused"), "{said}");
    assert!(said.lines().count() < 100, "two thousand connections write {} lines", said.lines().count());
}

/// All that the broker says to a connection until it closes it.
fn last_words(mut stream: UnixStream) -> String {
    stream.set_read_timeout(Some(common::PATIENCE)).expect("set");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).expect("closed in time");
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_thousand_that_say_nothing_keep_nobody_out_and_give_way_the_oldest_first() {
    let folder = Folder::new("crowd");
    let (broker, manager) = serve(&folder, &["crowd", "memfd"]);
    let socket = folder.0.join("crowd.sock");
    let strangers: Vec<UnixStream> =
        (0..1000).map(|_| UnixStream::connect(&socket).expect("there is room in the queue")).collect();
    // One that comes after them is served, and so is one that was there before.
    let late = Actor::start_by(folder.command(), "use", &[&folder.place("crowd")]);
    assert!(late.hear().starts_with("NameNotFound"), "it has attached, and finds nothing");
    assert_eq!(manager.value(1_u64).expect("room").get().expect("read"), 1);
    let said: Vec<String> = strangers.into_iter().map(last_words).collect();
    let gave_way = |said: &&String| said.contains("256 connections have not attached, and this was the oldest");
    let was_late = |said: &&String| said.contains("has not attached within 10s");
    let (first, last) = (said.iter().take_while(gave_way).count(), said.iter().rev().take_while(was_late).count());
    // The client that came after them was one of them for a moment.
    assert!(first + last == said.len() && (1..=256).contains(&last), "{first} gave way, {last} were late");
    manager.shutdown().expect("in order");
    broker.end();
}

#[test]
fn one_that_says_a_byte_now_and_then_is_not_waited_for_for_ever() {
    let folder = Folder::new("slow");
    let (broker, manager) = serve(&folder, &["slow", "memfd"]);
    let stranger = UnixStream::connect(folder.0.join("slow.sock")).expect("connected");
    let mut slow = stranger.try_clone().expect("cloned");
    let said = std::thread::spawn(move || last_words(stranger));
    // The beginning of a message, and never the whole.
    for byte in b"SHLD\x01\0\0\0\0\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0".iter().chain(&[0; 1000]) {
        if said.is_finished() || slow.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let said = said.join().expect("read");
    assert!(said.contains("has not attached within 10s"), "{said}");
    manager.shutdown().expect("in order");
    broker.end();
}

/// As a user who is not root, with a broker of its own: what it can do to it, and that all else works.
fn own(debuggable: bool) {
    let start = Manager::builder().capacity(1 << 20);
    let manager = if debuggable { start.debuggable().start() } else { start.start() }.expect("started");
    let broker = manager.child_pid().expect("our child");
    let proc = |file: &str| format!("/proc/{broker}/{file}");
    let traced = is_traceable(broker);
    let memory =
        File::open(proc("mem")).map(|memory| memory.read_at(&mut [0; 8], address_of_something(&proc("maps"))).is_ok());
    let environment = fs::read(proc("environ")).is_ok();
    let descriptors = fs::read_dir(proc("fd")).is_ok();
    say(format!("{traced} {} {environment} {descriptors}", memory.unwrap_or(false)));

    // What others need to know about it, they still can.
    let (value, list) = (manager.value(1_u64).expect("room"), List::new(&manager).expect("created"));
    list.push(1).expect("called");
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
    assert_eq!(manager.stats().expect("asked").broker_pid, broker);
    let status = Command::new("kill").args(["-9", &broker.to_string()]).status().expect("runs");
    assert!(status.success());
    eventually("the broker is gone", || manager.value(0_u8).is_err());
    value.update(|value| *value += 1).expect("ours");
    manager.restart().expect("started again");
    assert_eq!((value.get().expect("read"), manager.number_of_objects().expect("counted")), (2, 2));
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
    drop((value, list));
    eventually("all is freed", || manager.number_of_objects().expect("counted") == 0);
    drop(manager);
    say("done");
}

/// Whether the process can be traced: seized, and let go at once.
fn is_traceable(pid: u32) -> bool {
    let status = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "trace_one", "--nocapture"])
        .env("SHAREHOLD_TRACE", pid.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("runs").success()
}

#[test]
fn trace_one() {
    let Ok(pid) = std::env::var("SHAREHOLD_TRACE") else { return };
    trace(pid.parse().expect("a pid"));
}

#[expect(unsafe_code, reason = "no safe binding of ptrace")]
fn trace(pid: libc::pid_t) {
    // SAFETY: seizing another process reads and writes nothing here; it is let go when this one ends.
    let status = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
}

/// An address that can be read.
fn address_of_something(maps: &str) -> u64 {
    let maps = fs::read_to_string(maps).unwrap_or_default();
    maps.split_once('-').and_then(|(start, _)| u64::from_str_radix(start, 16).ok()).unwrap_or(0)
}

#[test]
fn a_broker_can_not_be_traced_by_its_own_user_unless_it_is_said() {
    if !is_root() {
        return;
    }
    for (how, expected) in [("", "false false false false"), ("debuggable", "true true true true")] {
        let folder = Folder::private_of("own", NOBODY);
        let mut command = as_user(NOBODY, &folder);
        command.env("SHAREHOLD_DIR", &folder.0);
        let owner = Actor::start_by(command, "own", &[how]);
        assert_eq!(owner.hear(), expected, "{how}");
        assert_eq!(owner.hear(), "done");
        owner.end();
        assert_eq!(folder.names(), [""; 0]);
    }
}

#[test]
fn processes_that_proc_does_not_show_are_not_taken_for_dead() {
    if !is_root() {
        return;
    }
    let folder = Folder::private_of("hidden", NOBODY);
    let mut command = Command::new("unshare");
    let script = "mount -t proc -o hidepid=2 proc /proc || exit 77; exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(std::env::current_exe().expect("a path"));
    command.env("SHAREHOLD_DIR", &folder.0);
    let owner = Actor::start_by(command, "own", &[""]);
    match owner.try_hear() {
        Some(said) => {
            assert_eq!(said, "false false false false");
            assert_eq!(owner.hear(), "done");
            owner.end();
        }
        // Where nothing may be mounted.
        None => assert_eq!(owner.end_with(), Some(77)),
    }
}

#[test]
fn what_may_not_be_reached_is_said_in_the_log() {
    if !is_root() {
        return;
    }
    let closed = Folder::new("above");
    DirBuilder::new().mode(0o700).create(&closed).expect("made");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sharehold"));
    command.args(["serve", "--capacity", "1M", "--allow-uid", "nobody"]).env("SHAREHOLD_DIR", closed.0.join("inner"));
    let mut broker = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command runs");
    let mut line = String::new();
    BufReader::new(broker.stderr.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(
        line.contains("other users may not get to the broker") && line.contains(closed.0.to_str().expect("a path")),
        "{line}"
    );
    let manager = Manager::connect_within(&closed.place("inner/default"), common::PATIENCE).expect("connected");
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("ours");
    manager.shutdown().expect("in order");
    assert!(broker.wait().expect("ended").success());
}
