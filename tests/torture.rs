//! Clients are killed at random while they create, publish, look up, hand over, call and drop, with canaries in every payload. In the end no byte was wrong,
//! nothing is left, and the region is clean.
//!
//! `SHAREHOLD_TORTURE_SECONDS` says for how long; `just torture` runs it for ten minutes.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Actor, eventually, listen, role, say};
use sharehold::{Array, Datum, Dict, ErrorKind, List, Manager, Proxy, Result, Ticket, TicketOptions, Value, check};

const NAMES: u64 = 6;
const WORKERS: usize = 3;
/// Longer than a hand-over takes, short enough for the end to be soon.
const TICKET_LIFE: Duration = Duration::from_secs(2);

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
    let len = if random.below(20) == 0 { 200_000 } else { 1 + random.below(2000) as usize };
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

fn work(broker: &str, seed: u64) {
    let manager = Manager::connect(broker).expect("connected");
    let mut random = Random(seed | 1);
    let inbox: Arc<Mutex<Vec<String>>> = Arc::default();
    let post = Arc::clone(&inbox);
    std::thread::spawn(move || {
        while let Some(line) = listen() {
            post.lock().expect("whole").push(line);
        }
        std::process::exit(0);
    });
    let counter: Value<[u64; 8]> = manager.lookup("counter").expect("found");
    let board: Array<u64> = manager.lookup("board").expect("found");
    let shelf: List = manager.lookup("shelf").expect("found");
    let mut held: Vec<Array<u64>> = Vec::new();
    say("ready");
    loop {
        let stepped = if random.below(3) == 0 {
            call(&manager, &mut random, &shelf, &mut held)
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
                | ErrorKind::Poisoned => {}
                _ => say(format!("ERROR {error:?}")),
            }
        }
        held.iter().for_each(verify);
        if held.len() > 12 {
            held.swap_remove(random.below(held.len() as u64) as usize);
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
    if let Some((role, arguments)) = role() {
        assert_eq!(role, "work");
        work(&arguments[0], arguments[1].parse().expect("a seed"));
    }
}

#[test]
fn random_kills_leave_no_wrong_byte_no_leak_and_a_clean_region() {
    let seconds = std::env::var("SHAREHOLD_TORTURE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let until = Instant::now() + Duration::from_secs(seconds);
    let manager = Manager::builder().capacity(512 << 20).start().expect("started");
    let counter = manager.value([0_u64; 8]).expect("room");
    let board = manager.array(&[0_u64; 64]).expect("room");
    manager.publish("counter", &counter).expect("published");
    manager.publish("board", &board).expect("published");
    let shelf = List::new(&manager).expect("room");
    manager.publish("shelf", &shelf).expect("published");
    let mut random = Random(0x5eed);
    let start = |random: &mut Random| {
        let actor = Actor::start("work", &[manager.name(), &random.below(u64::MAX).to_string()]);
        assert_eq!(actor.hear(), "ready");
        actor
    };
    let mut workers: Vec<Actor> = (0..WORKERS).map(|_| start(&mut random)).collect();
    let (mut kills, mut tickets) = (0, 0);
    while Instant::now() < until {
        // The time of a kill is set by how many messages pass, which is as random as their order.
        for _ in 0..random.below(40) {
            let from = random.below(WORKERS as u64) as usize;
            let heard = workers[from].hear();
            let Some(ticket) = heard.strip_prefix("TICKET ") else { panic!("after {kills} kills: {heard}") };
            tickets += 1;
            let to = random.below(WORKERS as u64) as usize;
            workers[to].tell(ticket);
        }
        let victim = random.below(WORKERS as u64) as usize;
        let fresh = start(&mut random);
        std::mem::replace(&mut workers[victim], fresh).kill();
        kills += 1;
    }
    workers.into_iter().for_each(Actor::kill);
    eventually("the dead are swept", || manager.stats().expect("stats").sessions == 2);
    let soon = Instant::now() + 2 * TICKET_LIFE;
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
    drop((counter, board, shelf));
    let collected = manager.collect().expect("collected");
    // What the shelf and the cycles held is given back by another thread of the broker.
    eventually("nothing is left", || manager.number_of_objects().expect("a number") == 0);
    assert_eq!(manager.stats().expect("stats").heap_used, 0, "memory leaked after {kills} kills");
    let changes = seen[0];
    say(format!(
        "{kills} kills, {tickets} tickets, {changes} changes, {shelved} on the shelf, {collected} in cycles: no wrong byte, no leak, clean"
    ));
}
