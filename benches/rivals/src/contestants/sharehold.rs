//! Ours.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sharehold::{Array, Channel, Manager, Proxy, Receiver, Ticket, TicketOptions, Value};

use crate::common::magnifier::{Magnifier, MagnifierProxy};
use crate::contestant::{Contestant, FACTOR, Prepared, Role, X, check, repeat};
use crate::contestants::floors::name;
use crate::dice::Dice;
use crate::player::{Player, follow, say, together, until};
use crate::stage::Stage;
use crate::workload::{By, Operation, SMALL, Waiting};

/// The part that a second process plays.
pub const ROLE: &str = "sharehold";

pub const CONTESTANT: Contestant = Contestant {
    name: "sharehold",
    role: Role::Ours,
    version: || Ok(concat!("of this commit, ", env!("CARGO_PKG_VERSION")).into()),
    prepare,
    memory: Some(memory),
};

/// What two processes are compared with in the same rounds.
pub const ALONE: Contestant = Contestant {
    name: "sharehold, one process",
    role: Role::Floor,
    version: || Ok("-".into()),
    prepare: |operation, stage| match operation {
        Operation::CreateTogether => prepare(Operation::Create, stage),
        _ => None,
    },
    memory: None,
};

/// The most uses that a ticket can have.
const MANY_USES: u32 = (1 << 24) - 1;
/// What may be alive at the same time only to be sealed.
const MOST_TO_SEAL: usize = 256 << 20;

/// A broker beside this process.
fn start(stage: &Stage) -> Manager {
    stage.beside(|| {
        let builder = Manager::builder().tickets(1 << 18).names(1 << 18).objects(1 << 21);
        builder.class::<Magnifier>().start().expect("a broker")
    })
}

fn clone_and_drop(held: &Value<u64>) {
    let copy = black_box(held).clone();
    black_box(&copy);
}

/// Got once more by its id, as Plasma's clients get what they have sealed.
fn create_and_drop(manager: &Manager) {
    let object = manager.array(black_box(&[7_u8; SMALL])).expect("room");
    object.seal().expect("whole");
    let got = black_box(object.downgrade()).upgrade().expect("alive");
    assert!(black_box(got.sealed().expect("sealed"))[SMALL - 1] == 7);
}

fn small(manager: &Manager) -> Array<u8> {
    let object = manager.array(&[7_u8; SMALL]).expect("room");
    object.seal().expect("whole");
    object
}

fn prepare(operation: Operation, stage: &Stage) -> Option<Prepared> {
    let manager = start(stage);
    match operation {
        Operation::Clone => {
            let held = manager.value(1_u64).expect("room");
            Prepared::each("", move || clone_and_drop(&held))
        }
        Operation::CloneTogether => {
            let held = manager.value(1_u64).expect("room");
            let ticket = held.ticket().expect("a free ticket").to_string();
            let mut other = second(stage, &["clone", &ticket]);
            Prepared::new("", move |times| together(times, &mut other, |times| repeat(times, || clone_and_drop(&held))))
        }
        Operation::Create => Prepared::each("", move || create_and_drop(&manager)),
        Operation::CreateTogether => {
            let mut other = second(stage, &["create", manager.name()]);
            Prepared::new("", move |times| {
                together(times, &mut other, |times| repeat(times, || create_and_drop(&manager)))
            })
        }
        Operation::Get { by: By::Ticket, live } => {
            let tickets: Vec<Ticket> = (0..live)
                .map(|_| {
                    // The ticket holds it, and nobody else.
                    let options = TicketOptions { uses: MANY_USES, deadline: None };
                    small(&manager).ticket_with(options).expect("a free ticket")
                })
                .collect();
            let mut dice = Dice(1);
            Prepared::each("redeem", move || {
                let got: Array<u8> = manager.redeem(&tickets[dice.below(live)]).expect("uses are left");
                assert!(black_box(got.sealed().expect("sealed"))[0] == 7);
            })
        }
        Operation::Get { by: By::Name, live } => {
            let names: Vec<String> = (0..live).map(name).collect();
            names.iter().for_each(|name| manager.publish(name, &small(&manager)).expect("published"));
            let mut dice = Dice(1);
            Prepared::each("lookup", move || {
                let got: Array<u8> = manager.lookup(&names[dice.below(live)]).expect("published");
                assert!(black_box(got.sealed().expect("sealed"))[0] == 7);
            })
        }
        Operation::Seal { bytes } => {
            let most = (MOST_TO_SEAL / bytes).clamp(1, 256) as u64;
            Prepared::new("", move |times| {
                let mut took = Duration::ZERO;
                let mut left = times;
                while left > 0 {
                    let now = left.min(most);
                    took += seal(&manager, bytes, now);
                    left -= now;
                }
                took
            })
        }
        Operation::Call { .. } => {
            let lens = MagnifierProxy::new(&manager, FACTOR).expect("created");
            Prepared::each("", move || check(lens.scale(black_box(X)).expect("called")))
        }
        Operation::Make => {
            Prepared::each("", move || drop(black_box(MagnifierProxy::new(&manager, FACTOR).expect("created"))))
        }
        Operation::HandOver { bytes, waiting } => {
            let ((there, to), (back, from)) = (channel(&manager), channel(&manager));
            let part = if waiting == Waiting::Polling { "hand-polling" } else { "hand" };
            let mut other = second(stage, &[part, &to, &from]);
            let (sender, receiver) = (there.sender().expect("free"), back.receiver().expect("free"));
            // What it holds does not matter: it stays where it is.
            let unwritten = manager.array_with::<u8, sharehold::Error>(bytes, |_| Ok(())).expect("room");
            let mut held = Some(unwritten);
            Prepared::new("channels", move |times| {
                other.begin(times);
                let took = repeat(times, || {
                    sender.send(held.take().expect("it came back")).expect("sent");
                    held = Some(receive(waiting, &receiver));
                });
                assert!(held.as_ref().is_some_and(|object| object.len() == bytes));
                other.finish();
                took
            })
        }
    }
}

/// A channel for one sender and one receiver, and the ticket by which the other process gets it.
fn channel(manager: &Manager) -> (Channel<Array<u8>>, String) {
    let channel = manager.single_channel(4).expect("room");
    let ticket = channel.ticket().expect("a free ticket").to_string();
    (channel, ticket)
}

/// Polling, as one does that has a core for it; else as a channel waits by itself.
fn receive(waiting: Waiting, receiver: &Receiver<Array<u8>>) -> Array<u8> {
    match waiting {
        Waiting::Polling => until(|| receiver.try_recv().expect("received")),
        Waiting::Blocking => receiver.recv().expect("received"),
    }
}

/// Of objects that are made before and dropped afterwards.
fn seal(manager: &Manager, bytes: usize, count: u64) -> Duration {
    // What they hold does not matter.
    let unwritten = || manager.array_with::<u8, sharehold::Error>(bytes, |_| Ok(())).expect("room");
    let objects: Vec<Array<u8>> = (0..count).map(|_| unwritten()).collect();
    // What making them has driven out of the caches is no part of it: one more is sealed, and all are looked at.
    unwritten().seal().expect("whole");
    assert!(objects.iter().all(|object| !black_box(object.is_sealed().expect("ours"))));
    let started = Instant::now();
    for object in &objects {
        black_box(object.seal().expect("whole"));
    }
    started.elapsed()
}

/// Slot, ledger and payload in the region, and what the broker has to know. Proxies are in the memory of who has them, and have 40 bytes each.
fn memory(live: usize, stage: &Stage) -> f64 {
    let manager = start(stage);
    let used = || {
        let stats = manager.stats().expect("the broker answers");
        let status = std::fs::read_to_string(format!("/proc/{}/status", stats.broker_pid)).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says");
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
        stats.resident + (kilobytes << 10)
    };
    let before = used();
    let objects: Vec<Array<u8>> = (0..live).map(|_| small(&manager)).collect();
    assert_eq!(manager.number_of_objects().expect("counted"), objects.len() as u64);
    (used() - before) as f64 / live as f64
}

/// Starts the second process, which is ready when this returns.
fn second(stage: &Stage, part: &[&str]) -> Player {
    let mut other = stage.beside(|| Player::role(&[&[ROLE], part].concat()));
    assert_eq!(other.hear(), "ready");
    other
}

/// Plays the second process.
pub fn perform(role: &[&str]) {
    match role {
        ["clone", ticket] => {
            let ticket: Ticket = ticket.parse().expect("a ticket");
            let held: Value<u64> = sharehold::redeem(&ticket).expect("one use");
            say("ready");
            follow(|times| _ = repeat(times, || clone_and_drop(&held)));
        }
        ["create", broker] => {
            let manager = Manager::connect(broker).expect("it serves");
            say("ready");
            follow(|times| _ = repeat(times, || create_and_drop(&manager)));
        }
        [part @ ("hand" | "hand-polling"), to_us, from_us] => {
            let waiting = if *part == "hand" { Waiting::Blocking } else { Waiting::Polling };
            let redeem = |ticket: &str| -> Channel<Array<u8>> {
                sharehold::redeem(&ticket.parse().expect("a ticket")).expect("one use")
            };
            let receiver = redeem(to_us).receiver().expect("free");
            let sender = redeem(from_us).sender().expect("free");
            say("ready");
            follow(|times| (0..times).for_each(|_| sender.send(receive(waiting, &receiver)).expect("sent")));
        }
        _ => panic!("sharehold has no part {role:?}"),
    }
}
