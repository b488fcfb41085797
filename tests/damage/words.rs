//! Single words, each with what follows from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sharehold::{Array, ErrorKind, Manager, Proxy, Value, check};

use crate::common::region::Region;
use crate::common::served::Served;
use crate::common::{Actor, PATIENCE, eventually};

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
    // So that nobody would look for holders in any row.
    region.write(256, 0);
    let findings = check(manager.name()).expect("checked").findings;
    assert!(findings.iter().any(|finding| finding.contains("header")), "{findings:?}");
    assert!(findings.iter().any(|finding| finding.contains("session 1")), "{findings:?}");
    assert_eq!(words.iter().map(|at| region.read(*at)).collect::<Vec<_>>(), before);
    assert_eq!(region.read(256), 2, "the broker and this process");
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
        let until = std::time::Instant::now() + PATIENCE;
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
