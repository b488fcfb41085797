//! Those who wait for each other by an event. Who sleeps for good stops the scene: loom calls that a deadlock.

use std::rc::Rc;

use loom::cell::UnsafeCell;
use loom::thread;

use crate::flaw::Flaw;
use crate::scenes::join;
use crate::sync::Spin;
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use crate::sync::event::Event;

/// Two messages, with a word each that says whether it is there, and the one event by which all wait.
struct Board {
    there: [AtomicU32; 2],
    message: [UnsafeCell<u32>; 2],
    event: AtomicU32,
}

impl Board {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            there: std::array::from_fn(|_| AtomicU32::new(0)),
            message: std::array::from_fn(|_| UnsafeCell::new(0)),
            event: AtomicU32::new(0),
        })
    }

    #[expect(unsafe_code, reason = "loom sees who touches what")]
    fn put(&self, which: usize) {
        // SAFETY: loom fails the scene if anybody else touches it now.
        self.message[which].with_mut(|message| unsafe { *message = 7 });
        self.there[which].store(1, Ordering::Release);
    }

    fn post(&self, which: usize) {
        self.put(which);
        Event::new(&self.event).wake();
    }

    /// As `post`, of one that dies between the count and the wake.
    fn post_and_die(&self, which: usize) {
        self.put(which);
        fence(Ordering::SeqCst);
        let word = self.event.load(Ordering::SeqCst);
        if word & 1 != 0 {
            let _ = self.event.compare_exchange(word, word + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    #[expect(unsafe_code, reason = "loom sees who touches what")]
    fn wait_for(&self, which: usize) {
        let there = || (self.there[which].load(Ordering::Acquire) == 1).then_some(());
        // Each on a core of its own.
        let spin = Spin(which as u32 + 1);
        assert!(Event::new(&self.event).wait(&spin, None, there).is_some(), "without an end");
        // SAFETY: as in `post`.
        assert_eq!(self.message[which].with(|message| unsafe { *message }), 7);
    }

    fn waiter(self: &Rc<Self>, which: usize) -> thread::JoinHandle<()> {
        let board = Rc::clone(self);
        thread::spawn(move || board.wait_for(which))
    }
}

/// One waits for what another does, then the other way round.
pub(crate) fn one_for_the_other() {
    let board = Board::new();
    let other = Rc::clone(&board);
    let other = thread::spawn(move || {
        other.wait_for(0);
        other.post(1);
    });
    board.post(0);
    board.wait_for(1);
    join(other);
}

/// Two wait at one event, each for something else, and the second thing comes from the first of them.
pub(crate) fn two_at_one_event() {
    let board = Board::new();
    let first = Rc::clone(&board);
    let first = thread::spawn(move || {
        first.wait_for(0);
        first.post(1);
    });
    let second = board.waiter(1);
    board.post(0);
    join(first);
    join(second);
}

/// Two things are done at once, for two that wait.
pub(crate) fn two_wake_two() {
    let board = Board::new();
    let waiters = [board.waiter(0), board.waiter(1)];
    let other = Rc::clone(&board);
    let other = thread::spawn(move || other.post(1));
    board.post(0);
    join(other);
    waiters.into_iter().for_each(join);
}

/// One dies while it wakes, and another one that sees this wakes in its place.
pub(crate) fn one_dies_while_it_wakes() {
    let board = Board::new();
    let waiter = board.waiter(0);
    board.post_and_die(0);
    let event = Event::new(&board.event);
    if Flaw::TrustsMark.is_planted() {
        event.wake();
    } else {
        event.wake_in_any_case();
    }
    join(waiter);
}
