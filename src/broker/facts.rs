//! What each slot is known to say. Only the broker writes these words, and only while a slot is free: whatever else stands there later is damage.
//!
//! A slot that contradicts what is known is taken out of use until the end of this broker, with the memory that it had: nobody knows who believes what about it.

use std::collections::BTreeMap;

use crate::region::layout::{DAMAGED, Slot};
use crate::region::{Generation, SlotIndex};
use crate::sync::atomic::Ordering;
use crate::table::refs::{Refs, State};
use crate::table::words::Words;

/// What is known of one slot.
#[derive(Debug, Clone, Copy, Default)]
struct Fact {
    generation: u32,
    digest: u32,
    type_index: u32,
    /// Whether it is granted, live or dead, as far as the broker has brought about.
    in_use: bool,
}

#[derive(Default)]
pub(super) struct Facts {
    slots: Vec<Fact>,
    /// Slots that are out of use, and why.
    damaged: BTreeMap<SlotIndex, String>,
}

impl Facts {
    /// Believes what the next slot says of a region that is taken over, if its words are sound: nothing else is known of it. Returns them if it is in use.
    pub(super) fn learn(&mut self, slot: &Slot) -> Option<Words> {
        let (words, refs) = (Words::read(slot), Refs(slot.refs.load(Ordering::Acquire)));
        let in_use = refs.state() != State::Free;
        let (generation, type_index) = (words.generation.0, words.type_index);
        self.slots.push(Fact { generation, digest: words.digest(), type_index, in_use });
        if !in_use && words.are_begun(slot) {
            words.confirm(slot);
        }
        if !words.are_sound(slot) {
            let index = SlotIndex(self.slots.len() as u32 - 1);
            self.quarantine(index, slot, format!("it says {words:?}, which was not written by a broker"));
            return None;
        }
        in_use.then_some(words)
    }

    /// Begins with a slot that nobody has used: all its words are zero.
    pub(super) fn add(&mut self) {
        self.slots.push(Fact { digest: Words::NONE.digest(), ..Fact::default() });
    }

    /// The generation of the next object of a slot. `None` if the number would start again: it could be taken for an earlier object's.
    pub(super) fn next_generation(&self, index: SlotIndex) -> Option<Generation> {
        let generation = self.slots.get(index.0 as usize)?.generation;
        (generation < u32::MAX - 1).then_some(Generation(generation + 1))
    }

    /// Notes what a slot that is granted says from now on.
    pub(super) fn note(&mut self, index: SlotIndex, words: &Words) {
        if let Some(fact) = self.slots.get_mut(index.0 as usize) {
            let (generation, type_index) = (words.generation.0, words.type_index);
            *fact = Fact { generation, digest: words.digest(), type_index, in_use: true };
        }
    }

    /// Writes another offset into a slot in use, which a hosted object has for what is kept of it. Returns whether the slot was in order.
    pub(super) fn note_offset(&mut self, index: SlotIndex, slot: &Slot, offset: u64) -> bool {
        let words = Words::read(slot);
        match self.slots.get_mut(index.0 as usize) {
            Some(fact) if fact.in_use && fact.digest == words.digest() => {
                fact.digest = Words { offset, ..words }.digest();
                // Release: whoever takes the region over sees what the offset names.
                slot.offset.store(offset, Ordering::Release);
                true
            }
            _ => false,
        }
    }

    pub(super) fn is_in_use(&self, index: SlotIndex) -> bool {
        self.slots.get(index.0 as usize).is_some_and(|fact| fact.in_use)
    }

    /// Notes that a slot is free. Returns its type's number if it was in use.
    pub(super) fn end_use(&mut self, index: SlotIndex) -> Option<u32> {
        let fact = self.slots.get_mut(index.0 as usize)?;
        std::mem::take(&mut fact.in_use).then_some(fact.type_index)
    }

    pub(super) fn is_damaged(&self, index: SlotIndex) -> bool {
        self.damaged.contains_key(&index)
    }

    /// How many slots are out of use.
    pub(super) fn damaged(&self) -> u32 {
        self.damaged.len() as u32
    }

    /// Why each of them is.
    pub(super) fn findings(&self) -> impl Iterator<Item = String> {
        self.damaged.iter().map(|(index, what)| format!("slot {}: {what}", index.0))
    }

    /// Compares a slot with what is known of it; takes it out of use if they differ. Returns whether it is in order.
    pub(super) fn examine(&mut self, index: SlotIndex, slot: &Slot) -> bool {
        let Some(fact) = self.slots.get(index.0 as usize) else { return false };
        if self.is_damaged(index) {
            return false;
        }
        let (words, state) = (Words::read(slot), Refs(slot.refs.load(Ordering::Acquire)).state());
        let what = if words.digest() != fact.digest || !words.are_sound(slot) {
            format!("it says {words:?}, which was not written by the broker")
        } else if (state == State::Free) == fact.in_use {
            format!("it says that it is {state:?}, which it was not made by the broker")
        } else {
            return true;
        };
        self.quarantine(index, slot, what);
        false
    }

    /// Takes a slot out of use.
    pub(super) fn quarantine(&mut self, index: SlotIndex, slot: &Slot, what: String) {
        tracing::error!(slot = index.0, what, "a slot is damaged and out of use until the end of this broker");
        slot.flags.fetch_or(DAMAGED, Ordering::Relaxed);
        self.damaged.insert(index, what);
    }
}
