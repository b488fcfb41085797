//! Bits that flip anywhere.

use std::time::Duration;

use sharehold::{Array, Channel, ErrorKind, Manager, Proxy, check};

use crate::common::region::Region;
use crate::common::served::Served;
use crate::common::{Actor, PATIENCE, eventually};
use crate::random::Random;
use crate::worker::Worker;

/// Bytes of 64 names and their endings.
const NAMES: u64 = 64 * (64 + 152);

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
    let mut here = Worker::new(seed + 3);
    let mut findings = 0;
    for round in 0..rounds {
        let (start, len) = match random.below(9) {
            0 => (0, 512),
            1 => (region.types, 1024),
            2 => (region.sessions, 2048),
            3 => (region.names, NAMES),
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
        let mut here = Worker::new(seed + round);
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
                2 => (region.names, NAMES),
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
        let until = std::time::Instant::now() + PATIENCE;
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
