//! The end of a dead session, by the broker.

use crate::broker::{Finish, Take, Withdraw, finish, withdraw};
use crate::mutation::Mutation;
use crate::process::{Point, Turn};
use crate::world::{Entry, Session, State};

/// Each step does one write of its kind and stays, or goes on with the next kind when there is none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Tickets,
    Rows,
    Deaths,
    Lanes,
    Grants,
    Number,
}

pub(crate) fn begin(turn: &mut Turn, session: u8) -> &'static str {
    turn.world.sessions[usize::from(session)] = Session::Dead;
    turn.world.desk.subject = session;
    if turn.has(Mutation::SweepTakesNothing) {
        turn.go(Point::Sweep(Step::Tickets));
        return "sweep: session is dead";
    }
    turn.me().back = Point::Sweep(Step::Tickets);
    turn.go(Point::Take(Take::Swap));
    "sweep: session is dead"
}

/// The session is `subject`, what its lanes name `noted`. Nobody but the broker writes its words any more.
pub(crate) fn step(turn: &mut Turn, step: Step) -> &'static str {
    match step {
        Step::Tickets => tickets(turn),
        Step::Rows => rows(turn),
        Step::Deaths => deaths(turn),
        Step::Lanes => lanes(turn),
        Step::Grants => grants(turn),
        Step::Number => number(turn),
    }
}

fn tickets(turn: &mut Turn) -> &'static str {
    let session = turn.world.desk.subject;
    for lane in turn.world.lanes[usize::from(session)] {
        turn.world.desk.noted |= (1 << lane) >> 1;
    }
    let builds = Entry::Building(session);
    let entry = turn.world.tickets.iter_mut().find(|ticket| ticket.entry == builds);
    if let Some(ticket) = entry
        && turn.flaw != Some(Mutation::BuildingEntryKept)
    {
        ticket.entry = Entry::Free;
        return "sweep: free an entry";
    }
    if turn.has(Mutation::NumberFreedFirst) {
        turn.world.sessions[usize::from(session)] = Session::Free;
    }
    let lanes_first = turn.has(Mutation::SweepClearsLanesFirst);
    turn.go(Point::Sweep(if lanes_first { Step::Lanes } else { Step::Rows }));
    if lanes_first { lanes(turn) } else { rows(turn) }
}

fn rows(turn: &mut Turn) -> &'static str {
    let session = turn.world.desk.subject;
    let bit = turn.scene.hint(session);
    while turn.world.desk.cursor < turn.scene.slots {
        let slot = turn.world.desk.cursor;
        turn.world.desk.cursor += 1;
        turn.me().id.slot = slot;
        if std::mem::take(turn.cell_of(session)) != 0 {
            if !turn.has(Mutation::ZeroedUnchecked) {
                turn.check(Point::Sweep(Step::Rows));
            }
            return "sweep: zero a cell";
        }
        // It may have died between its last count and the check that it owed.
        if turn.slot().holders & bit != 0 && !turn.has(Mutation::UnlessCountedUnchecked) {
            turn.check(Point::Sweep(Step::Rows));
            return "sweep: read the hint";
        }
    }
    turn.world.desk.cursor = 0;
    turn.go(Point::Sweep(Step::Deaths));
    deaths(turn)
}

fn deaths(turn: &mut Turn) -> &'static str {
    let won = State::Dead(turn.world.desk.subject);
    let noted = turn.world.desk.noted;
    let slots = turn.world.slots.iter().enumerate();
    let any = turn.has(Mutation::SweepFinishesAny);
    let is_won = |state| state == won || any && matches!(state, State::Dead(_));
    let dead = slots.map(|(slot, words)| (slot as u8, is_won(words.refs.state)));
    if let Some((slot, _)) = dead.into_iter().find(|&(slot, dead)| dead && noted & 1 << slot != 0) {
        turn.me().id.slot = slot;
        turn.me().after = Point::Sweep(Step::Deaths);
        return finish(turn, Finish::Memory);
    }
    let lanes_first = turn.has(Mutation::SweepClearsLanesFirst);
    turn.go(Point::Sweep(if lanes_first { Step::Grants } else { Step::Lanes }));
    if lanes_first { grants(turn) } else { lanes(turn) }
}

fn lanes(turn: &mut Turn) -> &'static str {
    let session = turn.world.desk.subject;
    let lanes = &mut turn.world.lanes[usize::from(session)];
    if let Some(lane) = lanes.iter_mut().find(|lane| **lane != 0) {
        *lane = 0;
        return "sweep: clear a lane";
    }
    if turn.has(Mutation::SweepClearsLanesFirst) {
        turn.go(Point::Sweep(Step::Rows));
        return rows(turn);
    }
    turn.go(Point::Sweep(Step::Grants));
    grants(turn)
}

fn grants(turn: &mut Turn) -> &'static str {
    let granted = State::Granted(turn.world.desk.subject);
    if let Some(slot) = turn.world.slots.iter().position(|slot| slot.refs.state == granted) {
        turn.me().id.slot = slot as u8;
        turn.me().after = Point::Sweep(Step::Grants);
        return withdraw(turn, Withdraw::Swap);
    }
    turn.go(Point::Sweep(Step::Number));
    number(turn)
}

/// The audits may have to wait for lanes of other sessions, dead ones too: they are left on the desk.
fn number(turn: &mut Turn) -> &'static str {
    turn.world.desk.due |= turn.world.desk.noted;
    turn.world.desk.checks |= turn.world.desk.noted;
    let session = usize::from(turn.world.desk.subject);
    turn.world.sessions[session] = Session::Free;
    let noted = turn.world.desk.noted;
    turn.rest(Point::Idle);
    if turn.has(Mutation::AuditBlocks) {
        turn.world.desk.noted = noted;
    }
    "sweep: number is free"
}
