//! What a slot says of its object, with a digest: whoever reads it finds out that a word has changed which only the broker writes.

use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::{FNV_BASIS, HOSTED, Slot};
use crate::region::{Generation, ObjectId, Region, SessionIndex};
use crate::sync::atomic::{Ordering, fence};

/// The words of a slot that stay as they are as long as it is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) generation: Generation,
    pub(crate) kind: u32,
    /// The session of whose slab the slot is; the broker, which needs none, for none.
    pub(crate) owner: SessionIndex,
    pub(crate) type_index: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Words {
    /// Those of a slot that was never used, whose digest is 0 too.
    pub(crate) const NONE: Self =
        Self { generation: Generation(0), kind: 0, owner: SessionIndex::BROKER, type_index: 0, offset: 0, len: 0 };

    /// Reads what the slot says, whether it can be believed or not.
    #[inline]
    pub(crate) fn read(slot: &Slot) -> Self {
        // Relaxed: whoever holds the object has seen its slot published.
        Self {
            generation: Generation(slot.generation.load(Ordering::Relaxed)),
            kind: slot.kind.load(Ordering::Relaxed).into(),
            owner: SessionIndex(slot.owner.load(Ordering::Relaxed)),
            type_index: slot.type_index.load(Ordering::Relaxed),
            offset: slot.offset.load(Ordering::Relaxed),
            len: slot.len.load(Ordering::Relaxed),
        }
    }

    /// Whether the slot has these words, and has been given them by a broker.
    #[inline]
    pub(crate) fn are_sound(&self, slot: &Slot) -> bool {
        slot.digest.load(Ordering::Relaxed) == self.digest()
    }

    /// What the slot of an object says, if it can be believed.
    ///
    /// # Errors
    /// `Damaged`. Without a hold an object may die meanwhile, and its slot be another's.
    #[inline]
    pub(crate) fn of(region: &Region, id: ObjectId) -> Result<Self> {
        let slot = region.slot(id.slot()).ok_or_else(|| damaged(id, "has no slot"))?;
        let words = Self::read(slot);
        if words.are_sound(slot) {
            return Ok(words);
        }
        Err(damaged(id, "is not as the broker has made it: somebody has changed what only the broker writes")
            .help("its bytes can't be trusted; `sharehold check` says more"))
    }

    /// Whether this is what a broker leaves that dies while it fills the slot, which is free: it begins with the generation, and says next that the rest is on its way.
    pub(crate) fn are_begun(&self, slot: &Slot) -> bool {
        self.are_renewed(slot) || slot.digest.load(Ordering::Relaxed) == Self::on_their_way(self.generation)
    }

    /// Whether this is a slot that its owner is making anew: the generation is there, its digest not yet.
    pub(crate) fn are_renewed(&self, slot: &Slot) -> bool {
        let before = Self { generation: Generation(self.generation.0.wrapping_sub(1)), ..*self };
        slot.digest.load(Ordering::Relaxed) == before.digest()
    }

    /// The same for the next object of the slot. `None` if the number would start again: it could be taken for an earlier object's.
    pub(crate) fn renewed(self) -> Option<Self> {
        let next = (self.generation.0 < u32::MAX - 1).then_some(Generation(self.generation.0 + 1));
        next.map(|generation| Self { generation, ..self })
    }

    /// Writes what is new of a slot that is made anew: its owner's part in `docs/protocol.md`.
    pub(crate) fn renew(&self, slot: &Slot) {
        // Relaxed: the release of `refs` publishes them.
        slot.generation.store(self.generation.0, Ordering::Relaxed);
        // Who takes the region over from a broker, or the slot from an owner that has died, finds the generation first: see `are_renewed`.
        fence(Ordering::Release);
        slot.digest.store(self.digest(), Ordering::Release);
    }

    /// The digest of a slot that is being filled: that of no kind of object.
    fn on_their_way(generation: Generation) -> u32 {
        Self { generation, kind: u32::MAX, ..Self::NONE }.digest()
    }

    /// Says again that these are the words of a free slot.
    pub(crate) fn confirm(&self, slot: &Slot) {
        slot.digest.store(self.digest(), Ordering::Relaxed);
    }

    /// Fills a slot that is free.
    pub(crate) fn write(&self, slot: &Slot) {
        // Relaxed: the release of `refs` publishes them all.
        slot.generation.store(self.generation.0, Ordering::Relaxed);
        // Who reads without a hold, and finds the words torn, finds the generation changed too.
        fence(Ordering::Release);
        // Whoever takes the region over from a broker that dies here finds this or the digest of before: see `are_begun`.
        slot.digest.store(Self::on_their_way(self.generation), Ordering::Release);
        fence(Ordering::Release);
        slot.kind.store(self.kind as u16, Ordering::Relaxed);
        slot.owner.store(self.owner.0, Ordering::Relaxed);
        slot.type_index.store(self.type_index, Ordering::Relaxed);
        slot.offset.store(self.offset, Ordering::Relaxed);
        slot.len.store(self.len, Ordering::Relaxed);
        slot.digest.store(self.digest(), Ordering::Release);
    }

    #[inline]
    pub(crate) fn digest(&self) -> u32 {
        self.mixed() ^ Self::NONE.mixed()
    }

    /// The digest of what stays the same when a slot is made anew.
    pub(crate) fn shape(&self) -> u32 {
        Self { generation: Generation(0), ..*self }.digest()
    }

    /// A few multiplications: it is computed for each proxy that is made. It tells accidents, not forgery.
    #[inline]
    fn mixed(&self) -> u32 {
        // Of a hosted object the offset tells its last snapshot, which changes.
        let offset = if self.kind == HOSTED { 0 } else { self.offset };
        let kind = u64::from(self.owner.0) << 32 | u64::from(self.kind);
        // The generation last: the rest is the same for all objects of a slot.
        let numbers = [kind, self.type_index.into(), offset, self.len, self.generation.0.into()];
        let hash = numbers.iter().fold(FNV_BASIS, |hash, number: &u64| {
            let product = (hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            product ^ product >> 32
        });
        hash as u32
    }
}

#[cold]
fn damaged(id: ObjectId, what: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("object {id} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_counts() {
        assert_eq!(Words::NONE.digest(), 0);
        let words = Words {
            generation: Generation(7),
            kind: 2,
            owner: SessionIndex(5),
            type_index: 3,
            offset: 1 << 20,
            len: 800,
        };
        let mut others = Vec::new();
        for bit in 0..32 {
            others.push(Words { generation: Generation(7 ^ 1 << bit), ..words });
            others.push(Words { kind: 2 ^ 1 << bit, ..words });
            others.push(Words { type_index: 3 ^ 1 << bit, ..words });
        }
        for bit in 0..16 {
            others.push(Words { owner: SessionIndex(5 ^ 1 << bit), ..words });
        }
        for bit in 0..64 {
            others.push(Words { offset: words.offset ^ 1 << bit, ..words });
            others.push(Words { len: words.len ^ 1 << bit, ..words });
        }
        // Of a hosted object the offset changes.
        assert!(others.iter().all(|other| other.digest() != words.digest()));
    }
}
