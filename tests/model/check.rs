//! Check: is the slot in hand without holders and without pins? Then it dies, by exactly one winner.

use crate::mutation::Mutation;
use crate::process::{Point, Turn};
use crate::world::{BROKER_SESSION, Id, Session, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Read,
    Hint,
    /// Is the session of the lowest row left free?
    Row,
    Cell,
    /// A mutation only: the bytes are cleared too early.
    Clear,
    Lane,
    Swap,
    Head,
    Next,
    Push,
    Unlane,
    Again,
}

/// `scratch` is first the set of rows left to read, then the head of the returned stack.
pub(crate) fn step(turn: &mut Turn, step: Step) -> &'static str {
    match step {
        Step::Read => {
            turn.me().snap = turn.slot().refs;
            if turn.slot().refs.state == State::Live && turn.slot().refs.pins == 0 {
                turn.go(Point::Check(Step::Hint));
                return "check: read refs";
            }
            turn.go_back();
            "check: pinned or not live"
        }
        Step::Hint => {
            let holders = turn.slot().holders;
            let mut rows = 0_u8;
            // The broker itself only has what hosted objects hold.
            let own = u8::from(turn.scene.hosted() != 0);
            for session in 0..BROKER_SESSION + own {
                if holders & turn.scene.hint(session) != 0 {
                    rows |= 1 << session;
                }
            }
            if turn.has(Mutation::SkipsHintedRow) && rows != 0 {
                rows &= !(1 << rows.ilog2());
            }
            scan(turn, rows);
            "check: read hint"
        }
        Step::Row => {
            let rows = turn.me().scratch;
            if turn.world.sessions[rows.trailing_zeros() as usize] == Session::Free {
                scan(turn, rows & (rows - 1));
            } else {
                turn.go(Point::Check(Step::Cell));
            }
            "check: read session"
        }
        Step::Cell => {
            let rows = turn.me().scratch;
            let slot = turn.me().id.slot;
            if turn.world.cells[rows.trailing_zeros() as usize][usize::from(slot)] != 0 {
                turn.go_back();
                return "check: somebody holds it";
            }
            scan(turn, rows & (rows - 1));
            "check: cell is zero"
        }
        Step::Clear => {
            let extent = turn.slot().extent;
            turn.world.payload[usize::from(extent)] = Id::NONE;
            turn.go(Point::Check(Step::Lane));
            "check: clear the bytes"
        }
        Step::Lane => {
            turn.announce();
            let late = turn.has(Mutation::DeadBeforeLane);
            turn.go(Point::Check(if late { Step::Head } else { Step::Swap }));
            "check: lane"
        }
        Step::Swap => swap(turn),
        Step::Head => {
            turn.me().scratch = turn.world.returned;
            turn.go(Point::Check(Step::Next));
            "return: read head"
        }
        Step::Next => {
            turn.slot().next = turn.me().scratch;
            turn.go(Point::Check(Step::Push));
            "return: write next"
        }
        Step::Push => push(turn),
        Step::Unlane => {
            turn.unannounce();
            if turn.has(Mutation::WinnerClearsLaneFirst) {
                turn.go(Point::Check(Step::Head));
            } else {
                turn.go_back();
            }
            "return: clear lane"
        }
        Step::Again => {
            turn.unannounce();
            turn.go(Point::Check(Step::Read));
            "check: clear lane, again"
        }
    }
}

fn scan(turn: &mut Turn, rows: u8) {
    turn.me().scratch = rows;
    let next = match turn.flaw {
        _ if rows != 0 => Step::Row,
        Some(Mutation::ClearsBeforeDead) => Step::Clear,
        Some(Mutation::DeadBeforeLane) => Step::Swap,
        _ => Step::Lane,
    };
    turn.go(Point::Check(next));
}

fn swap(turn: &mut Turn) -> &'static str {
    let refs = turn.slot().refs;
    let any = turn.has(Mutation::DeadWithoutEpoch) && refs.state == State::Live && refs.pins == 0;
    let session = turn.me().session;
    if any || turn.is_unchanged() {
        turn.write(State::Dead(session), 0);
        turn.me().snap = Default::default();
        turn.go(Point::Check(match turn.flaw {
            Some(Mutation::DeadBeforeLane) => Step::Lane,
            Some(Mutation::WinnerClearsLaneFirst) => Step::Unlane,
            _ => Step::Head,
        }));
        return "check: dead";
    }
    turn.me().snap = Default::default();
    let unannounced = turn.has(Mutation::DeadBeforeLane);
    turn.go(Point::Check(if unannounced { Step::Read } else { Step::Again }));
    "check: refs has changed"
}

fn push(turn: &mut Turn) -> &'static str {
    let head = turn.world.returned;
    if turn.me().scratch != head {
        turn.me().scratch = head;
        turn.go(Point::Check(Step::Next));
        return "return: head has changed";
    }
    turn.world.returned = turn.me().id.slot + 1;
    turn.me().scratch = 0;
    if turn.has(Mutation::WinnerClearsLaneFirst) {
        turn.go_back();
    } else {
        turn.go(Point::Check(Step::Unlane));
    }
    "return: push"
}
