//! The tables of the region and the protocol by which they are counted: who holds what, and when an object is dead.
//!
//! The protocol in words is `docs/protocol.md`. [`refs`] packs the word, [`counting`] has the steps, [`tickets`] and
//! [`names`] are two of the places that store references, [`ring`] and [`seats`] are the words of a channel, [`channels`] what is done with them, [`audit`] puts pins right, [`alarm`] says when tickets are looked at, [`census`] tells what is there, [`words`] what a slot says of its object.

pub(crate) mod alarm;
pub(crate) mod audit;
pub(crate) mod census;
pub(crate) mod channels;
pub(crate) mod counting;
pub(crate) mod names;
pub(crate) mod refs;
pub(crate) mod ring;
pub(crate) mod seats;
pub(crate) mod sessions;
pub(crate) mod tickets;
pub(crate) mod types;
pub(crate) mod words;

pub(crate) use counting::{Counting, Counts, SlotWords};

use crate::region::{Region, SessionIndex, SlotIndex};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

impl Counts for Region {
    #[inline]
    fn slot(&self, slot: SlotIndex) -> Option<SlotWords<'_>> {
        let slot = Region::slot(self, slot)?;
        Some(SlotWords {
            refs: &slot.refs,
            generation: &slot.generation,
            holders: &slot.holders,
            next: &slot.next,
            owner: &slot.owner,
        })
    }

    #[inline]
    fn cell(&self, session: SessionIndex, slot: SlotIndex) -> Option<&AtomicU64> {
        // A cell that can't be looked at counts as held, so that nothing is freed that may be in use.
        static HELD: AtomicU64 = AtomicU64::new(counting::PROXY);
        self.cell_is_reserved(session, slot).then(|| Region::cell(self, session, slot).unwrap_or(&HELD))
    }

    fn session_count(&self) -> u16 {
        // At most MAX_SESSIONS.
        self.capacities().sessions as u16
    }

    fn session_state(&self, session: SessionIndex) -> Option<&AtomicU64> {
        Some(&self.session(session)?.state)
    }

    fn returned(&self) -> &AtomicU32 {
        &self.header().returned
    }

    fn stack(&self, owner: SessionIndex) -> Option<&AtomicU64> {
        // Relaxed: a broker that wants room looks at the stacks too.
        let is_wanted = self.header().wanted.load(Ordering::Relaxed) != 0;
        self.session(owner).filter(|_| !is_wanted).map(|entry| &entry.returned)
    }

    #[cfg(feature = "planted-bug")]
    fn clear_payload(&self, slot: SlotIndex) {
        Region::clear_payload(self, slot);
    }
}

// Of sources that `tests/interleavings` compiles with other atomics.
#[cfg(test)]
mod tests {
    mod ring;
    mod seats;

    use super::counting::{
        LIFTED, PROXIES, PROXY, READER, SATURATED, is_consistent, lift, proxies, readers, release, retain, settle,
    };
    use crate::sync::atomic::AtomicU64;
    use crate::sync::atomic::Ordering;

    #[test]
    fn a_saturated_cell_neither_overflows_nor_frees() {
        let cell = AtomicU64::new((SATURATED - 1).wrapping_mul(PROXY));
        assert!(!retain(&cell));
        assert!(!retain(&cell));
        let saturated = cell.load(Ordering::Relaxed);
        assert!((SATURATED + 1..READER / 4 * 3).contains(&u64::from(proxies(saturated))), "{saturated:#x}");
        assert!(is_consistent(saturated));
        assert!(!release(&cell));
        assert_eq!(cell.load(Ordering::Relaxed), saturated);
    }

    #[test]
    fn a_lifted_cell_is_never_the_last_and_tells_who_clones() {
        let cell = AtomicU64::new(0);
        assert_eq!(lift(&cell), None);
        cell.store(2 * PROXY, Ordering::Relaxed);
        assert_eq!(lift(&cell), Some(2));
        assert!(retain(&cell));
        assert_eq!(proxies(cell.load(Ordering::Relaxed)), 3);
        for _ in 0..3 {
            assert!(!release(&cell));
        }
        assert_eq!(cell.load(Ordering::Relaxed), LIFTED);
        assert!(settle(&cell));
        assert_eq!(cell.load(Ordering::Relaxed), 0);
        // One that is saturated, too.
        cell.store((SATURATED + 10).wrapping_mul(PROXY), Ordering::Relaxed);
        assert!(lift(&cell).is_some() && retain(&cell) && !release(&cell) && !settle(&cell));
        assert_eq!(cell.load(Ordering::Relaxed) & PROXIES, SATURATED + 10);
    }

    #[test]
    fn a_release_too_many_does_not_touch_the_readers() {
        let cell = AtomicU64::new(READER);
        assert!(!release(&cell));
        assert_eq!(cell.load(Ordering::Relaxed), READER);
    }

    #[test]
    fn any_bit_of_the_proxies_that_flips_is_noticed() {
        let cell = AtomicU64::new(0);
        for count in 1..70_000 {
            retain(&cell);
            let word = cell.load(Ordering::Relaxed);
            assert!(is_consistent(word) && proxies(word) == count && readers(word) == 0, "{word:#x}");
        }
        let word = cell.load(Ordering::Relaxed) + 3 * READER;
        assert!((0..16).chain(48..64).all(|bit| !is_consistent(word ^ 1 << bit)));
        assert_eq!((proxies(word), readers(word)), (69_999, 3));
    }
}
