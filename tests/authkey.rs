//! A broker with an authkey lets nobody in who does not know it, proves that it knows it too, and never shows it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::folder::{Folder, NOBODY, is_root};
use common::{Actor, eventually, listen, role, say};
use sharehold::{Authkey, Broker, Error, ErrorKind, List, Manager, Proxy, RunningBroker, Value, check, redeem};

const KEY: &str = "correct horse battery staple";

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    let name = arguments.first().map_or("", String::as_str);
    match role.as_str() {
        // With a key, until told to end.
        "hold" => {
            let manager = Manager::connect_with(name, KEY).expect("connected");
            let value = manager.value(1_u64).expect("room");
            manager.publish("held", &value).expect("published");
            say("holds");
            while let Some(asked) = listen() {
                assert_eq!(asked, "call");
                eventually("it is back", || List::new(&manager).is_ok());
                say(value.get().expect("read"));
            }
        }
        // Without one, but for that which the environment names.
        "connect" => say(kind(Manager::connect(name))),
        "redeem" => {
            let ticket = arguments[1].parse().expect("a ticket");
            say(redeem::<Value<u64>>(&ticket)
                .map_or_else(|error| format!("{:?}", error.kind()), |value| format!("{:?}", value.get().ok())));
        }
        "guess" => {
            eventually("it has to wait", || kind(Manager::connect_with(name, "wrong")) == "TooManyTries");
            say(Manager::connect_with(name, KEY).expect_err("not now"));
            // The right one is looked at when its time has come.
            eventually("it may try again", || kind(Manager::connect_with(name, KEY)) == "Ok");
            say("in");
        }
        other => panic!("there is no role {other}"),
    }
}

fn kind(result: Result<Manager, Error>) -> String {
    result.map_or_else(|error| format!("{:?}", error.kind()), |_| "Ok".into())
}

fn broker(what: &str) -> (RunningBroker, String) {
    let name = format!("authkey-{what}-{}", std::process::id());
    let broker = Broker::builder().name(&name).capacity(1 << 20).authkey(KEY).spawn().expect("started");
    (broker, name)
}

fn key_file(folder: &Folder, content: &[u8], mode: u32) -> PathBuf {
    let path = folder.0.join("key");
    let _ = fs::remove_file(&path);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&path).expect("made");
    file.write_all(content).expect("written");
    file.set_permissions(Permissions::from_mode(mode)).expect("set");
    path
}

#[test]
fn only_the_right_key_lets_a_client_in() {
    let (_broker, name) = broker("in");
    let none = Manager::connect(&name).expect_err("refused");
    assert_eq!(
        (none.kind(), none.message(), none.advice()),
        (
            ErrorKind::WrongAuthkey,
            "the broker wants an authkey",
            "give the broker's authkey to Manager::connect_with, or name its file in SHAREHOLD_AUTHKEY_FILE"
        )
    );
    let wrong = Manager::connect_with(&name, "correct horse battery stable").expect_err("refused");
    assert_eq!((wrong.kind(), wrong.message()), (ErrorKind::WrongAuthkey, "the authkey is wrong"));
    assert_eq!(check(&name).expect_err("refused").kind(), ErrorKind::WrongAuthkey);
    let manager = Manager::connect_with(&name, KEY).expect("let in");
    // Further connections are of the session, and prove that with its token.
    let list = List::new(&manager).expect("created");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|n| list.push(n).expect("called")));
        }
    });
    assert_eq!(list.len().expect("called"), 160);
}

#[test]
fn a_broker_without_the_key_is_not_taken_for_one_that_has_it() {
    let folder = Folder::private("plain");
    let name = format!("authkey-plain-{}", std::process::id());
    let _broker = Broker::builder().name(&name).capacity(1 << 20).spawn().expect("started");
    let error = Manager::connect_with(&name, KEY).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::WrongAuthkey);
    assert!(error.message().starts_with("the broker has no authkey"), "{error}");
    // A key that the environment has for others is shown to those who ask for it.
    let mut command = Command::new("/proc/self/exe");
    command.env("SHAREHOLD_AUTHKEY_FILE", key_file(&folder, KEY.as_bytes(), 0o600));
    assert_eq!(Actor::start_by(command, "connect", &[&name]).hear(), "Ok");
}

#[test]
fn keys_that_are_none_are_refused_before_anything_is_started() {
    for key in [vec![], vec![1; 1025]] {
        let builder = Broker::builder().name("authkey-none").authkey(&key);
        assert_eq!(builder.spawn().expect_err("refused").kind(), ErrorKind::InvalidArgument);
        let child = Manager::builder().authkey(&key).start();
        assert_eq!(child.expect_err("refused").kind(), ErrorKind::InvalidArgument);
        assert_eq!(Manager::connect_with("authkey-none", key).expect_err("refused").kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn a_file_with_a_key_is_the_users_alone() {
    let folder = Folder::private("file");
    let refused = |path: &Path, what: &str| {
        let error = Authkey::from_file(path).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.message().contains(what), "{error}");
    };
    for mode in [0o644, 0o640, 0o620, 0o604] {
        refused(&key_file(&folder, KEY.as_bytes(), mode), "is open to others");
    }
    if is_root() {
        let path = key_file(&folder, KEY.as_bytes(), 0o600);
        chown(&path, Some(NOBODY), None).expect("root may");
        refused(&path, "is a file of user 65534");
    }
    let path = folder.0.join("other");
    assert!(Command::new("mkfifo").arg(&path).status().expect("runs").success());
    refused(&path, "is a FIFO");
    refused(&folder.0, "is a directory");
    assert_eq!(Authkey::from_file(folder.0.join("none")).expect_err("none").kind(), ErrorKind::Os);
    assert_eq!(
        Authkey::from_file(key_file(&folder, b"\n", 0o600)).expect_err("empty").kind(),
        ErrorKind::InvalidArgument
    );
    let long = key_file(&folder, &[7; 5000], 0o600);
    assert_eq!(Authkey::from_file(long).expect_err("too long").kind(), ErrorKind::InvalidArgument);

    // The end of a line does not count, and a link may be its name.
    let (_broker, name) = broker("file");
    let path = key_file(&folder, format!("{KEY}\n").as_bytes(), 0o400);
    let link = folder.0.join("link");
    symlink(&path, &link).expect("linked");
    let key = Authkey::from_file(link).expect("a key");
    assert!(Manager::connect_with(&name, key).is_ok());
}

#[test]
fn who_gives_wrong_keys_has_to_wait_and_nobody_else_has() {
    let folder = Folder::private("guess");
    let name = format!("authkey-guess-{}", std::process::id());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sharehold"));
    command.args(["serve", "--name", &name, "--capacity", "1M", "--allow-uid", "65534", "--authkey-file"]);
    command.arg(key_file(&folder, KEY.as_bytes(), 0o600)).env("SHAREHOLD_DIR", &folder.0);
    let mut broker = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the command runs");
    BufReader::new(broker.stdout.take().expect("piped")).read_line(&mut String::new()).expect("it serves");
    let place = folder.place(&name);
    let mut command = folder.command();
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let guesser = Actor::start_by(command, "guess", &[&place]);
    let said = guesser.hear();
    assert!(said.contains("has given too many wrong authkeys: the next one is looked at in"), "{said}");
    if is_root() {
        // That is another user.
        assert!(Manager::connect_with(&place, KEY).is_ok());
    }
    assert_eq!(guesser.hear(), "in");
    Manager::connect_with(&place, KEY).expect("let in").shutdown().expect("in order");
    assert!(broker.wait().expect("ended").success());
}

#[test]
fn a_child_broker_has_the_key_shows_it_nowhere_and_keeps_it_when_it_is_started_again() {
    let builder = Manager::builder().capacity(1 << 20).authkey(KEY);
    assert!(!format!("{builder:?}").contains(KEY) && format!("{builder:?}").contains("Authkey(..)"));
    let manager = builder.start().expect("started");
    assert!(!format!("{manager:?}").contains(KEY));
    let mut holder = Actor::start("hold", &[manager.name()]);
    assert_eq!(holder.hear(), "holds");
    assert_eq!(Actor::start("connect", &[manager.name()]).hear(), "WrongAuthkey");

    let broker = manager.child_pid().expect("our child");
    for file in ["environ", "cmdline", "comm"] {
        // As another user than root nobody can read the first.
        if let Ok(text) = fs::read(format!("/proc/{broker}/{file}")) {
            assert!(!String::from_utf8_lossy(&text).contains(KEY), "{file}");
        }
    }
    assert!(Command::new("kill").args(["-9", &broker.to_string()]).status().expect("runs").success());
    eventually("the broker is gone", || manager.value(0_u8).is_err());
    manager.restart().expect("started again");
    holder.tell("call");
    assert_eq!(holder.hear(), "1");
    assert_eq!(manager.lookup::<Value<u64>>("held").expect("kept").get().expect("read"), 1);
    assert_eq!(Actor::start("connect", &[manager.name()]).hear(), "WrongAuthkey");
    holder.end();
}

#[test]
fn a_client_does_not_come_back_to_a_broker_with_another_key() {
    let folder = Folder::private("other");
    let serve = |key: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sharehold"));
        command.args(["serve", "--name", "other", "--capacity", "1M"]).env("SHAREHOLD_DIR", &folder.0);
        if !key.is_empty() {
            command.arg("--authkey-file").arg(key_file(&folder, key.as_bytes(), 0o600));
        }
        let mut broker = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the command runs");
        BufReader::new(broker.stdout.take().expect("piped")).read_line(&mut String::new()).expect("it serves");
        broker
    };
    let place = folder.place("other");
    for key in ["another", ""] {
        let mut first = serve(KEY);
        let manager = Manager::connect_with(&place, KEY).expect("let in");
        let value = manager.value(7_u64).expect("room");
        first.kill().expect("ours");
        first.wait().expect("ours");
        let mut second = serve(key);
        eventually("it is refused", || {
            manager.value(0_u8).expect_err("no broker of ours").kind() == ErrorKind::WrongAuthkey
        });
        // What it holds is still there for it; the new broker has nothing of it.
        assert_eq!(value.get().expect("read"), 7);
        drop((manager, value));
        let other = if key.is_empty() { Manager::connect(&place) } else { Manager::connect_with(&place, key) };
        let other = other.expect("let in");
        assert_eq!(other.number_of_objects().expect("counted"), 0);
        other.shutdown().expect("in order");
        assert!(second.wait().expect("ended").success());
    }
}

#[test]
fn the_command_and_tickets_find_the_key_in_a_file_and_no_log_has_it() {
    let folder = Folder::private("command");
    let file = key_file(&folder, KEY.as_bytes(), 0o600);
    let command = |arguments: &[&str], with: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sharehold"));
        command.args(arguments).env("SHAREHOLD_DIR", &folder.0).env_remove("SHAREHOLD_AUTHKEY_FILE");
        if with {
            command.env("SHAREHOLD_AUTHKEY_FILE", &file);
        }
        command
    };
    let log = folder.0.join("log");
    let mut serve = command(&["-vvv", "serve", "--name", "locked", "--capacity", "1M"], true);
    let mut broker = serve.stdout(Stdio::piped()).stderr(File::create(&log).expect("made")).spawn().expect("runs");
    BufReader::new(broker.stdout.take().expect("piped")).read_line(&mut String::new()).expect("it serves");

    let said = |mut command: Command| {
        let output = command.output().expect("the command runs");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let manager = Manager::connect_with(&folder.place("locked"), KEY).expect("let in");
    let value = manager.value(5_u64).expect("room");
    let (worked, text) = said(command(&["-vvv", "ls"], true));
    assert!(worked && text.contains("u64") && !text.contains(KEY), "{text}");
    let (worked, text) = said(command(&["ls"], false));
    assert!(!worked && text.contains("error: the broker wants an authkey"), "{text}");

    let ticket = value.ticket().expect("issued").to_string();
    let redeemer = |with: bool| {
        let mut command = folder.command();
        if with {
            command.env("SHAREHOLD_AUTHKEY_FILE", &file);
        }
        Actor::start_by(command, "redeem", &["locked", &ticket]).hear()
    };
    assert_eq!(redeemer(false), "WrongAuthkey");
    assert_eq!(redeemer(true), "Some(5)");

    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("ours");
    let (worked, text) = said(command(&["ls"], true));
    assert!(!worked && text.contains("is open to others: its mode is 0644"), "{text}");
    drop(value);
    manager.shutdown().expect("in order");
    assert!(broker.wait().expect("ended").success());
    let text = fs::read_to_string(&log).expect("written");
    assert!(text.contains("attached") && text.contains("the broker wants an authkey"), "{text}");
    assert!(!text.contains(KEY));
}
