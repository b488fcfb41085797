//! A ticket with a deadline, issued while the broker looks at the tickets.

use std::rc::Rc;

use loom::thread;

use crate::flaw::Flaw;
use crate::scenes::join;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::table::alarm::Alarm;

const DEADLINE: u64 = 5;

/// The entry of a ticket, zero if there is none; the word; and what the issuer tells the broker.
struct Board {
    ticket: AtomicU64,
    alarm: AtomicU64,
    told: AtomicU64,
}

/// The broker looks at the tickets when its alarm goes off, while one is issued: it knows of the deadline afterwards, by its look or because it is told.
pub(crate) fn issue_against_look() {
    let board = Rc::new(Board { ticket: AtomicU64::new(0), alarm: AtomicU64::new(1), told: AtomicU64::new(0) });
    let issuer = Rc::clone(&board);
    let issued = thread::spawn(move || {
        issuer.ticket.store(DEADLINE, Ordering::Release);
        if Alarm::new(&issuer.alarm).is_too_late_for(DEADLINE) {
            issuer.told.store(DEADLINE, Ordering::Release);
        }
    });
    let alarm = Alarm::new(&board.alarm);
    let look = || board.ticket.load(Ordering::Acquire);
    let seen = if Flaw::LooksEarly.is_planted() {
        let seen = look();
        alarm.begin_look();
        seen
    } else {
        alarm.begin_look();
        look()
    };
    if seen != 0 {
        alarm.set(seen);
    }
    join(issued);
    assert!(seen == DEADLINE || board.told.load(Ordering::Acquire) == DEADLINE, "nobody ends the ticket");
}
