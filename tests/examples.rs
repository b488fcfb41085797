//! The examples as a reader runs them: real programs that end well, say what they found, and leave nothing behind.
//!
//! `cargo test` builds them; `cargo test --test examples` alone takes those that were built last.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::eventually;
use rustix::process::{Pid, Signal, kill_process_group};

/// Longest that an example may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A folder of its own for sockets and what an example prints, removed in the end.
struct Stage(PathBuf);

impl Stage {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sharehold-example-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn output(&self) -> Stdio {
        // A file: nobody has to read it while the example runs, whatever it prints.
        let file = File::options().create(true).append(true).open(self.0.join("output")).expect("a file");
        file.into()
    }

    fn printed(&self) -> String {
        fs::read_to_string(self.0.join("output")).expect("what it printed")
    }

    fn sockets(&self) -> usize {
        fs::read_dir(self.0.join("run")).map_or(0, Iterator::count)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program of an example. It lies beside the folder of this test's own.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    let program = test.ancestors().nth(2).expect("two folders up").join("examples").join(name);
    assert!(program.exists(), "{} is missing: `cargo build --examples` makes it", program.display());
    program
}

/// Waits for an example. One that takes too long is killed with all processes that it has started.
fn wait(example: &mut Child) -> Option<ExitStatus> {
    let until = Instant::now() + LIMIT;
    while Instant::now() < until {
        if let Some(status) = example.try_wait().expect("it is ours") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = kill_process_group(Pid::from_child(example), Signal::KILL);
    let _ = example.wait();
    None
}

/// Runs an example, which must succeed, say each of these lines, and leave nothing behind.
fn shows(name: &str, said: &[&str]) {
    let stage = Stage::new(name);
    let mut example = Command::new(program(name))
        .env("SHAREHOLD_DIR", stage.0.join("run"))
        .stdin(Stdio::null())
        .stdout(stage.output())
        .stderr(stage.output())
        .process_group(0)
        .spawn()
        .expect("it runs");
    let status = wait(&mut example);
    let printed = stage.printed();
    let status = status.unwrap_or_else(|| panic!("{name} takes too long; so far it has said:\n{printed}"));
    assert_eq!(status.code(), Some(0), "{printed}");
    for said in said {
        assert!(printed.contains(said), "'{said}' is missing:\n{printed}");
    }
    eventually("nothing is left behind", || stage.sockets() == 0);
}

#[test]
fn two_proxies_of_a_cached_object_are_one() {
    shows("cached", &["which has 2 proxies.", "The magnifier of factor 3 is another one"]);
}

#[test]
fn methods_give_proxies_of_two_classes_to_two_processes() {
    shows("spawn", &["The first process got a twin", "The second process got a twin"]);
}

#[test]
fn proxies_dropped_by_their_producer_all_work_at_a_slow_consumer() {
    shows("pipe", &["10 lists are on their way.", "The consumer got 10 lists, and all of them work."]);
}

#[test]
fn a_list_in_a_dictionary_is_one_list_and_goes_with_its_entry() {
    shows("nested", &["Without its entry the list is gone: 1 object, the dictionary."]);
}

#[test]
fn an_error_three_calls_deep_names_its_places_and_its_type() {
    shows(
        "errors",
        &[
            "The error is a TooLittle, and it says: 99 are missing.",
            "It came about in Account.withdraw at docs/examples/hosted/errors.rs:",
            "That was called by Till.pay at docs/examples/hosted/errors.rs:",
            "That was called by Shop.buy at docs/examples/hosted/errors.rs:",
        ],
    );
}

#[test]
fn two_dictionaries_that_hold_each_other_are_collected() {
    shows("cycle", &["Collecting freed 2 objects. Now there are 0."]);
}

#[test]
fn a_hundred_thousand_levels_are_freed_and_the_broker_lives() {
    shows("deep", &["Freeing 100000 levels took", "The broker goes on working."]);
}

#[test]
fn a_client_killed_in_a_call_leaves_the_object_free_and_no_proxy() {
    shows("killed", &["The object was free again", "The client's three proxies were given back"]);
}

#[test]
fn a_server_of_ones_own_is_called_and_ended() {
    shows("server", &["Two calls got the numbers 1 and 2, and the server has ended."]);
}

#[test]
fn a_class_made_of_closures_is_called_by_name() {
    shows("by_hand", &["The mean of 3 values is 3.", "it has add(value: f64), mean()"]);
}

#[test]
fn forked_workers_share_what_their_parent_had() {
    shows("prefork", &["The array has", "4 workers have added up the array: 5000050000."]);
}

#[test]
fn two_processes_in_a_row_hand_arrays_over() {
    shows(
        "pipeline",
        &[
            "1000 arrays of 10000 numbers went through another process, and their sum is 4995000000.",
            "2 objects are left: the channels.",
        ],
    );
}
