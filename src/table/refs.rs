//! The `refs` word of a slot: one compare-and-swap decides about life and death.
//!
//! | bits | meaning |
//! |---|---|
//! | 0..2 | state: 0 free, 1 granted, 2 live, 3 dead |
//! | 2..26 | live: pins; granted: the session that may claim it; dead: the session that won |
//! | 26..64 | epoch: every change adds one |
//!
//! The epoch makes a swap fail if anything moved since the word was read, also when it moved there and back: 2^38 changes of one
//! object take an hour and more, and would have to end on the very word that a stopped process remembers.

use crate::region::SessionIndex;

const STATE: u64 = 3;
const PINS_AT: u32 = 2;
const EPOCH_AT: u32 = 26;

/// The most pins an object can have.
pub(crate) const MOST_PINS: u32 = (1 << (EPOCH_AT - PINS_AT)) - 1;

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refs(pub(crate) u64);

/// What a slot is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Free,
    /// Given to a session that has not claimed it yet.
    Granted(SessionIndex),
    Live,
    /// Dead for ever; the session that won brings it back to the broker.
    Dead(SessionIndex),
}

impl Refs {
    #[inline]
    pub(crate) fn state(self) -> State {
        let session = SessionIndex((self.0 >> PINS_AT) as u16);
        match self.0 & STATE {
            0 => State::Free,
            1 => State::Granted(session),
            2 => State::Live,
            _ => State::Dead(session),
        }
    }

    #[inline]
    pub(crate) fn is_live(self) -> bool {
        self.state() == State::Live
    }

    /// Pins of a live object.
    #[inline]
    pub(crate) fn pins(self) -> u32 {
        (self.0 >> PINS_AT) as u32 & MOST_PINS
    }

    fn next(self, state: u64, pins: u32) -> Self {
        let epoch = (self.0 >> EPOCH_AT).wrapping_add(1);
        Self(epoch << EPOCH_AT | u64::from(pins & MOST_PINS) << PINS_AT | state)
    }

    /// The same with the next epoch.
    #[inline]
    pub(crate) fn bumped(self) -> Self {
        self.next(self.0 & STATE, self.pins())
    }

    pub(crate) fn free(self) -> Self {
        self.next(0, 0)
    }

    pub(crate) fn granted(self, to: SessionIndex) -> Self {
        self.next(1, u32::from(to.0))
    }

    #[inline]
    pub(crate) fn live(self, pins: u32) -> Self {
        self.next(2, pins)
    }

    #[inline]
    pub(crate) fn dead(self, winner: SessionIndex) -> Self {
        self.next(3, u32::from(winner.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_moves_the_epoch_and_keeps_what_it_must() {
        let granted = Refs(0).granted(SessionIndex(4095));
        assert_eq!(granted.state(), State::Granted(SessionIndex(4095)));
        let live = granted.live(MOST_PINS);
        assert!(live.is_live());
        assert_eq!(live.pins(), MOST_PINS);
        assert_eq!(live.bumped().pins(), MOST_PINS);
        assert_ne!(live.bumped(), live);
        let dead = live.dead(SessionIndex(1023));
        assert_eq!(dead.state(), State::Dead(SessionIndex(1023)));
        assert_eq!(dead.free().state(), State::Free);
        assert_eq!(dead.free().0 >> EPOCH_AT, 4);
    }

    #[test]
    fn the_epoch_wraps_without_touching_the_rest() {
        let last = Refs(u64::MAX << EPOCH_AT).live(5);
        assert_eq!(last.pins(), 5);
        assert!(last.is_live());
        assert_eq!(last.0 >> EPOCH_AT, 0);
    }
}
