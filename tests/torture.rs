//! Clients, and the broker, are killed at random while they create, publish, look up, hand over, call and drop, with canaries in every payload. In the end no byte was
//! wrong, nothing is left, and the region is clean.
//!
//! `SHAREHOLD_TORTURE_SECONDS` says for how long; `just torture` runs it for ten minutes. With the feature `planted-bug`, which clears payloads before death is
//! published, the same tests must fail: `just planted`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::sync::mpsc::{self, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::served::Served;
use common::{Actor, eventually, listen, role, say};
use sharehold::{
    Array, Broker, Channel, Datum, Dict, ErrorKind, List, Manager, Proxy, Receiver, Result, Sender, Ticket,
    TicketOptions, Value, Weak, check,
};

const NAMES: u64 = 6;
const WORKERS: usize = 3;
/// Longer than a hand-over takes, short enough for the end to be soon.
const TICKET_LIFE: Duration = Duration::from_secs(2);
/// As long as a broker keeps the references in the replies of its predecessor.
const REPLY_LIFE: Duration = Duration::from_secs(10);

/// A small generator: the same seed gives the same run of one process.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Every element follows from the first and its place.
fn canary(seed: u64, index: usize) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64).rotate_left(17)
}

fn create(manager: &Manager, random: &mut Random) -> Result<Array<u64>> {
    // Some are large enough to be announced when they die.
    // Half of them come from slabs, and go back to them.
    let len = match random.below(20) {
        0 => 200_000,
        1..10 => 1 + random.below(2000) as usize,
        _ => 8,
    };
    let seed = random.below(u64::MAX);
    let array = manager.array_with(len, |place| {
        place.iter_mut().enumerate().for_each(|(index, place)| *place = canary(seed, index));
        place[0] = seed;
        Ok::<(), sharehold::Error>(())
    })?;
    array.seal()?;
    Ok(array)
}

fn verify(array: &Array<u64>) {
    let elements = array.sealed().expect("all arrays here are sealed");
    let seed = elements[0];
    if let Some(wrong) = (1..elements.len()).find(|index| elements[*index] != canary(seed, *index)) {
        say(format!("CANARY {:?} element {wrong} is {:#x}", array, elements[wrong]));
    }
}

/// Takes arrays up again, by their ids alone, while others let go of them: what is got is whole.
fn catch(dropped: &mpsc::Receiver<Weak<Array<u64>>>) {
    for weak in dropped {
        for _ in 0..50 {
            let Some(array) = weak.upgrade() else { break };
            verify(&array);
        }
    }
}

fn work(broker: &str, seed: u64) {
    let manager = Manager::connect_within(broker, common::PATIENCE).expect("connected");
    let mut random = Random(seed | 1);
    let inbox: Arc<Mutex<Vec<String>>> = Arc::default();
    let post = Arc::clone(&inbox);
    std::thread::spawn(move || {
        while let Some(line) = listen() {
            post.lock().expect("whole").push(line);
        }
        std::process::exit(0);
    });
    let (dropping, dropped) = channel();
    std::thread::spawn(move || catch(&dropped));
    let counter: Value<[u64; 8]> = manager.lookup("counter").expect("found");
    let board: Array<u64> = manager.lookup("board").expect("found");
    let belt: Channel<Array<u64>> = manager.lookup("belt").expect("found");
    let belt = (belt.sender().expect("free"), belt.receiver().expect("free"));
    let mut shelf: List = manager.lookup("shelf").expect("found");
    let mut held: Vec<Array<u64>> = Vec::new();
    say("ready");
    loop {
        let stepped = if random.below(3) == 0 {
            call(&manager, &mut random, &shelf, &mut held)
        } else if random.below(3) == 0 {
            convey(&manager, &mut random, &belt, &mut held)
        } else {
            step(&manager, &mut random, &inbox, &counter, &board, &mut held)
        };
        if let Err(error) = stepped {
            match error.kind() {
                // What others do meanwhile: take a name, use up a ticket, die while they write.
                ErrorKind::NameNotFound
                | ErrorKind::NameTaken
                | ErrorKind::TicketSpent
                | ErrorKind::TicketExpired
                | ErrorKind::MethodFailed
                | ErrorKind::ChannelFull
                | ErrorKind::Poisoned => {}
                // The broker was killed. The next one has another shelf.
                ErrorKind::BrokerGone => std::thread::yield_now(),
                ErrorKind::Lost => {
                    if let Ok(another) = manager.lookup("shelf") {
                        shelf = another;
                    }
                }
                _ => say(format!("ERROR {error:?}")),
            }
        }
        held.iter().for_each(verify);
        if held.len() > 12 {
            let array = held.swap_remove(random.below(held.len() as u64) as usize);
            let _ = dropping.send(array.downgrade());
        }
    }
}

fn step(
    manager: &Manager,
    random: &mut Random,
    inbox: &Mutex<Vec<String>>,
    counter: &Value<[u64; 8]>,
    board: &Array<u64>,
    held: &mut Vec<Array<u64>>,
) -> Result<()> {
    let name = format!("array {}", random.below(NAMES));
    match random.below(8) {
        0 => {
            let array = create(manager, random)?;
            manager.publish_over(&name, &array)?;
            held.push(array);
        }
        1 => held.push(manager.lookup(&name)?),
        2 => {
            if let Some(array) = held.last() {
                let options = TicketOptions { uses: 1 + random.below(2) as u32, deadline: Some(TICKET_LIFE) };
                say(format!("TICKET {}", array.ticket_with(options)?));
            }
        }
        3 => {
            let ticket = inbox.lock().expect("whole").pop();
            if let Some(ticket) = ticket {
                held.push(manager.redeem(&ticket.parse::<Ticket>()?)?);
            }
        }
        4 => held.truncate(random.below(13) as usize),
        5 => counter.update(|all| all.iter_mut().for_each(|n| *n += 1))?,
        6 => {
            let seen = counter.get()?;
            if seen.iter().any(|n| *n != seen[0]) {
                say(format!("CANARY torn value {seen:?}"));
            }
            let seen = board.read()?;
            if seen.iter().any(|n| *n != seen[0]) {
                say(format!("CANARY torn array {:?}", &seen[..4]));
            }
        }
        _ => match board.write() {
            Ok(mut board) => board.iter_mut().for_each(|n| *n += 1),
            Err(error) if error.kind() == ErrorKind::Poisoned => {
                // Cleared by whoever comes first, and made whole under the same name of rule: all are equal.
                board.clear_poison()?;
                board.write()?.fill(0);
            }
            Err(error) => return Err(error),
        },
    }
    Ok(())
}

type Ends = (Sender<Array<u64>>, Receiver<Array<u64>>);

/// Puts arrays into a channel that all share, and takes others out.
fn convey(manager: &Manager, random: &mut Random, (sender, receiver): &Ends, held: &mut Vec<Array<u64>>) -> Result<()> {
    match random.below(6) {
        0 => sender.try_send(create(manager, random)?)?,
        1 | 2 => {
            if let Some(array) = held.pop() {
                sender.try_send(array)?;
            }
        }
        // One of its own, which dies with what is in it.
        3 => {
            let channel: Channel<Array<u64>> = manager.channel(2)?;
            channel.sender()?.try_send(create(manager, random)?)?;
        }
        _ => held.extend(receiver.try_recv()?),
    }
    Ok(())
}

/// Works on hosted objects: a list that all share, and cycles that nobody keeps.
fn call(manager: &Manager, random: &mut Random, shelf: &List, held: &mut Vec<Array<u64>>) -> Result<()> {
    match random.below(6) {
        0 => shelf.push(create(manager, random)?)?,
        // An index that is out of range is an error like others.
        1 => held.push(shelf.get(random.below(12) as i64)?.downcast()?),
        2 => {
            for proxy in shelf.slice(0, 8)?.iter().filter_map(Datum::as_proxy) {
                verify(&proxy.downcast()?);
            }
        }
        3 => drop(shelf.remove(0)?),
        4 => {
            let (one, other) = (List::new(manager)?, Dict::new(manager)?);
            one.push(other.clone())?;
            other.set("one", one)?;
            other.set("array", create(manager, random)?)?;
        }
        _ => {
            let large = vec![7_u8; random.below(60_000) as usize];
            let list = List::new(manager)?;
            list.push(large.clone())?;
            if list.get(0)?.as_bytes() != Some(&large[..]) {
                say("CANARY large argument");
            }
            if random.below(4) == 0 {
                manager.collect()?;
            }
        }
    }
    Ok(())
}

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "work" => work(&arguments[0], arguments[1].parse().expect("a seed")),
        "serve" => {
            common::served::serve(&arguments, Broker::builder().capacity(512 << 20)).expect("served");
        }
        other => panic!("there is no role {other}"),
    }
}

fn seconds(usual: u64) -> Duration {
    let asked = std::env::var("SHAREHOLD_TORTURE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(usual))
}

/// Kills one process after another until the time is over, then looks at what is left. Every so many kills it is the broker's turn.
fn torture(backing: &'static str, broker_every: Option<u64>, time: Duration) {
    let until = Instant::now() + time;
    let what = if broker_every.is_some() { "torture-all" } else { "torture" };
    let mut served = Served::start(what, backing);
    let name = served.name.clone();
    let manager = served.manager();
    let counter = manager.value([0_u64; 8]).expect("room");
    let board = manager.array(&[0_u64; 64]).expect("room");
    manager.publish("counter", &counter).expect("published");
    manager.publish("board", &board).expect("published");
    let belt: Channel<Array<u64>> = manager.channel(8).expect("room");
    manager.publish("belt", &belt).expect("published");
    // While these are there nobody is told that all others are gone.
    let ends = (belt.sender().expect("free"), belt.receiver().expect("free"));
    let mut shelf = List::new(&manager).expect("room");
    manager.publish("shelf", &shelf).expect("published");
    let mut random = Random(0x5eed);
    let start = |random: &mut Random| {
        let actor = Actor::start("work", &[&name, &random.below(u64::MAX).to_string()]);
        assert_eq!(actor.hear(), "ready");
        actor
    };
    let mut workers: Vec<Actor> = (0..WORKERS).map(|_| start(&mut random)).collect();
    let (mut kills, mut brokers, mut tickets) = (0, 0, 0);
    while Instant::now() < until {
        // The time of a kill is set by how many messages pass, which is as random as their order.
        for _ in 0..random.below(40) {
            let from = random.below(WORKERS as u64) as usize;
            let heard = workers[from].hear();
            let Some(ticket) = heard.strip_prefix("TICKET ") else {
                panic!("after {kills} kills, {brokers} of the broker: {heard}")
            };
            tickets += 1;
            let to = random.below(WORKERS as u64) as usize;
            workers[to].tell(ticket);
        }
        if broker_every.is_some_and(|every| random.below(every) == 0) {
            served.restart();
            brokers += 1;
            eventually("the session is back", || manager.stats().is_ok());
            shelf = List::new(&manager).expect("room");
            manager.publish_over("shelf", &shelf).expect("published");
        }
        let victim = random.below(WORKERS as u64) as usize;
        let fresh = start(&mut random);
        std::mem::replace(&mut workers[victim], fresh).kill();
        kills += 1;
    }
    workers.into_iter().for_each(Actor::kill);
    eventually("the dead are swept", || manager.stats().expect("stats").sessions == 2);
    // What a dead broker had on the way to a client is given up after a while.
    let soon = Instant::now() + 2 * TICKET_LIFE + if brokers > 0 { REPLY_LIFE } else { Duration::ZERO };
    eventually("their tickets have expired", || {
        let tickets = manager.tickets().expect("tickets");
        assert!(
            tickets.is_empty() || Instant::now() < soon,
            "after {kills} kills: {tickets:?} of {:?}",
            manager.stats()
        );
        tickets.is_empty()
    });
    let report = check(manager.name()).expect("checked");
    assert_eq!(report.findings, Vec::<String>::new());
    let seen = counter.get().expect("read");
    assert!(seen.iter().all(|n| *n == seen[0]), "torn: {seen:?}");
    for name in manager.names().expect("names") {
        manager.unpublish(&name.name).expect("there");
    }
    let shelved = shelf.len().expect("callable");
    for array in ends.1.try_iter() {
        verify(&array.expect("whole"));
    }
    // And once more with something in it.
    ends.0.try_send(create(&manager, &mut random).expect("room")).expect("room");
    drop((counter, board, shelf, belt, ends));
    let collected = manager.collect().expect("collected");
    // What the shelf and the cycles held is given back by another thread of the broker.
    eventually("nothing is left", || manager.number_of_objects().expect("a number") == 0);
    assert_eq!(manager.stats().expect("stats").heap_used, 0, "memory leaked after {kills} kills");
    let changes = seen[0];
    say(format!(
        "{backing}: {kills} kills, {brokers} of the broker, {tickets} tickets, {changes} changes, {shelved} on the shelf, {collected} in cycles: no wrong byte, no leak, clean"
    ));
}

#[test]
fn random_kills_of_clients_leave_no_wrong_byte_no_leak_and_a_clean_region() {
    torture("memfd", None, seconds(5));
}

#[test]
fn random_kills_of_clients_and_brokers_leave_no_wrong_byte_no_leak_and_a_clean_region() {
    torture("memfd", Some(4), seconds(10));
    torture("segment", Some(4), seconds(10));
}
