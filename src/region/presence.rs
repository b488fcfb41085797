//! Which pages this process has asked the system for.
//!
//! Shared words say which parts of the tables are in use, and anybody may have changed them. So a page is touched only after this very process has asked for it: a wrong
//! word costs memory, or an error on a full file system, and never a SIGBUS. The answer is remembered, a bit a page.
#![expect(unsafe_code, reason = "zeroed memory that is not touched until a bit in it is set")]

use crate::region::layout::PAGE;
use crate::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Presence(Box<[AtomicU64]>);

impl Presence {
    /// Knows of no page of a region of so many bytes.
    pub(crate) fn of_nothing(bytes: u64) -> Self {
        let words = bytes.div_ceil(PAGE).div_ceil(64) as usize;
        // SAFETY: an atomic of zero bytes is an atomic with the value zero.
        Self(unsafe { Box::new_zeroed_slice(words).assume_init() })
    }

    /// Whether the page of this byte is known to be there.
    #[inline]
    pub(crate) fn has(&self, offset: u64) -> bool {
        let page = offset / PAGE;
        // Relaxed: the bit stands for no other memory than the page, which the system has given to the whole process.
        self.0.get((page / 64) as usize).is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (page % 64)) != 0)
    }

    /// Whether all pages of a range are known to be there.
    pub(crate) fn has_all(&self, offset: u64, len: u64) -> bool {
        self.words(offset, len).all(|(word, mask)| word.load(Ordering::Relaxed) & mask == mask)
    }

    pub(crate) fn add(&self, offset: u64, len: u64) {
        self.words(offset, len).for_each(|(word, mask)| _ = word.fetch_or(mask, Ordering::Relaxed));
    }

    /// Forgets the pages of a range that goes back to the system.
    pub(crate) fn remove(&self, offset: u64, len: u64) {
        self.words(offset, len).for_each(|(word, mask)| _ = word.fetch_and(!mask, Ordering::Relaxed));
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// The words with the pages that a range touches, each with their bits.
    fn words(&self, offset: u64, len: u64) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let (first, end) = (offset / PAGE, offset.saturating_add(len).div_ceil(PAGE));
        (first / 64..end.div_ceil(64)).map_while(move |word| {
            let (from, to) = (first.max(word * 64) % 64, end.min((word + 1) * 64) - word * 64);
            Some((self.0.get(word as usize)?, u64::MAX << from & u64::MAX >> (64 - to)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_a_range_are_known_and_no_others() {
        let presence = Presence::of_nothing(1000 * PAGE);
        presence.add(70 * PAGE + 5, 100 * PAGE);
        assert!(presence.has_all(70 * PAGE, 101 * PAGE));
        assert!(!presence.has(69 * PAGE) && !presence.has(171 * PAGE));
        presence.remove(100 * PAGE, PAGE);
        assert!(presence.has(99 * PAGE) && !presence.has(100 * PAGE) && presence.has(101 * PAGE));
        assert!(!presence.has_all(70 * PAGE, 101 * PAGE));
        // What lies outside is never there.
        presence.add(999 * PAGE, 500 * PAGE);
        assert!(presence.has(999 * PAGE) && !presence.has(1024 * PAGE) && !presence.has(u64::MAX));
    }
}
