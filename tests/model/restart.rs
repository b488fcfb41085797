//! A broker that starts again: what the old one was doing is unknown, only the shared words remain.

use crate::broker::{Finish, Take, Withdraw};
use crate::mutation::Mutation;
use crate::process::{Point, Turn};
use crate::world::{BROKER_SESSION, State, THREADS};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Heap,
    Slot,
    /// Does a lane of the living winner name the dead slot?
    Announced,
    Lane,
}

/// `cursor` is the slot, `scratch` the thread whose lane comes next.
pub(crate) fn step(turn: &mut Turn, step: Step) -> &'static str {
    match step {
        Step::Heap => heap(turn),
        Step::Slot => slot(turn),
        Step::Announced => announced(turn),
        Step::Lane => {
            turn.unannounce();
            let all = (1 << turn.scene.slots) - 1;
            turn.world.desk.due = all;
            if !turn.has(Mutation::RestartAuditsUnchecked) {
                turn.world.desk.checks = all;
            }
            turn.rest(Point::Idle);
            "restart: clear own lane"
        }
    }
}

/// The heap is what no slot has. Only the broker makes a slot free, or takes a free one: so this is one step.
fn heap(turn: &mut Turn) -> &'static str {
    let slots = &turn.world.slots[..usize::from(turn.scene.slots)];
    let used = slots.iter().filter(|slot| slot.refs.state != State::Free);
    let taken = used.fold(0, |taken, slot| taken | 1 << slot.extent);
    turn.world.desk.heap = ((1 << turn.scene.slots) - 1) & !taken;
    if turn.has(Mutation::RestartTakesLate) {
        turn.go(Point::Restart(Step::Slot));
        return "restart: build the heap";
    }
    turn.me().back = Point::Restart(Step::Slot);
    turn.go(Point::Take(Take::Swap));
    "restart: build the heap"
}

fn slot(turn: &mut Turn) -> &'static str {
    let slot = turn.world.desk.cursor;
    turn.me().forget();
    if slot == turn.scene.slots {
        turn.world.desk.cursor = 0;
        turn.me().back = Point::Restart(Step::Lane);
        let once = turn.has(Mutation::RestartTakesOnce);
        turn.go(if once { Point::Restart(Step::Lane) } else { Point::Take(Take::Swap) });
        return "restart: all slots seen";
    }
    turn.world.desk.cursor += 1;
    turn.me().id.slot = slot;
    turn.me().after = Point::Restart(Step::Slot);
    let state = turn.slot().refs.state;
    match state {
        State::Granted(_) if !turn.has(Mutation::RestartKeepsGrants) => {
            turn.go(Point::Withdraw(Withdraw::Swap));
        }
        State::Dead(winner) => {
            let left = winner == BROKER_SESSION || turn.world.is_gone(winner);
            if left || turn.has(Mutation::RestartFinishesAnnounced) {
                turn.go(Point::Finish(Finish::Memory));
            } else {
                turn.go(Point::Restart(Step::Announced));
            }
        }
        _ => {}
    }
    "restart: read a slot"
}

fn announced(turn: &mut Turn) -> &'static str {
    let (id, thread) = (turn.me().id, usize::from(turn.me().scratch));
    let State::Dead(winner) = turn.slot().refs.state else { unreachable!() };
    if turn.world.lanes[usize::from(winner)][thread] == id.slot + 1 {
        // Its winner returns it, or the audit finishes it when nobody announces it any more.
        turn.me().forget();
        turn.go(Point::Restart(Step::Slot));
        return "restart: announced, left";
    }
    turn.me().scratch += 1;
    if thread + 1 == THREADS.min(usize::from(turn.scene.lanes)) {
        turn.go(Point::Finish(Finish::Memory));
    }
    "restart: read a lane"
}
