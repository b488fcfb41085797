//! The directory: names that hold objects. An open hash table that the broker alone writes and anybody reads without a lock.
//!
//! `word` is serial (high half, raised by each change) and state (low half). A reader that sees the same word before and after has read
//! one entry, not halves of two.

use super::counting::Counting;
use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::{NAME_BYTES, NameEntry};
use crate::region::region::{read_text, text_words, write_words};
use crate::region::{ObjectId, Region, SessionIndex};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

const EMPTY: u32 = 0;
const USED: u32 = 1;
/// Was used: a search goes on behind it.
const REMOVED: u32 = 2;
/// Being written.
const BUSY: u32 = 3;

/// How often an entry is read that changes meanwhile. The broker does not change one so often: somebody else does, who must not hold up a reader.
const MOST_LOOKS: u32 = 10_000;

/// One published name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) object: ObjectId,
    pub(crate) publisher: u32,
}

/// Checks that an object can be published under this name.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES || name.contains('\0') {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("an object can't be published as {name:?}"))
            .help("a name has 1 to 192 bytes of UTF-8 and no NUL"));
    }
    Ok(())
}

/// Where a search for a name begins, among so many entries.
#[inline]
fn start(name: &str, entries: u32) -> u32 {
    let hash = text_words(name).fold(name.len() as u64, |hash, word| {
        let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    });
    // The upper half of a product has something of every bit of its factors; of the last one above the lower half has nothing of the last letters.
    let spread = hash.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32;
    // As a part of the whole, which takes a product where a remainder takes a division.
    ((spread * u64::from(entries)) >> 32) as u32
}

#[inline]
fn probe<'r>(region: &'r Region, name: &str) -> impl Iterator<Item = (u32, &'r NameEntry)> + use<'r> {
    let count = region.capacities().names;
    let start = start(name, count);
    (0..count).filter_map(move |step| {
        let index = start + step;
        let index = if index < count { index } else { index - count };
        Some((index, region.name(index)?))
    })
}

/// Reads an entry in one piece, as `read` does, which is told the word. `Ok(None)` if it is not used, or `read` finds nothing; `Err` at the end of a search.
#[inline]
fn look<R>(entry: &NameEntry, read: impl Fn(u64) -> Option<R>) -> Result<Option<R>, ()> {
    for _ in 0..MOST_LOOKS {
        let before = entry.word.load(Ordering::Acquire);
        match before as u32 {
            EMPTY => return Err(()),
            USED => {}
            _ => return Ok(None),
        }
        let found = read(before);
        // Pairs with the release of `word` in `insert`: if the word is the same, the reads above were of one entry.
        fence(Ordering::Acquire);
        if entry.word.load(Ordering::Relaxed) == before {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The words of the name of an entry.
fn words<'r>(region: &'r Region, index: u32, entry: &'r NameEntry) -> impl Iterator<Item = &'r AtomicU64> {
    entry.name.iter().chain(region.name_ending(index).map(|ending| ending.name.iter()).unwrap_or_default())
}

fn read(region: &Region, index: u32) -> Option<Published> {
    let entry = region.name(index)?;
    let name = || read_text(words(region, index, entry), entry.len.load(Ordering::Relaxed) as usize);
    look(entry, |_| Some(published(index, entry, name()))).ok()?
}

/// What an entry says, besides this name.
fn published(index: u32, entry: &NameEntry, name: String) -> Published {
    let object = ObjectId::from_bits(entry.object.load(Ordering::Relaxed));
    Published { index, name, object, publisher: entry.publisher.load(Ordering::Relaxed) }
}

/// Whether an entry has this name. Compared in place: most of what a search meets is another.
#[inline]
fn is_named(region: &Region, index: u32, entry: &NameEntry, name: &str) -> bool {
    entry.len.load(Ordering::Relaxed) as usize == name.len()
        && name.len() <= NAME_BYTES
        && text_words(name).zip(words(region, index, entry)).all(|(word, there)| there.load(Ordering::Relaxed) == word)
}

/// Finds what `read` makes of the entry of a name. Any process; no lock, no system call.
#[inline]
fn search<'r, R>(region: &'r Region, name: &str, read: impl Fn(u32, &'r NameEntry, u64) -> R) -> Option<R> {
    for (index, entry) in probe(region, name) {
        match look(entry, |word| is_named(region, index, entry, name).then(|| read(index, entry, word))) {
            Ok(Some(found)) => return Some(found),
            Ok(None) => {}
            Err(()) => return None,
        }
    }
    None
}

/// Finds a name, with all that its entry says.
pub(crate) fn find(region: &Region, name: &str) -> Option<Published> {
    search(region, name, |index, entry, _| published(index, entry, name.to_owned()))
}

/// What a name holds, as it was found.
pub(crate) struct Standing<'r> {
    entry: &'r NameEntry,
    word: u64,
    pub(crate) object: ObjectId,
}

impl Standing<'_> {
    /// Whether the name still holds it, and has held it all the time since it was found.
    #[inline]
    pub(crate) fn stands(&self) -> bool {
        self.entry.word.load(Ordering::Acquire) == self.word
    }
}

/// Finds what a name holds. It holds it for sure only while it [`stands`](Standing::stands).
#[inline]
pub(crate) fn holder<'r>(region: &'r Region, name: &str) -> Option<Standing<'r>> {
    search(region, name, |_, entry, word| Standing {
        entry,
        word,
        object: ObjectId::from_bits(entry.object.load(Ordering::Relaxed)),
    })
}

/// All names.
pub(crate) fn all(region: &Region) -> impl Iterator<Item = Published> {
    (0..region.capacities().names).filter_map(|index| read(region, index))
}

/// Publishes an object: pin first, then the entry. Broker only; `lane` is free.
pub(crate) fn insert(region: &Region, lane: &AtomicU32, name: &str, id: ObjectId, publisher: u32) -> Result<()> {
    check_name(name)?;
    if let Some(taken) = find(region, name) {
        return Err(Error::new(
            ErrorKind::NameTaken,
            format!("the name '{name}' holds object {} already", taken.object),
        )
        .help("remove it first, or publish with replace"));
    }
    let free =
        probe(region, name).find(|(_, entry)| matches!(entry.word.load(Ordering::Relaxed) as u32, EMPTY | REMOVED));
    let Some((index, entry)) = free else {
        return Err(Error::new(ErrorKind::TableFull, format!("all {} names are in use", region.capacities().names))
            .help("remove names, or start the broker with more"));
    };
    let slot = region.slot_words(id)?;
    lane.store(id.slot().0 + 1, Ordering::Relaxed);
    let pinned = Counting::new(region, SessionIndex::BROKER).pin(&slot, id);
    if pinned {
        set(entry, BUSY);
        write_words(words(region, index, entry), text_words(name));
        entry.len.store(name.len() as u32, Ordering::Relaxed);
        entry.object.store(id.to_bits(), Ordering::Relaxed);
        entry.publisher.store(publisher, Ordering::Relaxed);
        set(entry, USED);
    }
    lane.store(0, Ordering::Release);
    if pinned { Ok(()) } else { Err(super::tickets::gone(id)) }
}

/// Removes a name, then its pin. Broker only; `lane` is free.
pub(crate) fn remove(region: &Region, lane: &AtomicU32, found: &Published) {
    let Some(entry) = region.name(found.index) else { return };
    let counting = Counting::new(region, SessionIndex::BROKER);
    let slot = region.slot_words(found.object).ok();
    lane.store(found.object.slot().0 + 1, Ordering::Relaxed);
    if let Some(slot) = &slot {
        counting.bump(slot, found.object);
    }
    set(entry, REMOVED);
    // Pairs with the fence of one who takes what he has found here: he sees that it is gone, or whoever sees it without a pin sees his count (R110).
    fence(Ordering::SeqCst);
    if let Some(slot) = &slot {
        counting.unpin(slot, found.object);
    }
    lane.store(0, Ordering::Release);
    shorten(region, found.index);
    counting.check(found.object.slot(), lane);
}

/// Gives up the entries that a dead broker was writing. Their pins are put right by an audit. Broker only.
pub(crate) fn abandon(region: &Region) {
    for index in 0..region.capacities().names {
        let Some(entry) = region.name(index) else { continue };
        if entry.word.load(Ordering::Relaxed) as u32 == BUSY {
            set(entry, REMOVED);
            shorten(region, index);
        }
    }
}

/// Turns removed entries at the end of a run into empty ones, so that searches stay short.
fn shorten(region: &Region, from: u32) {
    let count = region.capacities().names;
    let state = |index: u32| region.name(index % count).map(|entry| entry.word.load(Ordering::Relaxed) as u32);
    let mut index = from;
    // Once around at most, whatever the entries say.
    for _ in 0..count {
        if state(index + 1) != Some(EMPTY) || state(index) != Some(REMOVED) {
            break;
        }
        if let Some(entry) = region.name(index % count) {
            set(entry, EMPTY);
        }
        index = (index + count - 1) % count;
    }
}

/// Moves an entry to a state, with the next serial.
fn set(entry: &NameEntry, state: u32) {
    let serial = (entry.word.load(Ordering::Relaxed) >> 32).wrapping_add(1);
    // A reader that sees any of the writes that follow sees this word first: they come after the fence.
    entry.word.store(serial << 32 | u64::from(state), Ordering::Release);
    fence(Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_a_few_letters_do_not_all_meet() {
        const ENTRIES: u32 = 4096;
        let patterns: [fn(u32) -> String; 6] = [
            |number| number.to_string(),
            |number| format!("item{number:04}"),
            |number| format!("value {number}"),
            |number| format!("{number:016x}"),
            |number| format!("sensors/left/{number}"),
            |number| format!("{number}/prices of today"),
        ];
        for pattern in patterns {
            let mut beginning = [0; ENTRIES as usize];
            (0..1000).for_each(|number| beginning[start(&pattern(number), ENTRIES) as usize] += 1);
            // By chance there are four or five at the fullest place.
            assert!(beginning.into_iter().all(|names| names <= 8), "as in {}", pattern(0));
        }
    }
}
