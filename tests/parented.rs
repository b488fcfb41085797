//! A broker that is another command than the program that starts it, as an interpreter is.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use common::{Actor, PATIENCE, eventually, listen, role, say};
use sharehold::{Broker, ClassBuilder, ErrorKind, Manager, Object, Value};

const SERVE: &str = "serve";

/// This test binary again, in a role, by way of a shell: as a command it has no environment of its own.
fn serving() -> [String; 2] {
    let this = std::env::current_exe().expect("a path");
    let role = "SHAREHOLD_TEST_ROLE=serve";
    ["-c".into(), format!("{role} exec '{}' --exact perform_role --nocapture --test-threads=1", this.display())]
}

fn start() -> Manager {
    Manager::builder().command("sh", serving()).capacity(1 << 20).start().expect("started")
}

#[test]
fn perform_role() {
    match role() {
        Some((role, _)) if role == SERVE => {
            let counter = ClassBuilder::<u64>::new("Counter")
                .constructor("start: u64", |(start,): (u64,)| Ok(start))
                .method_mut("next", "", |count, (): ()| {
                    *count += 1;
                    Ok(*count)
                })
                .build();
            Broker::serve_parent([counter]).expect("served");
        }
        Some(_) => {
            let manager = start();
            say(manager.child_pid().expect("a child"));
            listen();
        }
        None => {}
    }
}

#[test]
fn it_has_the_name_the_sizes_and_the_classes_that_were_said() {
    let name = format!("parented-{}", std::process::id());
    let manager = Manager::builder().name(&name).command("sh", serving()).capacity(1 << 20).start().expect("started");
    assert_eq!(manager.name(), name);
    assert_eq!(manager.stats().expect("stats").heap_capacity, 1 << 20);
    let counter: Object = manager.create("Counter", &(41,)).expect("created");
    assert_eq!(counter.call::<u64>("next", &()).expect("called"), 42);
}

#[test]
fn it_is_started_again_by_the_same_command_and_has_what_the_first_one_had() {
    let manager = start();
    let value: Value<u64> = manager.value(7).expect("created");
    let pid = manager.child_pid().expect("a child").to_string();
    std::process::Command::new("kill").args(["-9", &pid]).status().expect("kill runs");
    eventually("the broker is gone", || manager.value(0_u8).is_err());
    manager.restart().expect("restarted");
    assert_ne!(manager.child_pid().expect("a child").to_string(), pid);
    manager.publish("value", &value).expect("published");
    assert_eq!(manager.wait::<Value<u64>>("value", PATIENCE).expect("found").get().expect("read"), 7);
}

#[test]
fn it_ends_with_its_parent_however_that_ends() {
    let parent = Actor::start("hold", &[]);
    let pid = parent.hear();
    parent.kill();
    eventually("the broker ends", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_command_that_does_not_serve_is_an_error_in_time() {
    let error = Manager::builder().command("true", [""; 0]).start().expect_err("it does not serve");
    assert_eq!(error.kind(), ErrorKind::BrokerGone);
    let error = Manager::builder().command("/no/such/program", [""; 0]).start().expect_err("it is not there");
    assert_eq!(error.kind(), ErrorKind::Os);
    // Its own refusal arrives as it is.
    let first = start();
    let error = Manager::builder().name(first.name()).command("sh", serving()).start().expect_err("the name is taken");
    assert_eq!(error.kind(), ErrorKind::BrokerExists);
    assert!(first.value(1_u8).expect("it goes on").get().is_ok_and(|value| value == 1));
}
