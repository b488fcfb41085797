//! Somebody who is attached writes what is not his: words of the header, of tables, of other sessions' rows. Nobody crashes; the broker finds it, says so, and goes on.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::served::Served;
use common::{Actor, eventually, listen, role, say};
use sharehold::{
    Archive, Array, Backing, Broker, CallScope, Channel, ErrorKind, List, Manager, Proxy, Receiver, Sender, Ticket,
    Value, Weak, check,
};

const PAGE: u64 = 4096;
/// Time that any wait of a worker may take: locks may be damaged so that nobody lets go of them.
const SOON: Duration = Duration::from_millis(20);

/// The file of a region, by which its words can be changed from outside, and where its tables lie.
struct Region {
    file: File,
    types: u64,
    sessions: u64,
    names: u64,
    tickets: u64,
    slots: u64,
    ledger: u64,
    row: u64,
    row_map: u64,
    heap: u64,
}

impl Region {
    /// The region of a broker to which this process is attached.
    fn of(name: &str) -> Self {
        let path = std::fs::read_dir("/proc/self/fd")
            .expect("descriptors")
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                std::fs::read_link(path).is_ok_and(|to| {
                    let to = to.to_string_lossy().into_owned();
                    to.contains(&format!("sharehold:{name}")) || to.ends_with(&format!("-{name}"))
                })
            })
            .expect("the region is open");
        let file = OpenOptions::new().read(true).write(true).open(path).expect("opened again");
        let number = |at: u64| u64::from(read_u32(&file, at));
        let pages = |bytes: u64| bytes.next_multiple_of(PAGE);
        let (objects, count) = (number(80), number(76));
        let types = PAGE;
        let sessions = types + pages(number(92) * 128);
        let names = sessions + pages(count * 256);
        let tickets = names + pages(number(88) * 256);
        let slots = tickets + pages(number(84) * 64);
        let ledger = slots + pages(objects * 64);
        let row_map = pages((pages(objects * 8) / PAGE).div_ceil(8));
        let row = row_map + pages(objects * 8);
        Self { types, sessions, names, tickets, slots, ledger, row, row_map, heap: ledger + row * count, file }
    }

    fn flip(&self, at: u64, bit: u32) {
        let word = read_u32(&self.file, at / 4 * 4) ^ 1 << bit;
        self.write(at / 4 * 4, word);
    }

    fn write(&self, at: u64, word: u32) {
        self.file.write_all_at(&word.to_le_bytes(), at).expect("written");
    }

    fn read(&self, at: u64) -> u32 {
        read_u32(&self.file, at)
    }

    fn slot(&self, id: sharehold::ObjectId) -> u64 {
        self.slots + (id.to_bits() & 0xffff_ffff) * 64
    }
}

fn read_u32(file: &File, at: u64) -> u32 {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at).expect("read");
    u32::from_le_bytes(bytes)
}

/// xorshift64*: a run can be repeated by its seed.
#[derive(Default)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % limit
    }
}

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "work" => work(&arguments[0], arguments[1].parse().expect("a seed")),
        "visit" => visit(&arguments[0]),
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

/// Works with whatever there is, whatever comes of it: only a crash or a hang is wrong.
fn work(name: &str, seed: u64) {
    let mut worker = Worker { random: Random(seed), ..Worker::default() };
    say("ready");
    let mut done = 0_u64;
    let until = std::thread::spawn(|| while listen().is_some() {});
    'again: while !until.is_finished() {
        let Ok(manager) = Manager::connect(name) else { continue };
        loop {
            if until.is_finished() {
                break 'again;
            }
            done += 1;
            if worker.step(&manager).is_err_and(|error| error.kind() == ErrorKind::BrokerGone) {
                // The session was ended. What is held goes on being used.
                continue 'again;
            }
        }
    }
    say(done);
}

/// Comes, looks at all that can be seen, and goes.
fn visit(name: &str) {
    let manager = match Manager::connect(name) {
        Ok(manager) => manager,
        Err(error) => return say(error),
    };
    let objects = manager.debug_info().map_or(0, |objects| objects.len());
    let names = manager.names().expect("ours");
    for found in &names {
        let _ = manager.lookup::<Array<u64>>(&found.name).and_then(|array| array.read_for(SOON).map(|all| all.len()));
    }
    say(format_args!("{objects} objects, {} names, {} tickets", names.len(), manager.tickets().expect("ours").len()));
}

type BothEnds = (Sender<Array<u64>>, Receiver<Array<u64>>);

#[derive(Default)]
struct Worker {
    random: Random,
    arrays: Vec<Array<u64>>,
    values: Vec<Value<[u64; 4]>>,
    archives: Vec<Archive<Vec<u64>>>,
    lists: Vec<List>,
    weak: Vec<Weak<Array<u64>>>,
    /// Both ends of channels.
    ends: Vec<BothEnds>,
}

/// One of those that there are.
fn any<'a, T>(random: &mut Random, of: &'a [T]) -> sharehold::Result<&'a T> {
    let place = random.below(of.len().max(1) as u64) as usize;
    of.get(place).ok_or_else(|| "nothing".parse::<sharehold::ObjectId>().expect_err("it is none"))
}

impl Worker {
    fn step(&mut self, manager: &Manager) -> sharehold::Result<()> {
        let Self { random, arrays, values, archives, lists, weak, ends } = self;
        let name = format!("name {}", random.below(20));
        match random.below(26) {
            0 => arrays.push(manager.array(&vec![7; 1 << random.below(14)])?),
            1 => values.push(manager.value([1; 4])?),
            2 => manager.publish_over(&name, any(random, arrays)?)?,
            3 => arrays.push(manager.lookup(&name)?),
            4 => {
                let ticket = any(random, arrays)?.ticket()?;
                arrays.push(manager.redeem(&ticket.to_string().parse::<Ticket>()?)?);
            }
            5 => arrays.truncate(random.below(40) as usize),
            6 => values.truncate(random.below(40) as usize),
            // Their sum may be anything.
            7 => {
                let array = any(random, arrays)?.read_for(SOON)?;
                _ = array.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n));
            }
            8 => any(random, arrays)?.write_for(SOON)?.fill(9),
            9 => any(random, values)?.update_for(SOON, |all| all[0] = all[0].wrapping_add(1))?,
            10 => _ = any(random, values)?.get()?,
            11 => {
                let array = any(random, arrays)?.clone();
                weak.push(array.downgrade());
                arrays.push(array);
            }
            12 => arrays.extend(any(random, weak)?.upgrade()),
            13 => weak.truncate(random.below(40) as usize),
            14 => _ = any(random, arrays)?.sealed()?.len(),
            15 => archives.push(manager.archive(&vec![3; 1 << random.below(12)])?),
            // Not read in place: who changes what is sealed lies to its readers.
            16 => _ = any(random, archives)?.get().map(drop),
            17 => archives.truncate(random.below(20) as usize),
            18 => lists.push(List::new(manager)?),
            19 => {
                let list = any(random, lists)?;
                CallScope::new().timeout(SOON).run(|| {
                    list.push(any(random, arrays)?.clone())?;
                    list.push(vec![1_u8; 1 << random.below(16)])?;
                    list.get(0).map(drop)
                })?;
            }
            20 => lists.truncate(random.below(10) as usize),
            21 => {
                let channel = manager.channel(1 << random.below(4))?;
                ends.push((channel.sender()?, channel.receiver()?));
            }
            22 => {
                let (array, (sender, _)) = (any(random, arrays)?.clone(), any(random, ends)?);
                sender.send_timeout(array, SOON)?;
            }
            23 => arrays.push(any(random, ends)?.1.recv_timeout(SOON)?),
            24 => ends.truncate(random.below(20) as usize),
            _ => {
                manager.debug_info()?;
                manager.names()?;
                manager.tickets()?;
                manager.collect()?;
            }
        }
        Ok(())
    }
}

/// Whether a child of this process is there and has not ended.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

/// Flips bits anywhere while others work, also in other processes. More rounds by hand: `SHAREHOLD_FLIPS=1000000 SHAREHOLD_SEED=7 cargo test --test damage`.
///
/// What nobody damages goes on: arrays whose slots, bytes and holder are left alone are as they were.
#[test]
fn bits_that_flip_anywhere_crash_nobody_and_the_broker_says_what_it_has_found() {
    const FLIPPED_SLOTS: u64 = 300;
    let rounds = std::env::var("SHAREHOLD_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000_u64);
    let seed = std::env::var("SHAREHOLD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed);
    let mut random = Random(seed);
    let manager =
        Manager::builder().capacity(64 << 20).objects(20_000).names(64).tickets(2048).start().expect("started");
    let broker = manager.child_pid().expect("a child");
    let region = Region::of(manager.name());
    // These come after the slots that are damaged; their bytes, of more than a page, lie at the far end of the heap.
    let first: Vec<_> = (0..FLIPPED_SLOTS).map(|n| manager.value(n).expect("room")).collect();
    let canaries: Vec<Array<u64>> = (0..100_u64).map(|n| manager.array(&[n; 700]).expect("room")).collect();
    assert!(
        canaries.iter().all(|canary| canary.seal().is_ok() && canary.id().to_bits() & 0xffff_ffff >= FLIPPED_SLOTS)
    );
    drop(first);
    let workers: Vec<Actor> =
        (1..=2).map(|n| Actor::start("work", &[manager.name(), &(seed + n).to_string()])).collect();
    for worker in &workers {
        assert_eq!(worker.hear(), "ready");
    }
    let mut here = Worker { random: Random(seed + 3), ..Worker::default() };
    let mut findings = 0;
    for round in 0..rounds {
        let (start, len) = match random.below(9) {
            0 => (0, 512),
            1 => (region.types, 1024),
            2 => (region.sessions, 2048),
            3 => (region.names, 64 * 256),
            4 => (region.tickets, 16 * 64),
            5 | 6 => (region.slots, FLIPPED_SLOTS * 64),
            // Rows: their page maps and the cells of the first slots, of the broker and of the workers.
            7 => {
                let session = [0, 2, 3, 4][random.below(4) as usize];
                let row = region.ledger + session * region.row;
                if random.below(4) == 0 { (row, 64) } else { (row + region.row_map, FLIPPED_SLOTS * 8) }
            }
            _ => (region.heap, 1 << 20),
        };
        let at = start + random.below(len);
        // Without the lanes of this very process, and without the number of slots that are used, with which it would believe in more than there are: a session that makes no
        // sense is ended.
        if !(region.sessions + 256 + 64..region.sessions + 256 + 128).contains(&at) && at / 4 != 26 {
            region.flip(at, random.below(32) as u32);
        }
        if round % 4 == 3 {
            let _ = here.step(&manager);
        }
        if round % 100 == 99 {
            // Whatever comes of it, it comes in time.
            let _ = manager.stats();
            let _ = manager.value(round);
            let _ = manager.audit();
        }
        if round % 1000 == 999 {
            findings += check(manager.name()).map_or(1, |report| report.findings.len());
        }
        if round % 5000 == 4999 {
            let visitor = Actor::start("visit", &[manager.name()]);
            println!("a visitor in round {round}: {}", visitor.hear());
            visitor.end();
        }
        assert!(is_running(broker), "the broker has ended in round {round}");
    }
    let done: u64 = workers
        .into_iter()
        .map(|mut worker| {
            worker.close_input();
            let done: u64 = worker.hear().parse().expect("a number");
            worker.end();
            done
        })
        .sum();
    let report = check(manager.name()).expect("checked");
    assert!(report.broker_alive && report.broker_pid == broker);
    assert!(!report.findings.iter().any(|finding| finding.starts_with("session 1 is")), "{:?}", report.findings);
    println!(
        "{rounds} flips, {done} steps beside them, {findings} findings on the way, {} in the end",
        report.findings.len()
    );
    assert!(findings > 0, "nobody has noticed anything");
    assert!(manager.stats().expect("stats").damaged > 0, "no slot was taken out of use");
    for (n, canary) in (0..).zip(&canaries) {
        assert_eq!(canary.sealed().expect("sealed"), [n; 700]);
        let info = manager.object_info(canary.id()).expect("alive");
        assert_eq!((info.proxies(), info.bytes), (1, 5600), "{info:?}");
    }
    // A newcomer is served: what it needs was mended, or was taken out of its way.
    let visitor = Actor::start("visit", &[manager.name()]);
    assert!(visitor.hear().contains(" objects, "));
    visitor.end();
}

/// A broker that takes over what was damaged before knows nothing but the region.
#[test]
fn a_damaged_region_is_taken_over_or_refused_and_its_broker_serves() {
    let rounds = std::env::var("SHAREHOLD_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000_u64);
    let seed = std::env::var("SHAREHOLD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed);
    let mut random = Random(seed);
    let mut taken_over = 0;
    for round in 0..rounds / 1000 {
        let mut served = Served::start(&format!("damaged-{round}"), ["memfd", "segment"][round as usize % 2]);
        let manager = served.manager();
        let region = Region::of(&served.name);
        let mut here = Worker { random: Random(seed + round), ..Worker::default() };
        for _ in 0..300 {
            let _ = here.step(&manager);
        }
        let kept = manager.array(&[round; 8]).expect("room");
        kept.seal().expect("sealed");
        served.kill();
        // At times only what the next broker builds its books from, at times also what it is recognised by.
        let header = if round % 4 == 3 { 0 } else { region.types };
        for _ in 0..1 << (round % 10) {
            let (start, len) = match random.below(6) {
                0 => (header, 512),
                1 => (region.sessions, 768),
                2 => (region.names, 64 * 256),
                3 => (region.tickets, 32 * 64),
                4 => (region.slots, 100 * 64),
                _ => {
                    (region.ledger + random.below(2) * region.row + [0, region.row_map][random.below(2) as usize], 800)
                }
            };
            region.flip(start + random.below(len), random.below(32) as u32);
        }
        served.again();
        // This process's session may make no sense, and be ended: then there is another.
        let until = std::time::Instant::now() + common::PATIENCE;
        let other = loop {
            let served = check(&served.name).and_then(|_| Manager::connect(&served.name)).and_then(|other| {
                assert_eq!(other.value(round)?.get()?, round);
                Ok(other)
            });
            match served {
                Ok(other) => break other,
                Err(error) => assert!(std::time::Instant::now() < until, "in round {round}: {error}"),
            }
        };
        taken_over += u64::from(other.object_info(kept.id()).is_ok_and(|info| info.sealed && info.bytes == 64));
        for _ in 0..300 {
            let _ = here.step(&other);
        }
        drop((here, kept, manager));
        assert!(served.is_alive(), "the broker has ended in round {round}");
    }
    println!("{taken_over} of {} were taken over", rounds / 1000);
    assert!(taken_over > 0);
}

/// The lock of a dead broker seemed to be a living client's, and no broker could start.
#[test]
fn a_damaged_structure_lock_keeps_no_broker_from_starting() {
    let mut served = Served::start("structure", "segment");
    let manager = served.manager();
    let value = manager.value(7_u64).expect("room");
    let region = Region::of(&served.name);
    // Session 1, of generation 1; and the next broker itself.
    for (word, generation) in [(2 | 1 << 13, None), (1 | 1 << 13, Some(0))] {
        served.kill();
        region.write(72, word);
        if let Some(generation) = generation {
            region.write(region.sessions + 4, generation);
        }
        served.again();
        eventually("it is taken over", || manager.stats().is_ok());
    }
    assert_eq!(manager.object_info(value.id()).expect("alive").proxies(), 1);
}

#[test]
fn a_slot_of_a_slab_that_was_written_by_somebody_else_is_not_created_from() {
    let manager = Manager::builder().objects(1000).capacity(1 << 20).start().expect("started");
    let region = Region::of(manager.name());
    let create = || manager.array(&[2_u64; 8]).expect("room");
    // From now on there are slabs.
    drop((0..50).map(|_| create()).collect::<Vec<_>>());
    // Generation, kind, owner, offset, length, type and digest, of slots that are ready for the next object.
    for (field, bit) in [(16, 1), (20, 1), (20, 17), (24, 1), (32, 1), (40, 1), (60, 1)] {
        let id = create().id();
        let again = create().id();
        assert_eq!(id.to_bits() as u32, again.to_bits() as u32, "what dies comes back first");
        region.flip(region.slot(id) + field, bit);
        let (one, other) = (create(), create());
        for array in [&one, &other] {
            assert_ne!(array.id().to_bits() as u32, id.to_bits() as u32, "bit {bit} of the word at {field}");
            assert_eq!(*array.read().expect("readable"), [2; 8]);
        }
    }
    manager.audit().expect("audited");
    assert_eq!(manager.stats().expect("stats").damaged, 7);
    // The stack of what comes back, of the one session that there is beside the broker's.
    region.flip(region.sessions + 256 + 128, 1);
    region.flip(region.sessions + 256 + 132, 1);
    let held: Vec<_> = (0..900).map(|_| create()).collect();
    assert_eq!(held.iter().map(Proxy::id).collect::<std::collections::HashSet<_>>().len(), 900);
    drop(held);
    assert_eq!(manager.number_of_objects().expect("count"), 0);
}

#[test]
fn a_slot_that_was_written_by_somebody_else_is_never_granted_again() {
    let manager = Manager::builder().objects(64).capacity(1 << 20).start().expect("started");
    let region = Region::of(manager.name());
    // Offset, length, kind, type and generation, of an object that is held, and of slots that are free.
    let held = manager.array(&[1_u64; 8]).expect("room");
    region.flip(region.slot(held.id()) + 24, 9);
    let mut damaged = vec![held.id()];
    for field in [16, 20, 24, 32, 40, 0] {
        // Each of its own length, so that none is of a slab.
        let elements = vec![2_u64; 8 + field as usize];
        let array = manager.array(&elements).expect("room");
        let id = array.id();
        drop(array);
        manager.audit().expect("audited");
        region.flip(region.slot(id) + field, 1);
        // The next object would have its slot.
        let other = manager.array(&elements).expect("room");
        assert_ne!(
            other.id().to_bits() as u32,
            id.to_bits() as u32,
            "the slot with another word at {field} was granted"
        );
        damaged.push(id);
        drop(other);
    }
    manager.audit().expect("audited");
    assert_eq!(manager.stats().expect("stats").damaged as usize, damaged.len());
    let findings = check(manager.name()).expect("checked").findings;
    for id in &damaged {
        let slot = format!("slot {}: ", id.to_bits() as u32);
        assert!(findings.iter().any(|finding| finding.starts_with(&slot)), "{slot} is not in {findings:?}");
    }
    // Who asks for it now is told; who has it still can let go of it.
    let ticket = held.ticket().expect("issued");
    assert_eq!(manager.redeem::<Array<u64>>(&ticket).expect_err("damaged").kind(), ErrorKind::Damaged);
    drop(held);
    let rest: Vec<_> = (0..64 - damaged.len()).map(|n| manager.value(n as u64).expect("room")).collect();
    assert_eq!(manager.value(0_u64).expect_err("the rest is out of use").kind(), ErrorKind::TableFull);
    let slots: std::collections::HashSet<u32> = rest.iter().map(|value| value.id().to_bits() as u32).collect();
    assert!(damaged.iter().all(|id| !slots.contains(&(id.to_bits() as u32))));
}

/// Lets a thread know that the test is over, also if it has failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A length that was changed between grant and first write made the creator copy a slice to one of another length: a panic.
#[test]
fn a_creator_writes_what_it_was_granted_whatever_the_slot_says() {
    let manager = Manager::builder().objects(2000).capacity(16 << 20).start().expect("started");
    let region = Region::of(manager.name());
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The slot that was granted last, or is about to be.
            while !ends.load(Ordering::Relaxed) {
                let last = region.slots + u64::from(region.read(104).saturating_sub(1)) * 64;
                region.flip(last + 32, 17);
                region.flip(last + 24, 3);
            }
        });
        let _ends = Ends(&ends);
        for n in 0..1500 {
            match manager.array(&[n; 600]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                Err(error) => panic!("{n}: {error}"),
            }
        }
    });
}

/// The count of a process that has no manager any more was damaged so that it came to zero too early: the session ended, and the next proxy was dropped in memory that was not
/// mapped any more.
#[test]
fn a_count_that_was_damaged_does_not_end_a_session_that_has_more_proxies() {
    let manager = Manager::builder().objects(1000).capacity(1 << 20).start().expect("started");
    let region = Region::of(manager.name());
    // Two proxies become one; three become two; one becomes none; and the other count.
    for (proxies, bit) in [(3_u64, 1_u32), (3, 0), (1, 0), (2, 48)] {
        let array = manager.array(&[5_u64; 8]).expect("room");
        manager.publish_over("array", &array).expect("published");
        let mut other = Actor::start("hold", &[manager.name(), &proxies.to_string()]);
        assert_eq!(other.hear(), "holds");
        let info = manager.object_info(array.id()).expect("alive");
        assert_eq!(
            info.holders.iter().find(|holder| holder.pid == other.pid()).expect("holds").proxies as u64,
            proxies
        );
        let slot = array.id().to_bits() & 0xffff_ffff;
        let session = (2..10).find(|n| region.read(region.sessions + n * 256 + 8) == other.pid()).expect("attached");
        let cell = region.ledger + session * region.row + region.row_map + slot * 8;
        region.flip(cell + u64::from(bit / 32 * 4), bit % 32);
        let findings = check(manager.name()).expect("checked").findings;
        assert!(findings.iter().any(|finding| finding.contains("the count of session")), "{findings:?}");
        other.tell("drop");
        assert_eq!(other.hear(), "dropped");
        other.end();
        eventually("what it held is given back", || {
            manager
                .object_info(array.id())
                .expect("alive")
                .holders
                .iter()
                .all(|holder| holder.pid == std::process::id())
        });
    }
}

/// The broker had taken all counts of a session whose process lived: with the next clone and its drop the count came to zero, and the mapping was given up under the proxies that were left.
#[test]
fn a_process_whose_session_was_ended_can_go_on_with_what_it_holds() {
    let manager = Manager::builder().objects(1000).capacity(1 << 20).start().expect("started");
    let region = Region::of(manager.name());
    let array = manager.array(&[5_u64; 8]).expect("room");
    manager.publish("array", &array).expect("published");
    let mut other = Actor::start("hold", &[manager.name(), "5"]);
    assert_eq!(other.hear(), "holds");
    let session = (2..10).find(|n| region.read(region.sessions + n * 256 + 8) == other.pid()).expect("attached");
    eventually("its lane is seen", || {
        region.write(region.sessions + session * 256 + 64, 900);
        let findings = check(manager.name()).expect("checked").findings;
        findings.iter().any(|finding| finding.contains(&format!("session {session} is ended")))
    });
    assert_eq!(manager.object_info(array.id()).expect("alive").holders.len(), 1);
    other.tell("drop");
    assert_eq!(other.hear(), "dropped");
    other.end();
}

#[test]
fn words_that_only_the_broker_writes_are_mended() {
    let manager = Manager::builder().objects(64).capacity(1 << 20).start().expect("started");
    let region = Region::of(manager.name());
    let value = manager.value(5_u64).expect("room");
    let ticket = value.ticket().expect("issued");
    // Magic, fingerprint, region id, the tickets' key, sizes, used slots, used types; a type's name; a session's state and process.
    let words = [
        0,
        8,
        24,
        32,
        76,
        80,
        96,
        104,
        112,
        region.types,
        region.types + 24,
        region.sessions + 256,
        region.sessions + 264,
    ];
    let before: Vec<u32> = words.iter().map(|at| region.read(*at)).collect();
    for at in words {
        region.flip(at, 3);
    }
    let findings = check(manager.name()).expect("checked").findings;
    assert!(findings.iter().any(|finding| finding.contains("header")), "{findings:?}");
    assert!(findings.iter().any(|finding| finding.contains("session 1")), "{findings:?}");
    assert_eq!(words.iter().map(|at| region.read(*at)).collect::<Vec<_>>(), before);
    assert_eq!(manager.redeem::<Value<u64>>(&ticket).expect("redeemed").get().expect("read"), 5);
}

#[test]
fn a_broken_stack_of_returned_slots_loses_nothing() {
    let manager = Manager::builder().objects(1000).capacity(1 << 20).start().expect("started");
    let region = Region::of(manager.name());
    for garbage in [u32::MAX, 999, 3] {
        let many: Vec<_> = (0..200_u64).map(|n| manager.value(n).expect("room")).collect();
        let kept: Vec<_> = many.iter().step_by(10).cloned().collect();
        drop(many);
        // The head of the stack leads somewhere else: nobody knows any more what was on it.
        region.write(116, garbage);
        let until = std::time::Instant::now() + common::PATIENCE;
        while manager.audit().and_then(|_| manager.stats()).expect("stats").heap_used != kept.len() as u64 * 64 {
            assert!(
                std::time::Instant::now() < until,
                "{garbage}: what was on the stack is lost: {:?}",
                manager.stats()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(kept.iter().zip((0..200).step_by(10)).all(|(value, n)| value.get().expect("read") == n));
    }
}

#[test]
fn a_session_that_makes_no_sense_is_ended_and_its_number_waits_for_its_process() {
    let manager = Manager::builder().objects(1000).capacity(1 << 20).start().expect("started");
    let region = Region::of(manager.name());
    let mut other = Actor::start("work", &[manager.name(), "7"]);
    assert_eq!(other.hear(), "ready");
    eventually("it is attached", || manager.stats().expect("stats").sessions == 3);
    // Session 2: a lane that names a slot that was never granted.
    eventually("the lane is seen", || {
        region.write(region.sessions + 2 * 256 + 64, 900);
        let findings = check(manager.name()).expect("checked").findings;
        findings.iter().any(|finding| finding.contains("session 2 is ended"))
    });
    // It notices, and attaches again under another number.
    eventually("it is attached again", || region.read(region.sessions + 3 * 256) == 1);
    assert_eq!(region.read(region.sessions + 2 * 256), 2, "the number is not free while the process lives");
    other.close_input();
    other.hear();
    other.end();
    eventually("both numbers are free", || {
        region.read(region.sessions + 2 * 256) == 0 && region.read(region.sessions + 3 * 256) == 0
    });
}

#[test]
fn a_segment_that_was_cut_off_is_found_before_it_is_touched() {
    let name = format!("cut-{}", std::process::id());
    let running = Broker::builder()
        .name(&name)
        .capacity(1 << 20)
        .objects(100)
        .backing(Backing::Segment)
        .spawn()
        .expect("started");
    let manager = Manager::connect(&name).expect("connected");
    let _value = manager.value(1_u8).expect("room");
    // A copy under another name, as a broker that was killed leaves it, but shorter.
    let uid = std::fs::metadata("/proc/self").map(|me| std::os::unix::fs::MetadataExt::uid(&me)).expect("me");
    let left = format!("{name}-left");
    let (from, to) = (format!("/dev/shm/sharehold-{uid}-{name}"), format!("/dev/shm/sharehold-{uid}-{left}"));
    struct Remove(String);
    impl Drop for Remove {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
    let _remove = Remove(to.clone());
    std::fs::copy(&from, &to).expect("copied");
    assert!(check(&left).is_ok());
    let whole = std::fs::metadata(&to).expect("there").len();
    for len in [whole - 1, whole / 2, PAGE + 1, PAGE, 1, 0] {
        OpenOptions::new().write(true).open(&to).expect("open").set_len(len).expect("cut");
        let error = check(&left).expect_err("cut off");
        assert_eq!(error.kind(), ErrorKind::Damaged, "{len}: {error}");
    }
    running.stop().expect("in order");
}

/// Cuts the file of a region off while its broker sleeps, which touches nothing then. It has its length again in the end, also if the test fails: the proxies that are dropped
/// after it touch it.
struct Cut<'a>(&'a File, u64);

impl<'a> Cut<'a> {
    fn off(region: &'a Region, broker: u32, len: u64) -> Self {
        let whole = region.file.metadata().expect("there").len();
        let is_asleep = || {
            let threads = std::fs::read_dir(format!("/proc/{broker}/task")).expect("it lives").flatten();
            let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
            stats.filter_map(|stat| Some(stat.rsplit_once(") ")?.1.starts_with('S'))).all(|sleeps| sleeps)
        };
        eventually("it sleeps", || is_asleep() && is_asleep());
        region.file.set_len(len).expect("cut");
        Self(&region.file, whole)
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if self.0.metadata().is_ok_and(|now| now.len() < self.1) {
            let _ = self.0.set_len(self.1);
        }
    }
}

/// Whoever may write a segment may cut it off at any time, which no seal prevents.
#[test]
fn a_segment_that_is_cut_off_under_its_broker_loses_what_lay_behind_the_cut_and_nothing_else() {
    let served = Served::start("shrunk", "segment");
    let manager = served.manager();
    let region = Region::of(&served.name);
    // Small objects lie at the start of the heap, large ones at its end.
    let small = manager.array(&[1_u64; 8]).expect("room");
    let large = manager.array(&[2_u64; 1000]).expect("room");
    manager.publish("small", &small).expect("published");
    manager.publish("large", &large).expect("published");
    let broker = manager.stats().expect("stats").broker_pid;
    let _cut = Cut::off(&region, broker, region.heap + (1 << 20));
    // The broker gives it its length again before it does anything else.
    let findings = check(&served.name).expect("checked").findings;
    assert!(
        findings.iter().any(|finding| finding.contains("was cut off") && finding.contains("1 objects")),
        "{findings:?}"
    );
    assert_eq!(manager.lookup::<Array<u64>>("large").expect_err("lost").kind(), ErrorKind::Damaged);
    assert_eq!(*manager.lookup::<Array<u64>>("small").expect("found").read().expect("read"), [1; 8]);
    // Zeros, and no SIGBUS.
    assert_eq!(*large.read().expect("read"), [0; 1000]);
    for n in 0..100 {
        let array = manager.array(&[n; 10_000]).expect("room");
        assert_eq!(array.read().expect("read")[9999], n);
    }
    assert_eq!(manager.stats().expect("stats").broker_pid, broker);
    assert_eq!(manager.stats().expect("stats").damaged, 1);
}

#[test]
fn a_broker_whose_tables_were_cut_off_says_so_and_ends_in_order() {
    for len in [PAGE, 1, 0] {
        let mut served = Served::start("lost", "segment");
        let (manager, region) = (served.manager(), Region::of(&served.name));
        let value = manager.value(1_u8).expect("room");
        let broker = manager.stats().expect("stats").broker_pid;
        let cut = Cut::off(&region, broker, len);
        assert_eq!(manager.value(2_u8).expect_err("lost").kind(), ErrorKind::BrokerGone, "{len}");
        let broker = served.take();
        assert_eq!(broker.hear(), "Damaged");
        broker.end();
        // What the file has again is zero.
        drop((cut, value, manager));
        served.serve("segment");
        assert_eq!(served.manager().number_of_objects().expect("ours"), 0);
    }
}

/// Flips each kind of bit of a channel, in the middle of its work. Who uses it gets an error or what was sent; what is held elsewhere is never freed, and what the channel held is freed in the end.
#[test]
fn bits_that_flip_in_a_channel_crash_nobody_and_free_nothing_that_is_held() {
    const HEAD: u64 = 1408;
    let manager = Manager::start().expect("started");
    let region = Region::of(manager.name());
    let kept = manager.array(&[5_u64; 100]).expect("room");
    let mut random = Random(0x5eed);
    // The words at the start, head and tail, the first seats, and all entries: bit by bit. Then anywhere.
    let words = [0, 4, 8, 12, 128, 132, 256, 260, 384, 388, 896, 900].into_iter().chain(HEAD..HEAD + 16);
    let chosen: Vec<(u64, u32)> =
        words.filter(|at| at % 4 == 0).flat_map(|at| (0..32).map(move |bit| (at, bit))).collect();
    let anywhere = (0..200).map(|_| (random.below(HEAD + 16), random.below(32) as u32));
    let mut noticed = 0;
    for (at, bit) in chosen.into_iter().chain(anywhere.collect::<Vec<_>>()) {
        let channel: Channel<Array<u64>> = manager.channel(2).expect("room");
        let (sender, receiver) = (channel.sender().expect("free"), channel.receiver().expect("free"));
        let offset = region.slot(channel.id()) + 24;
        let start = u64::from(region.read(offset)) | u64::from(region.read(offset + 4)) << 32;
        sender.send(kept.clone()).expect("room");
        sender.send(manager.array(&[6_u64; 10]).expect("room")).expect("room");
        region.flip(start + at, bit);
        let mut failed = 0;
        for _ in 0..4 {
            match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(array) => assert!(matches!(array.read().expect("whole")[0], 5 | 6)),
                Err(error) => {
                    let known =
                        [ErrorKind::Damaged, ErrorKind::Disconnected, ErrorKind::Timeout].contains(&error.kind());
                    assert!(known, "{error:?} after bit {bit} at {at}");
                    failed += u32::from(error.kind() != ErrorKind::Timeout);
                }
            }
            failed +=
                u32::from(sender.try_send(kept.clone()).is_err_and(|error| error.kind() != ErrorKind::ChannelFull));
        }
        noticed += u32::from(failed > 0);
        let _ = (channel.sender().map(drop), channel.receiver().map(drop), channel.close(), channel.len());
        drop((sender, receiver, channel));
        assert_eq!(kept.read().expect("whole")[99], 5);
    }
    // What damaged entries held is let go of by an audit.
    eventually("what the channels held is freed", || {
        manager.audit().expect("audited");
        manager.number_of_objects().expect("told") == 1
    });
    let info = manager.object_info(kept.id()).expect("alive");
    assert_eq!((info.proxies(), info.pins), (1, 0));
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
    assert!(noticed > 200, "only {noticed} flips were noticed");
}
