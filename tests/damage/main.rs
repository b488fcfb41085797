//! Somebody who is attached writes what is not his: words of the header, of tables, of other sessions' rows. Nobody crashes; the broker finds it, says so, and goes on.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

#[path = "../common/mod.rs"]
mod common;

mod cut;
mod flips;
mod random;
mod words;
mod worker;

use sharehold::{Array, Broker, Manager};

use common::{listen, role, say};
use worker::SOON;

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "work" => worker::work(&arguments[0], arguments[1].parse().expect("a seed")),
        "visit" => worker::visit(&arguments[0]),
        "hold" => {
            let manager = Manager::connect(&arguments[0]).expect("connected");
            let first: Array<u64> = manager.lookup("array").expect("found");
            let more: u64 = arguments[1].parse().expect("a number");
            let held: Vec<_> = (1..more).map(|_| first.clone()).chain([first.clone()]).collect();
            drop((first, manager));
            say("holds");
            listen();
            for array in held {
                drop(array.clone());
                _ = array.read_for(SOON).map(|all| all.len());
            }
            say("dropped");
        }
        "serve" => match common::served::serve(&arguments, Broker::builder().capacity(16 << 20).objects(1000)) {
            Ok(()) => say("ended"),
            Err(error) => say(format_args!("{:?}", error.kind())),
        },
        other => panic!("there is no role {other}"),
    }
}
