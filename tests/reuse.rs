//! A process dies and another gets its number: nobody takes the one for the other. In a pid namespace of its own, where the next number can be chosen.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test that can't go on fails")]

mod common;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::served::Served;
use common::{Actor, eventually, listen, role, say};
use sharehold::{Array, Broker, ErrorKind, Manager, Proxy, check};

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "alone" => {
            match arguments[0].as_str() {
                "swept" => a_client_is_swept(),
                "restart" => sessions_and_the_broker_are_told_apart_after_a_restart(),
                other => panic!("there is no scene {other}"),
            }
            say("done");
        }
        "serve" => {
            common::served::serve(&arguments, Broker::builder().capacity(16 << 20).objects(1000)).expect("served");
        }
        "hold" => {
            let manager = Manager::connect(&arguments[0]).expect("connected");
            let array: Array<u64> = manager.lookup("array").expect("found");
            let guard = (arguments[1] == "write").then(|| array.write().expect("free"));
            say("holds");
            while listen().is_some() {}
            drop(guard);
        }
        other => panic!("there is no role {other}"),
    }
}

/// Runs a scene in a pid namespace of its own, if the system allows that.
fn in_a_namespace(scene: &str) {
    let may = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "sh", "-c", "echo 100 > /proc/sys/kernel/ns_last_pid"])
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        return println!("skipped: no pid namespace can be made here, in which the next number is chosen");
    }
    let mut unshare = Command::new("unshare");
    // Nothing outlives the first process of the namespace.
    let me = std::env::current_exe().expect("a path");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(me);
    let alone = Actor::start_by(unshare, "alone", &[scene]);
    assert_eq!(alone.try_hear().as_deref(), Some("done"));
    alone.end();
}

/// A process that has nothing to do with anything, under this number.
struct Unrelated(Child);

impl Unrelated {
    /// The process of that number has ended and was waited for; `start` was its start time.
    fn take(pid: u32, start: u64) -> Self {
        loop {
            std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("allowed");
            let child = Command::new("sleep").arg("1000").spawn().expect("there is sleep");
            let taken = Self(child);
            // Times of start are told in hundredths of a second.
            if taken.0.id() == pid && start_of(pid) != start {
                return taken;
            }
        }
    }
}

impl Drop for Unrelated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_of(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    fields.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok()).expect("a time")
}

fn is_held_by(manager: &Manager, array: &Array<u64>, pid: u32) -> bool {
    manager.object_info(array.id()).expect("alive").holders.iter().any(|holder| holder.pid == pid)
}

#[test]
fn a_client_whose_number_is_another_process_s_by_now_is_swept() {
    in_a_namespace("swept");
}

fn a_client_is_swept() {
    let mut served = Served::start("reuse", "memfd");
    let manager = served.manager();
    let array = manager.array(&[1_u64; 8]).expect("room");
    manager.publish("array", &array).expect("published");
    let client = Actor::start("hold", &[&served.name, "read"]);
    assert_eq!(client.hear(), "holds");
    let (pid, start) = (client.pid(), start_of(client.pid()));
    assert!(is_held_by(&manager, &array, pid));
    // The broker sees neither the end of the one nor the start of the other.
    let broker = served.take();
    broker.signal(19);
    client.kill();
    let _unrelated = Unrelated::take(pid, start);
    broker.signal(18);
    served.put(broker);
    eventually("what it held is given back", || !is_held_by(&manager, &array, pid));
    assert_eq!(check(&served.name).expect("checked").findings, [""; 0]);
}

#[test]
fn a_restarted_broker_takes_no_process_for_one_that_had_its_number_before() {
    in_a_namespace("restart");
}

fn sessions_and_the_broker_are_told_apart_after_a_restart() {
    for backing in ["segment", "memfd"] {
        let mut served = Served::start("reuse", backing);
        let manager = served.manager();
        let array = manager.array(&[1_u64; 8]).expect("room");
        manager.publish("array", &array).expect("published");
        let client = Actor::start("hold", &[&served.name, "write"]);
        assert_eq!(client.hear(), "holds");
        let numbers = [manager.stats().expect("stats").broker_pid, client.pid()];
        let starts = numbers.map(start_of);
        served.kill();
        client.kill();
        let unrelated = [0, 1].map(|n| Unrelated::take(numbers[n], starts[n]));
        // Without a broker: whoever waits for its lock finds out for himself.
        assert_eq!(array.write_for(common::PATIENCE).map(drop).expect_err("half written").kind(), ErrorKind::Poisoned);
        array.clear_poison().expect("ours");
        served.serve(backing);
        eventually("it is taken over", || manager.stats().is_ok());
        assert!(
            !is_held_by(&manager, &array, numbers[1]),
            "{backing}: the dead one's row was taken for the new process's"
        );
        assert_eq!(manager.stats().expect("stats").sessions, 2);
        array.write_for(Duration::from_secs(1)).expect("nobody has it")[0] = 2;
        assert_eq!(check(&served.name).expect("checked").findings, [""; 0]);
        drop(unrelated);
    }
}
