//! A ring, alone.

use crate::region::{Generation, ObjectId, SlotIndex};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::table::ring::{Damaged, POSITION, Ring, SLOT_BITS, Word, index};

struct Words {
    tail: AtomicU64,
    head: AtomicU64,
    entries: Vec<AtomicU64>,
}

impl Words {
    fn new(entries: usize) -> Self {
        Self {
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            entries: (0..entries).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn ring(&self) -> Ring<'_> {
        Ring { tail: &self.tail, head: &self.head, entries: &self.entries, is_single: false }
    }
}

fn id(slot: u32) -> ObjectId {
    ObjectId::new(SlotIndex(slot), Generation(7))
}

fn send(ring: Ring<'_>, slot: u32) -> bool {
    let vacancy = ring.vacancy().expect("not damaged");
    vacancy.is_some_and(|vacancy| ring.fill(&vacancy, id(slot)))
}

fn receive(ring: Ring<'_>) -> Option<u32> {
    let oldest = ring.oldest().expect("not damaged")?;
    assert!(oldest.is_of(Generation(7)) && ring.has(&oldest) && ring.take(&oldest));
    Some(oldest.slot.0)
}

#[test]
fn what_was_sent_first_is_received_first_round_after_round() {
    for entries in [1, 2, 8] {
        let words = Words::new(entries);
        let ring = words.ring();
        let (mut sent, mut received) = (0, 0);
        // Past the wrapping of rounds, with one entry.
        for step in 0..3_000_000_usize / entries {
            let wanted = step % (entries + 2);
            for _ in 0..wanted {
                let has_room = ring.len() < entries;
                assert_eq!(send(ring, sent), has_room);
                sent += u32::from(has_room);
            }
            assert_eq!(ring.len(), wanted.min(entries));
            while let Some(slot) = receive(ring) {
                assert_eq!(slot, received);
                received += 1;
            }
            assert!(ring.is_consistent() && sent == received);
        }
    }
}

#[test]
fn one_that_is_stopped_before_its_swap_or_after_it_is_in_nobodys_way() {
    let words = Words::new(4);
    let ring = words.ring();
    let stopped = ring.vacancy().expect("whole").expect("room");
    assert!(send(ring, 1));
    assert!(!ring.fill(&stopped, id(9)), "another was faster");
    // One that has filled, and not moved the tail on.
    words.tail.store(index(0), Ordering::Relaxed);
    assert!(send(ring, 2));
    let late = ring.oldest().expect("whole").expect("full");
    assert_eq!(receive(ring), Some(1));
    assert!(!ring.take(&late), "another was faster");
    words.head.store(index(0), Ordering::Relaxed);
    assert_eq!((receive(ring), receive(ring)), (Some(2), None));
}

#[test]
fn positions_wrap_round() {
    let words = Words::new(2);
    words.tail.store(index(POSITION - 1), Ordering::Relaxed);
    words.head.store(index(POSITION - 1), Ordering::Relaxed);
    let round = (POSITION - 1) >> 1;
    words.entries.iter().for_each(|entry| entry.store(Word::empty(round).0, Ordering::Relaxed));
    for slot in 0..5 {
        assert!(send(words.ring(), slot));
        assert_eq!(receive(words.ring()), Some(slot));
    }
}

#[test]
fn a_bit_that_flips_in_any_word_is_noticed() {
    let words = Words::new(2);
    let ring = words.ring();
    for slot in 0..5 {
        assert!(send(ring, 3 + slot));
        let oldest = ring.oldest().expect("whole").expect("full");
        // One of the next round looks as if another had taken it meanwhile: it is noticed when that round comes.
        for bit in (0..64).filter(|bit| *bit != SLOT_BITS) {
            let entry = &words.entries[slot as usize % 2];
            entry.fetch_xor(1 << bit, Ordering::Relaxed);
            let seen = ring.oldest();
            let is_believed =
                seen == Ok(None) || seen.is_ok_and(|oldest| oldest.is_some_and(|oldest| oldest.is_of(Generation(7))));
            assert!(!is_believed, "bit {bit} of a full entry");
            entry.fetch_xor(1 << bit, Ordering::Relaxed);
            words.head.fetch_xor(1 << bit, Ordering::Relaxed);
            assert_eq!(ring.oldest().err(), Some(Damaged), "bit {bit} of the head");
            assert!(!ring.is_consistent());
            words.head.fetch_xor(1 << bit, Ordering::Relaxed);
        }
        assert!(ring.take(&oldest));
    }
}

#[test]
fn a_bit_that_flips_in_an_empty_entry_is_noticed_by_the_sender_or_the_receiver() {
    for bit in 0..64 {
        let words = Words::new(2);
        let ring = words.ring();
        for slot in 0..3 {
            assert!(send(ring, slot));
            assert_eq!(receive(ring), Some(slot));
        }
        words.entries[1].fetch_xor(1 << bit, Ordering::Relaxed);
        let sender = ring.vacancy().map(|vacancy| vacancy.is_some_and(|vacancy| vacancy.position == 3));
        let receiver = ring.oldest().map(|oldest| oldest.is_none_or(|oldest| oldest.is_of(Generation(7))));
        assert!(sender != Ok(true), "bit {bit}");
        assert!(receiver != Ok(true), "bit {bit}");
    }
}
