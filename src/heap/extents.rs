//! Which bytes of the heap are free, and which pages have memory.
//!
//! Best fit, joined at once when neighbours become free. Small extents are cut from the low end of a free piece, whole pages from the
//! high end, so that small objects do not break up the room of big ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::region::layout::PAGE;

/// Every extent is a multiple of this, and starts on one: a cache line, so that two objects never share one.
pub(crate) const GRAIN: u64 = 64;

/// A run of bytes of the heap. Offsets are from the heap's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Extent {
    fn end(self) -> u64 {
        self.start + self.len
    }

    /// Numbers of the pages that it touches.
    fn pages(self) -> std::ops::Range<u64> {
        self.start / PAGE..self.end().div_ceil(PAGE)
    }

    /// Numbers of the pages that lie wholly inside.
    fn whole_pages(self) -> std::ops::Range<u64> {
        self.start.div_ceil(PAGE)..(self.end() / PAGE).max(self.start.div_ceil(PAGE))
    }
}

/// The free pieces of the heap.
#[derive(Debug)]
pub(crate) struct Extents {
    capacity: u64,
    /// Length by start.
    free: BTreeMap<u64, u64>,
    /// Length, then start.
    by_len: BTreeSet<(u64, u64)>,
    free_bytes: u64,
    /// A bit a page that is known to have memory.
    present: Vec<u64>,
}

impl Extents {
    pub(crate) fn new(capacity: u64) -> Self {
        let capacity = capacity / PAGE * PAGE;
        let words = (capacity / PAGE).div_ceil(64) as usize;
        let mut extents =
            Self { capacity, free: BTreeMap::new(), by_len: BTreeSet::new(), free_bytes: 0, present: vec![0; words] };
        extents.insert(Extent { start: 0, len: capacity });
        extents
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// The longest free piece.
    pub(crate) fn largest(&self) -> u64 {
        self.by_len.last().map_or(0, |(len, _)| *len)
    }

    /// Hands out `len` bytes (rounded up) that start on `align`, a power of two.
    pub(crate) fn allocate(&mut self, len: u64, align: u64) -> Option<Extent> {
        let big = len >= PAGE;
        // Whole pages for big ones: their memory can be given back without touching a neighbour.
        let unit = if big { PAGE } else { GRAIN };
        let len = len.max(1).checked_next_multiple_of(unit)?;
        let align = align.max(unit);
        let (from, taken) = self.by_len.range((len, 0)..).find_map(|(piece, start)| {
            let piece = Extent { start: *start, len: *piece };
            Some((piece, Extent { start: place(piece, len, align, big)?, len }))
        })?;
        self.remove(from.start);
        self.insert(Extent { start: from.start, len: taken.start - from.start });
        self.insert(Extent { start: taken.end(), len: from.end() - taken.end() });
        Some(taken)
    }

    /// Takes back what was handed out. Returns false, and changes nothing, if these bytes are not all in use.
    pub(crate) fn release(&mut self, extent: Extent) -> bool {
        let Some(end) = extent.start.checked_add(extent.len).filter(|end| *end <= self.capacity && extent.len > 0)
        else {
            return false;
        };
        let before = self.free.range(..=extent.start).next_back().map(|(at, len)| Extent { start: *at, len: *len });
        let after = self.free.range(extent.start..).next().map(|(at, len)| Extent { start: *at, len: *len });
        if before.is_some_and(|piece| piece.end() > extent.start) || after.is_some_and(|piece| piece.start < end) {
            return false;
        }
        let mut joined = extent;
        if let Some(before) = before.filter(|piece| piece.end() == extent.start) {
            self.remove(before.start);
            joined = Extent { start: before.start, len: before.len + joined.len };
        }
        if let Some(after) = after.filter(|piece| piece.start == end) {
            self.remove(after.start);
            joined.len += after.len;
        }
        self.insert(joined);
        true
    }

    /// Whether all pages of an extent are known to have memory.
    pub(crate) fn is_present(&self, extent: Extent) -> bool {
        extent.pages().all(|page| self.present[(page / 64) as usize] & (1 << (page % 64)) != 0)
    }

    /// Notes that the pages of an extent have memory.
    pub(crate) fn set_present(&mut self, extent: Extent) {
        for page in extent.pages() {
            self.present[(page / 64) as usize] |= 1 << (page % 64);
        }
    }

    /// Free bytes in whole pages that have memory: what could be given back to the system.
    pub(crate) fn warm_bytes(&self) -> u64 {
        let pieces = self.free.iter().map(|(start, len)| Extent { start: *start, len: *len });
        pieces.map(|piece| self.count_present(piece.whole_pages())).sum::<u64>() * PAGE
    }

    fn count_present(&self, pages: std::ops::Range<u64>) -> u64 {
        let (mut page, mut count) = (pages.start, 0);
        while page < pages.end {
            // The rest of this word, or of the range.
            let until = ((page / 64 + 1) * 64).min(pages.end);
            let mask = u64::MAX >> (64 - (until - page)) << (page % 64);
            count += u64::from((self.present[(page / 64) as usize] & mask).count_ones());
            page = until;
        }
        count
    }

    /// Picks up to `most` bytes of free pages that have memory, from the longest pieces first, and counts them as without. The caller gives them
    /// back to the system.
    pub(crate) fn cool(&mut self, most: u64) -> Option<Extent> {
        let has_memory = |present: &[u64], page: &u64| present[(page / 64) as usize] & (1 << (page % 64)) != 0;
        let first = self.by_len.iter().rev().find_map(|(len, start)| {
            let pages = Extent { start: *start, len: *len }.whole_pages();
            let first = pages.clone().find(|page| has_memory(&self.present, page))?;
            Some(first..pages.end)
        })?;
        let start = first.start;
        let count =
            first.take((most / PAGE) as usize).take_while(|page| has_memory(&self.present, page)).count() as u64;
        for page in start..start + count {
            self.present[(page / 64) as usize] &= !(1 << (page % 64));
        }
        (count > 0).then_some(Extent { start: start * PAGE, len: count * PAGE })
    }

    fn insert(&mut self, piece: Extent) {
        if piece.len > 0 {
            self.free.insert(piece.start, piece.len);
            self.by_len.insert((piece.len, piece.start));
            self.free_bytes += piece.len;
        }
    }

    fn remove(&mut self, start: u64) {
        if let Some(len) = self.free.remove(&start) {
            self.by_len.remove(&(len, start));
            self.free_bytes -= len;
        }
    }
}

/// Where `len` aligned bytes go in a free piece: at its low end, or at its high end if they are big.
fn place(piece: Extent, len: u64, align: u64, high: bool) -> Option<u64> {
    let at = if high {
        piece.end().checked_sub(len)? / align * align
    } else {
        piece.start.checked_next_multiple_of(align)?
    };
    (at >= piece.start && at.checked_add(len)? <= piece.end()).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Allocate { len: u64, align_shift: u32 },
        Release(usize),
        Cool,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (1..40_000_u64, 0..16_u32).prop_map(|(len, align_shift)| Step::Allocate { len, align_shift }),
            2 => any::<usize>().prop_map(Step::Release),
            1 => Just(Step::Cool),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn extents_never_overlap_and_everything_comes_back(steps in steps()) {
            let capacity = 1 << 20;
            let mut heap = Extents::new(capacity);
            let mut live: Vec<Extent> = Vec::new();
            for step in steps {
                match step {
                    Step::Allocate { len, align_shift } => {
                        if let Some(extent) = heap.allocate(len, 1 << align_shift) {
                            prop_assert!(extent.len >= len && extent.end() <= capacity);
                            prop_assert_eq!(extent.start % (1 << align_shift).max(GRAIN), 0);
                            prop_assert!(live.iter().all(|other| other.end() <= extent.start || extent.end() <= other.start));
                            heap.set_present(extent);
                            live.push(extent);
                        } else {
                            prop_assert!(heap.largest() < len + (1 << align_shift).max(PAGE));
                        }
                    }
                    Step::Release(which) if !live.is_empty() => {
                        let extent = live.swap_remove(which % live.len());
                        prop_assert!(heap.release(extent));
                        prop_assert!(!heap.release(extent), "released twice");
                    }
                    Step::Release(_) => {}
                    Step::Cool => {
                        if let Some(cooled) = heap.cool(16 * PAGE) {
                            prop_assert!(live.iter().all(|other| other.end() <= cooled.start || cooled.end() <= other.start));
                        } else {
                            prop_assert_eq!(heap.warm_bytes(), 0);
                        }
                    }
                }
                prop_assert_eq!(heap.free_bytes() + live.iter().map(|extent| extent.len).sum::<u64>(), capacity);
            }
            for extent in live {
                prop_assert!(heap.release(extent));
            }
            prop_assert_eq!(heap.largest(), capacity);
        }
    }

    #[test]
    fn big_extents_have_their_pages_for_themselves() {
        let mut heap = Extents::new(1 << 20);
        let small = heap.allocate(1, 1).expect("room");
        let big = heap.allocate(PAGE + 1, 1).expect("room");
        assert_eq!((small.len, big.len, big.start % PAGE), (GRAIN, 2 * PAGE, 0));
        assert!(small.end() <= big.start);
    }

    #[test]
    fn nonsense_is_not_released() {
        let mut heap = Extents::new(1 << 20);
        for extent in [
            Extent { start: 0, len: 64 },
            Extent { start: u64::MAX, len: 64 },
            Extent { start: 0, len: 0 },
            Extent { start: 1 << 20, len: 64 },
        ] {
            assert!(!heap.release(extent), "{extent:?}");
        }
    }
}
