//! Which bytes of the heap are free, and which pages have memory.
//!
//! Best fit, joined at once when neighbours become free. Small extents are cut from the low end of a free piece, whole pages from the
//! high end, so that small objects do not break up the room of big ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

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
    fn pages(self) -> Range<u64> {
        self.start / PAGE..self.end().div_ceil(PAGE)
    }

    /// Numbers of the pages that lie wholly inside.
    fn whole_pages(self) -> Range<u64> {
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
    /// How many bits are set.
    present_pages: u64,
}

impl Extents {
    pub(crate) fn new(capacity: u64) -> Self {
        let capacity = capacity / PAGE * PAGE;
        let words = (capacity / PAGE).div_ceil(64) as usize;
        let mut extents = Self {
            capacity,
            free: BTreeMap::new(),
            by_len: BTreeSet::new(),
            free_bytes: 0,
            present: vec![0; words],
            present_pages: 0,
        };
        extents.insert(Extent { start: 0, len: capacity });
        extents
    }

    /// The heap of a region that is taken over: all is free but these extents, which come in order and do not overlap. No page counts as one with memory.
    pub(crate) fn around(capacity: u64, used: impl IntoIterator<Item = Extent>) -> Self {
        let mut extents = Self::new(capacity);
        let mut start = 0;
        extents.remove(0);
        for extent in used {
            extents.insert(Extent { start, len: extent.start.saturating_sub(start) });
            start = extent.end();
        }
        extents.insert(Extent { start, len: extents.capacity.saturating_sub(start) });
        extents
    }

    /// Bytes that an object of `len` bytes takes.
    pub(crate) fn footprint(len: u64) -> Option<u64> {
        // Whole pages for big ones: their memory can be given back without touching a neighbour.
        len.max(1).checked_next_multiple_of(if len >= PAGE { PAGE } else { GRAIN })
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
        let len = Self::footprint(len)?;
        // By what it takes: whoever sees no more than a slot tells from that where its bytes can begin.
        let big = len >= PAGE;
        let align = align.max(if big { PAGE } else { GRAIN });
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
        words(extent.pages()).all(|(word, mask)| self.present[word] & mask == mask)
    }

    /// Notes that the pages of an extent have memory.
    pub(crate) fn set_present(&mut self, extent: Extent) {
        for (word, mask) in words(extent.pages()) {
            self.present_pages += u64::from((mask & !self.present[word]).count_ones());
            self.present[word] |= mask;
        }
    }

    /// Notes that the pages of an extent have none any more.
    pub(crate) fn set_absent(&mut self, extent: Extent) {
        for (word, mask) in words(extent.pages()) {
            self.present_pages -= u64::from((mask & self.present[word]).count_ones());
            self.present[word] &= !mask;
        }
    }

    /// Free bytes that have memory: what could be given back to the system. As if all bytes in use had memory, which they have soon.
    pub(crate) fn warm_bytes(&self) -> u64 {
        (self.present_pages * PAGE).saturating_sub(self.capacity - self.free_bytes)
    }

    /// Picks up to `most` bytes of free pages that have memory, from the longest pieces first, and counts them as without. The caller gives them
    /// back to the system.
    pub(crate) fn cool(&mut self, most: u64) -> Option<Extent> {
        let (start, end) = self.by_len.iter().rev().find_map(|(len, start)| {
            let pages = Extent { start: *start, len: *len }.whole_pages();
            Some((self.first(pages.clone(), true)?, pages.end))
        })?;
        let end = end.min(start + most / PAGE);
        let end = self.first(start..end, false).unwrap_or(end);
        for (word, mask) in words(start..end) {
            self.present[word] &= !mask;
        }
        self.present_pages -= end - start;
        (end > start).then_some(Extent { start: start * PAGE, len: (end - start) * PAGE })
    }

    /// The first of these pages that has memory, or has none.
    fn first(&self, pages: Range<u64>, present: bool) -> Option<u64> {
        words(pages).find_map(|(word, mask)| {
            let found = if present { self.present[word] } else { !self.present[word] } & mask;
            (found != 0).then(|| word as u64 * 64 + u64::from(found.trailing_zeros()))
        })
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

/// The words of the page map that a range of pages touches, each with the bits that are in the range.
fn words(pages: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
    let first = pages.start / 64;
    let last = if pages.is_empty() { first } else { pages.end.div_ceil(64) };
    (first..last).map(move |word| {
        let (from, to) = (pages.start.max(word * 64) % 64, pages.end.min((word + 1) * 64) - word * 64);
        (word as usize, u64::MAX << from & u64::MAX >> (64 - to))
    })
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
                            let warm = heap.free.iter().find_map(|(start, len)| {
                                heap.first(Extent { start: *start, len: *len }.whole_pages(), true)
                            });
                            prop_assert_eq!(warm, None);
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
    fn a_heap_that_is_taken_over_hands_out_only_what_is_free_and_gets_all_back() {
        let used = [(64, 64), (128, 192), (PAGE, 2 * PAGE), (6 * PAGE, PAGE)].map(|(start, len)| Extent { start, len });
        let mut heap = Extents::around(8 * PAGE, used);
        assert_eq!(heap.free_bytes(), 8 * PAGE - 256 - 3 * PAGE);
        let mut taken = Vec::new();
        while let Some(extent) = heap.allocate(GRAIN, 1) {
            assert!(used.iter().all(|other| other.end() <= extent.start || extent.end() <= other.start), "{extent:?}");
            taken.push(extent);
        }
        assert_eq!(heap.free_bytes(), 0);
        assert!(taken.into_iter().chain(used).all(|extent| heap.release(extent)));
        assert_eq!(heap.largest(), 8 * PAGE);
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
    fn what_takes_whole_pages_has_them_for_itself_however_it_comes_to_them() {
        let mut heap = Extents::new(1 << 20);
        heap.allocate(GRAIN + 1, 1).expect("room");
        for len in PAGE - GRAIN..=PAGE + GRAIN {
            let extent = heap.allocate(len, 1).expect("room");
            assert!(
                extent.len < PAGE || [extent.len, extent.start].iter().all(|number| number.is_multiple_of(PAGE)),
                "{len} bytes at {extent:?}"
            );
        }
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
