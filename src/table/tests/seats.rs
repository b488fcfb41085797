//! The seats of one side, alone.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::table::seats::{NO_SENDERS, Refused, Side};

struct Words {
    state: AtomicU32,
    seats: [AtomicU64; 2],
}

impl Words {
    fn new() -> Self {
        Self { state: AtomicU32::new(0), seats: Default::default() }
    }

    fn side(&self) -> Side<'_> {
        Side { state: &self.state, seats: &self.seats, none: NO_SENDERS }
    }

    fn are_none(&self) -> bool {
        self.state.load(Ordering::Relaxed) & NO_SENDERS != 0
    }
}

#[test]
fn the_last_one_that_leaves_says_so_and_the_next_one_takes_it_back() {
    let words = Words::new();
    assert!(!words.side().settle() && !words.are_none(), "nobody has come yet");
    for me in [5, 6, 5] {
        assert_eq!(words.side().open(me, false), Ok(()));
    }
    assert_eq!(words.side().open(7, false), Err(Refused::Full));
    assert!(!words.side().close(5) && !words.side().close(6) && !words.are_none());
    assert!(words.side().close(5) && words.are_none());
    assert!(!words.side().close(5));
    assert_eq!(words.side().open(7, false), Ok(()));
    assert!(!words.are_none());
}

#[test]
fn one_alone_keeps_others_and_itself_out() {
    let words = Words::new();
    assert_eq!(words.side().open(5, true), Ok(()));
    assert_eq!(words.side().open(6, true), Err(Refused::Taken(5)));
    assert_eq!(words.side().open(5, true), Err(Refused::Taken(5)));
    assert!(words.side().close(5));
    assert_eq!(words.side().open(6, true), Ok(()));
}

#[test]
fn the_seats_of_the_dead_are_vacated_and_no_others() {
    let words = Words::new();
    for me in [5, 6] {
        assert_eq!(words.side().open(me, false), Ok(()));
    }
    assert!(!words.side().vacate(|owner| owner == 5));
    assert!(words.side().vacate(|owner| owner == 6) && words.are_none());
    // One that has died between its seat and the state.
    words.state.fetch_and(!NO_SENDERS, Ordering::Relaxed);
    assert!(words.side().vacate(|_| false) && words.are_none());
}
