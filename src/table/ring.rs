//! The ring of a channel: entries that hold references, in order. Words and rules: `docs/protocol.md`, "Channels".
//!
//! | bits of an entry | meaning |
//! |---|---|
//! | 0..31 | slot + 1 of the object that it holds; 0: empty |
//! | 31..52 | round: how often the entry was taken from |
//! | 52..64 | check: of these and the object's generation |
//!
//! | bits of `tail` and `head` | meaning |
//! |---|---|
//! | 0..48 | position; the entry is position modulo capacity, the round position divided by capacity |
//! | 48..64 | check |
//!
//! An entry is changed from the very word that was read, so no two fill it, and no two take from it. The rounds wrap round: one that is stopped for exactly two million rounds before its swap may store out of order, and
//! harms nothing else. Memory of zeros is an empty ring. A word that somebody else has changed is found by its check, but for one in four thousand.

use crate::region::{Generation, ObjectId, SlotIndex};
use crate::sync::atomic::{AtomicU64, Ordering};

pub(super) const SLOT_BITS: u32 = 31;
const SLOT: u64 = (1 << SLOT_BITS) - 1;
const ROUND_BITS: u32 = 21;
const ROUND: u64 = (1 << ROUND_BITS) - 1;
const CHECK_AT: u32 = SLOT_BITS + ROUND_BITS;
const POSITION_BITS: u32 = 48;
pub(super) const POSITION: u64 = (1 << POSITION_BITS) - 1;

/// Odd, and without a run of more than seven equal bits: so a single bit that flips below changes each of the upper twelve.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
/// Another, so that a change of the slot and one of the generation do not make up for each other.
const MIX_GENERATION: u64 = 0xd6e8_feb8_6659_fd93;

/// The ring contradicts itself: somebody has written what is not his.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

/// A value of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    #[inline]
    fn new(slot: u64, generation: Generation, round: u64) -> Self {
        let low = slot & SLOT | (round & ROUND) << SLOT_BITS;
        Self(low | Self::check(low, generation) << CHECK_AT)
    }

    #[inline]
    fn check(low: u64, generation: Generation) -> u64 {
        low.wrapping_mul(MIX).wrapping_add(u64::from(generation.0).wrapping_mul(MIX_GENERATION)) >> CHECK_AT
    }

    #[inline]
    pub(super) fn empty(round: u64) -> Self {
        Self::new(0, Generation(0), round)
    }

    #[inline]
    fn full(id: ObjectId, round: u64) -> Self {
        Self::new(u64::from(id.slot().0) + 1, id.generation(), round)
    }

    #[inline]
    fn slot(self) -> Option<SlotIndex> {
        (self.0 & SLOT).checked_sub(1).map(|slot| SlotIndex(slot as u32))
    }

    #[inline]
    fn round(self) -> u64 {
        self.0 >> SLOT_BITS & ROUND
    }

    #[inline]
    fn is_sound(self, generation: Generation) -> bool {
        Self::check(self.0 & ((1 << CHECK_AT) - 1), generation) == self.0 >> CHECK_AT
    }

    /// What the word says to one that looks at it for this round.
    #[inline]
    fn seen(self, round: u64) -> Seen {
        if self.slot().is_none() && !self.is_sound(Generation(0)) {
            return Seen::Nonsense;
        }
        match (self.round().wrapping_sub(round) & ROUND, self.slot()) {
            (0, None) => Seen::Vacant,
            (0, Some(slot)) => Seen::Full(slot),
            (1, _) => Seen::Taken,
            (ROUND, Some(_)) => Seen::Before,
            _ => Seen::Nonsense,
        }
    }
}

enum Seen {
    /// Empty, of this round.
    Vacant,
    Full(SlotIndex),
    /// Of the next round.
    Taken,
    /// Full, of the round before.
    Before,
    Nonsense,
}

/// An entry that is empty, at the end of the ring.
#[derive(Clone, Copy)]
pub(crate) struct Vacancy {
    index: u64,
    pub(super) position: u64,
    word: Word,
}

/// An entry that is full, at the start of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Oldest {
    index: u64,
    position: u64,
    word: Word,
    pub(crate) slot: SlotIndex,
}

impl Oldest {
    /// Whether the entry was filled with the object that the slot has.
    #[inline]
    pub(crate) fn is_of(&self, generation: Generation) -> bool {
        self.word.is_sound(generation)
    }
}

/// The words of a ring, of which there are as many entries as a power of two.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'c> {
    pub(crate) tail: &'c AtomicU64,
    pub(crate) head: &'c AtomicU64,
    pub(crate) entries: &'c [AtomicU64],
    /// Whether nobody else moves the tail while one sends, nor the head while one receives.
    pub(crate) is_single: bool,
}

impl<'c> Ring<'c> {
    /// The entry of a position, and the round.
    #[inline]
    fn at(&self, position: u64) -> Option<(&'c AtomicU64, u64)> {
        let len = self.entries.len() as u64;
        let entry = self.entries.get((position & len.wrapping_sub(1)) as usize)?;
        Some((entry, position >> len.trailing_zeros()))
    }

    /// The entry that is filled next. `None`: all are full.
    #[inline]
    pub(crate) fn vacancy(&self) -> Result<Option<Vacancy>, Damaged> {
        loop {
            // Acquire: whoever has moved it on has seen the entry filled.
            let index = self.tail.load(Ordering::Acquire);
            let position = position(index)?;
            let (entry, round) = self.at(position).ok_or(Damaged)?;
            // Acquire: pairs with the one that has emptied it.
            let word = Word(entry.load(Ordering::Acquire));
            match word.seen(round) {
                Seen::Vacant => return Ok(Some(Vacancy { index, position, word })),
                Seen::Full(_) | Seen::Taken => self.move_on(self.tail, index, position),
                // Relaxed, here and below: only tells whether the look at the entry came too late.
                Seen::Before if self.tail.load(Ordering::Relaxed) == index => return Ok(None),
                Seen::Nonsense if self.tail.load(Ordering::Relaxed) == index => return Err(Damaged),
                Seen::Before | Seen::Nonsense => {}
            }
        }
    }

    /// Stores a reference. `false`: another was faster.
    #[inline]
    pub(crate) fn fill(&self, vacancy: &Vacancy, id: ObjectId) -> bool {
        let Some((entry, round)) = self.at(vacancy.position) else { return false };
        let full = Word::full(id, round);
        // Release: whoever sees the entry full sees the pin, and the object's bytes. Acquire: the one who has emptied it comes before. SeqCst: see `Event::wake_after_swap`.
        if entry.compare_exchange(vacancy.word.0, full.0, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            return false;
        }
        self.move_on(self.tail, vacancy.index, vacancy.position);
        true
    }

    /// The entry that is taken from next. `None`: there is nothing.
    #[inline]
    pub(crate) fn oldest(&self) -> Result<Option<Oldest>, Damaged> {
        loop {
            // Acquire: whoever has moved it on has seen the entry taken.
            let index = self.head.load(Ordering::Acquire);
            let position = position(index)?;
            let (entry, round) = self.at(position).ok_or(Damaged)?;
            // Acquire: pairs with the one that has filled it.
            let word = Word(entry.load(Ordering::Acquire));
            match word.seen(round) {
                Seen::Full(slot) => return Ok(Some(Oldest { index, position, word, slot })),
                Seen::Taken => self.move_on(self.head, index, position),
                Seen::Vacant if self.head.load(Ordering::Relaxed) == index => return Ok(None),
                Seen::Before | Seen::Nonsense if self.head.load(Ordering::Relaxed) == index => return Err(Damaged),
                Seen::Vacant | Seen::Before | Seen::Nonsense => {}
            }
        }
    }

    /// Whether the entry still is what it was.
    #[inline]
    pub(crate) fn has(&self, oldest: &Oldest) -> bool {
        self.at(oldest.position).is_some_and(|(entry, _)| entry.load(Ordering::Acquire) == oldest.word.0)
    }

    /// Takes a reference out. `false`: another was faster.
    #[inline]
    pub(crate) fn take(&self, oldest: &Oldest) -> bool {
        let Some((entry, round)) = self.at(oldest.position) else { return false };
        let empty = Word::empty(round.wrapping_add(1));
        // Release: whoever sees the entry empty sees the taker's count and its lane. SeqCst: see `Event::wake_after_swap`.
        if entry.compare_exchange(oldest.word.0, empty.0, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            return false;
        }
        self.move_on(self.head, oldest.index, oldest.position);
        true
    }

    /// Moves head or tail on from a position whose entry has been taken or filled (R90), unless somebody has already.
    #[inline]
    fn move_on(&self, word: &AtomicU64, from: u64, position: u64) {
        let next = index(position.wrapping_add(1));
        // Release: whoever sees it moved on sees the entry as it was seen here.
        if self.is_single {
            word.store(next, Ordering::Release);
        } else {
            let _ = word.compare_exchange(from, next, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// How many entries are full, as far as one can tell while others fill and take.
    pub(crate) fn len(&self) -> usize {
        let full = |entry: &&AtomicU64| Word(entry.load(Ordering::Relaxed)).slot().is_some();
        self.entries.iter().filter(full).count()
    }

    /// Whether head, tail and entries tell of the same, when nobody moves them. Looked at by those who wait in vain.
    pub(crate) fn is_consistent(&self) -> bool {
        let words = || (self.head.load(Ordering::Acquire), self.tail.load(Ordering::Acquire));
        let before = words();
        let (Ok(head), Ok(tail)) = (position(before.0), position(before.1)) else { return false };
        let between = tail.wrapping_sub(head) & POSITION;
        let len = self.len() as u64;
        // One that was stopped may have filled or taken, and not moved on.
        between.abs_diff(len) <= 1 || words() != before || self.len() as u64 != len
    }

    /// The entries that are full.
    #[inline]
    pub(crate) fn full(&self) -> impl Iterator<Item = Full<'c>> + use<'c> {
        self.entries.iter().filter_map(|entry| {
            let word = Word(entry.load(Ordering::Acquire));
            Some(Full { entry, word, slot: word.slot()? })
        })
    }
}

/// A full entry, wherever it is in its ring.
pub(crate) struct Full<'c> {
    entry: &'c AtomicU64,
    word: Word,
    pub(crate) slot: SlotIndex,
}

impl Full<'_> {
    /// Whether the entry was filled with the object that the slot has.
    #[inline]
    pub(crate) fn is_of(&self, generation: Generation) -> bool {
        self.word.is_sound(generation)
    }

    /// Takes the reference out, of a channel that nobody has any more. `false`: it is not what it was.
    #[inline]
    pub(crate) fn empty(&self) -> bool {
        let empty = Word::empty(self.word.round().wrapping_add(1));
        self.entry.compare_exchange(self.word.0, empty.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

#[inline]
pub(super) fn index(position: u64) -> u64 {
    let position = position & POSITION;
    position | position.wrapping_mul(MIX) >> POSITION_BITS << POSITION_BITS
}

#[inline]
fn position(word: u64) -> Result<u64, Damaged> {
    if index(word) == word { Ok(word & POSITION) } else { Err(Damaged) }
}
