//! Hosted objects: what goes wrong when methods run in another process, and what a user of Python's managers would fear.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that can't go on fails; generated proxies are as public as their classes"
)]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod classes;
mod creation;
mod errors;
mod inspection;
mod nesting;

use sharehold::{List, Manager, Proxy};

use crate::classes::{MagnifierProxy, SleeperProxy, parse};
use crate::common::{listen, role, say};
/// The entry of every process that a test of this file starts. Without a role it has nothing to do.
#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "scale" => {
            let lens: MagnifierProxy = sharehold::redeem(&parse(&arguments[0])).expect("redeemed");
            say(lens.scale(2.0).expect("called"));
            let twin = lens.twin().expect("a proxy that was passed on returns proxies");
            say(twin.scale(3.0).expect("called"));
            say(lens.who_calls().expect("called").expect("somebody"));
            while listen().is_some() {}
        }
        "produce" => {
            // Each proxy is dropped as soon as its ticket is written.
            let manager = Manager::connect(&arguments[0]).expect("connected");
            for number in 0..10 {
                let list = List::new(&manager).expect("created");
                list.push(number).expect("pushed");
                say(list.ticket().expect("issued"));
            }
        }
        "call_and_wait" => {
            let sleeper: SleeperProxy = sharehold::redeem(&parse(&arguments[0])).expect("redeemed");
            // The first calls of a connection go over the socket.
            (0..4).for_each(|_| assert_eq!(sleeper.changes().expect("called"), 0));
            say("calling");
            sleeper.change_until_cancelled().expect("called");
        }
        other => panic!("there is no role {other}"),
    }
}
