//! A fork: the row of a process is copied while its other threads go on, and the child lives on the copy.

use crate::mutation::Mutation;
use crate::process::{Op, Point, Turn};
use crate::world::*;

/// What makes a cell one of a process that is about to fork: it is no zero, and a clone sees it.
pub(crate) const LIFT: u8 = 64;

/// What the processes that fork and are forked know beside the region. In a scene there is one fork.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Forking {
    /// Session + 1 of the child, as long as the parent has its end of the child's connection.
    pub(crate) prepared: u8,
    /// Session + 1 of the child that has been born.
    pub(crate) born: u8,
    /// Private to the parent: takers look at it.
    pub(crate) on: bool,
    /// Private to the parent: threads that are counting for the child.
    pub(crate) late: u8,
    /// A mutation only: what the child counts by itself, by slot.
    pub(crate) owed: [u8; SLOTS],
}

/// The forking thread. The slot in hand is the one whose cell is copied or put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Begin,
    Read,
    Lift,
    Hint,
    Count,
    Bump,
    Split,
    Over,
    Wait,
    Settle,
    Close,
    /// A mutation only: the child counts what it has.
    Owed,
}

/// Another thread of the parent, which has counted a proxy that it does not have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Late {
    Look,
    Enter,
    Again,
    Hint,
    Count,
    Bump,
    Leave,
}

impl Turn<'_> {
    /// The taken proxy, whose place is set, is the program's: after a look whether its process forks.
    pub(crate) fn keep(&mut self) {
        let session = self.me().session;
        let forks = self.scene.programs[0].contains(&Op::Fork) && session == self.world.actors[0].session;
        if forks && self.actor != 0 && !self.has(Mutation::TakersIgnoreForks) {
            self.go(Point::Late(Late::Look));
        } else {
            self.next();
        }
    }

    fn child(&self) -> u8 {
        self.world.fork.prepared - 1
    }

    /// The copy of the cell in hand.
    fn copy(&mut self) -> &mut u8 {
        let child = self.child();
        self.cell_of(child)
    }
}

/// The broker's part: a session that nobody has yet.
pub(crate) fn prepare(turn: &mut Turn, client: u8, number: usize) {
    turn.world.sessions[number] = Session::Active;
    turn.world.fork.prepared = number as u8 + 1;
    turn.world.actors[usize::from(client)].point = Point::Fork(Step::Begin);
}

pub(crate) fn step(turn: &mut Turn, step: Step) -> Option<&'static str> {
    let late = turn.has(Mutation::ChildCountsItself);
    Some(match step {
        Step::Begin => {
            turn.world.fork.on = true;
            turn.go(Point::Fork(Step::Read));
            "fork: say so"
        }
        Step::Read => {
            if turn.me().id.slot == turn.scene.slots {
                turn.me().id = Id::NONE;
                turn.go(Point::Fork(Step::Split));
            } else if *turn.cell() == 0 {
                turn.me().id.slot += 1;
            } else {
                turn.go(Point::Fork(Step::Lift));
            }
            "fork: read a cell"
        }
        Step::Lift => {
            turn.me().scratch = *turn.cell();
            if !turn.has(Mutation::NotLifted) {
                *turn.cell() += LIFT;
            }
            if late {
                let (slot, count) = (turn.me().id.slot, turn.me().scratch);
                turn.world.fork.owed[usize::from(slot)] = count;
                turn.me().id.slot += 1;
            }
            turn.go(Point::Fork(if late { Step::Read } else { Step::Hint }));
            "fork: lift a cell"
        }
        Step::Hint => {
            let bit = turn.scene.hint(turn.child());
            if !turn.has(Mutation::ChildUnhinted) {
                turn.slot().holders |= bit;
            }
            turn.go(Point::Fork(Step::Count));
            "fork: hint"
        }
        Step::Count => {
            *turn.copy() += turn.me().scratch;
            turn.go(Point::Fork(Step::Bump));
            "fork: count"
        }
        Step::Bump => {
            if turn.slot().refs.state == State::Live {
                if !turn.has(Mutation::ChildUnbumped) {
                    turn.bump();
                }
            } else {
                *turn.copy() -= turn.me().scratch;
            }
            turn.me().id.slot += 1;
            turn.go(Point::Fork(Step::Read));
            "fork: bump"
        }
        Step::Split => {
            split(turn);
            turn.go(Point::Fork(Step::Over));
            "fork"
        }
        Step::Over => {
            turn.world.fork.on = false;
            turn.go(Point::Fork(Step::Wait));
            "fork: over"
        }
        Step::Wait if turn.world.fork.late != 0 => return None,
        Step::Wait => {
            turn.go(Point::Fork(Step::Settle));
            "fork: nobody counts for the child"
        }
        Step::Settle => {
            if turn.me().id.slot == turn.scene.slots {
                turn.go(Point::Fork(Step::Close));
                return Some("fork: all cells are back");
            }
            if let Some(count) = turn.cell().checked_sub(LIFT) {
                *turn.cell() = count;
                if count == 0 && !turn.has(Mutation::SettledUnchecked) {
                    turn.check(Point::Fork(Step::Settle));
                    return Some("fork: put back a cell, the last has gone");
                }
            }
            turn.me().id.slot += 1;
            "fork: put back a cell"
        }
        Step::Close => {
            turn.world.fork.prepared = 0;
            turn.next();
            "fork: close the child's end"
        }
        Step::Owed => {
            for slot in 0..turn.scene.slots {
                turn.me().id.slot = slot;
                let count = std::mem::take(&mut turn.world.fork.owed[usize::from(slot)]);
                if count != 0 {
                    turn.hint();
                    *turn.cell() += count;
                    turn.bump();
                }
            }
            turn.begin();
            "child: count"
        }
    })
}

/// The child has what the threads of its parent have at this moment, apart from what they are just getting.
fn split(turn: &mut Turn) {
    const CHILD: usize = CLIENTS - 1;
    let parent = turn.me().session;
    let session = turn.child();
    turn.world.fork.born = session + 1;
    let mut proxies = [Id::NONE; PROXIES];
    for (thread, actor) in turn.world.actors.iter().enumerate() {
        if actor.session != parent || !actor.alive {
            continue;
        }
        let getting = matches!(actor.point, Point::Redeem(_) | Point::Late(_));
        let place = match turn.scene.programs[thread].get(usize::from(actor.op)) {
            Some(Op::Redeem { proxy, .. } | Op::Look { proxy } | Op::Clone { to: proxy, .. }) if getting => *proxy,
            _ => PROXIES,
        };
        let has = |(place, id): (usize, &Id)| id.is_some().then_some((place, *id));
        for (at, id) in actor.proxies.iter().enumerate().filter_map(has).filter(|(at, _)| *at != place) {
            proxies[at] = id;
        }
    }
    let child = &mut turn.world.actors[CHILD];
    (child.alive, child.session, child.thread, child.proxies) = (true, session, 0, proxies);
    let parent = std::mem::replace(&mut turn.actor, CHILD);
    turn.begin();
    if turn.has(Mutation::ChildCountsItself) {
        turn.go(Point::Fork(Step::Owed));
    }
    turn.actor = parent;
}

pub(crate) fn late(turn: &mut Turn, step: Late) -> &'static str {
    let (next, label) = match step {
        Late::Look if turn.world.fork.on => (Late::Enter, "late: the process forks"),
        Late::Look => {
            turn.next();
            return "late: no fork";
        }
        Late::Enter => {
            turn.world.fork.late += 1;
            (Late::Again, "late: enter")
        }
        Late::Again if turn.world.fork.on => (Late::Hint, "late: it still forks"),
        Late::Again => (Late::Leave, "late: it has forked"),
        Late::Hint => {
            let bit = turn.scene.hint(turn.child());
            turn.slot().holders |= bit;
            (Late::Count, "late: hint")
        }
        Late::Count => {
            *turn.copy() += 1;
            (Late::Bump, "late: count")
        }
        Late::Bump => {
            turn.bump();
            (Late::Leave, "late: bump")
        }
        Late::Leave => {
            turn.world.fork.late -= 1;
            turn.next();
            return "late: leave";
        }
    };
    turn.go(Point::Late(next));
    label
}
