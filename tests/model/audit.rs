//! Audit: are there as many pins as live tickets, names and entries of the channel? It corrects what a crash has left.

use crate::broker::{Finish, Take, finish};
use crate::mutation::Mutation;
use crate::process::{Point, Turn};
use crate::world::{BROKER, Entry, SESSIONS, State, THREADS, TICKETS};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Read,
    Lane,
    Ticket,
    /// The ticket is live: of which object?
    Object,
    /// An entry of the channel.
    Place,
    /// A second look at the lanes.
    LaneAgain,
    Swap,
    /// The slot was dead and nobody announces it any more: is it still dead?
    Dead,
}

/// `snap` is `refs` at the start, `cursor` the next lane or ticket, `scratch` the count so far.
pub(crate) fn step(turn: &mut Turn, step: Step) -> &'static str {
    let cursor = usize::from(turn.world.desk.cursor);
    match step {
        Step::Read => read(turn),
        Step::Lane | Step::LaneAgain => {
            let lane = turn.world.lanes[cursor / THREADS][cursor % THREADS];
            if lane == turn.me().id.slot + 1 {
                // The slot stays due.
                turn.rest(Point::Idle);
                return "audit: announced, later";
            }
            next_lane(turn, step, cursor + 1);
            "audit: read a lane"
        }
        Step::Ticket => {
            if matches!(turn.world.tickets[cursor].entry, Entry::Live(_)) {
                turn.go(Point::Audit(Step::Object));
            } else {
                next_ticket(turn);
            }
            "audit: read a ticket"
        }
        Step::Object => {
            let id = turn.me().id;
            if turn.world.tickets[cursor].object == id {
                turn.me().scratch += 1;
            }
            next_ticket(turn);
            "audit: read its object"
        }
        Step::Place => {
            let id = turn.me().id;
            turn.me().scratch += u8::from(turn.world.ring.places[cursor].object == id);
            next_place(turn, cursor + 1);
            "audit: read an entry"
        }
        Step::Swap => swap(turn),
        Step::Dead => {
            if matches!(turn.slot().refs.state, State::Dead(_)) {
                turn.me().after = Point::Idle;
                settled(turn);
                return finish(turn, Finish::Memory);
            }
            settled(turn);
            turn.rest(Point::Idle);
            "audit: freed meanwhile"
        }
    }
}

fn read(turn: &mut Turn) -> &'static str {
    let refs = turn.slot().refs;
    let follows = match refs.state {
        State::Live => true,
        // No broker starts again over hosted objects.
        State::Dead(_) => !turn.has(Mutation::RestartForgetsAnnounced) && turn.scene.hosted() == 0,
        State::Free | State::Granted(_) => false,
    };
    if follows {
        turn.me().id.generation = turn.slot().generation;
        turn.me().snap = refs;
        next_lane(turn, Step::Lane, 0);
    } else {
        settled(turn);
        turn.rest(Point::Idle);
    }
    "audit: read refs"
}

/// `step` is the first look at the lanes, or the second.
fn next_lane(turn: &mut Turn, step: Step, from: usize) {
    let clients = usize::from(turn.scene.numbers) * THREADS;
    let threads = usize::from(turn.scene.lanes);
    // The broker has further threads only where it hosts objects.
    let ignored = turn.scene.hosted() == 0 || turn.has(Mutation::AuditIgnoresOwnLanes);
    let own = BROKER * THREADS + 1..if ignored { 0 } else { SESSIONS * THREADS };
    let lanes = (from..clients).filter(|lane| lane % THREADS < threads);
    let next = lanes.chain(own).find(|lane| *lane >= from);
    if let Some(lane) = next
        && !turn.has(Mutation::AuditIgnoresLanes)
    {
        turn.world.desk.cursor = lane as u8;
        return turn.go(Point::Audit(step));
    }
    turn.world.desk.cursor = 0;
    if step == Step::LaneAgain {
        return turn.go(Point::Audit(Step::Swap));
    }
    if turn.me().snap.state == State::Live {
        turn.go(Point::Audit(Step::Ticket));
    } else {
        turn.me().snap = Default::default();
        turn.me().back = Point::Audit(Step::Dead);
        turn.go(Point::Take(Take::Swap));
    }
}

fn next_ticket(turn: &mut Turn) {
    turn.world.desk.cursor += 1;
    if usize::from(turn.world.desk.cursor) < TICKETS {
        return turn.go(Point::Audit(Step::Ticket));
    }
    turn.world.desk.cursor = 0;
    // Nobody but the broker writes names.
    let id = turn.me().id;
    if turn.world.name == id {
        turn.me().scratch += 1;
    }
    next_place(turn, 0);
}

fn next_place(turn: &mut Turn, entry: usize) {
    if entry < usize::from(turn.scene.capacity) {
        turn.world.desk.cursor = entry as u8;
        return turn.go(Point::Audit(Step::Place));
    }
    turn.world.desk.cursor = 0;
    if turn.has(Mutation::AuditLooksOnce) {
        turn.go(Point::Audit(Step::Swap));
    } else {
        next_lane(turn, Step::LaneAgain, 0);
    }
}

fn swap(turn: &mut Turn) -> &'static str {
    let counted = turn.me().scratch;
    let equal = turn.me().snap.pins == counted;
    let believed = match turn.flaw {
        Some(Mutation::EqualCountBelieved) => equal,
        Some(Mutation::AuditOverwrites) => turn.slot().refs.state == State::Live,
        _ => false,
    };
    if !believed && !turn.is_unchanged() {
        turn.rest(Point::Idle);
        return "audit: refs has changed, later";
    }
    if !equal {
        turn.write(State::Live, counted);
    }
    let slot = 1 << turn.me().id.slot;
    let checks = turn.world.desk.checks & slot != 0;
    settled(turn);
    if checks {
        turn.check(Point::Idle);
    } else {
        turn.rest(Point::Idle);
    }
    if equal { "audit: pins are right" } else { "audit: correct the pins" }
}

/// The slot is no longer due.
fn settled(turn: &mut Turn) {
    let slot = 1 << turn.me().id.slot;
    turn.world.desk.due &= !slot;
    turn.world.desk.checks &= !slot;
}
