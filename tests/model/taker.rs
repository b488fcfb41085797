//! The way to a proxy of an object that somebody else keeps alive. The hint and the count are the first steps of redeem and look-up too; the rest is for those who have an id and nothing else.

use crate::call;
use crate::mutation::Mutation;
use crate::name::Look;
use crate::process::{Op, Point, Turn};
use crate::ticket::Redeem;
use crate::world::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Hint,
    Count,
    Read,
    Generation,
    Bump,
}

impl Step {
    pub(crate) fn first(turn: &Turn) -> Self {
        if turn.has(Mutation::HintAfterCount) { Self::Count } else { Self::Hint }
    }
}

pub(crate) fn step(turn: &mut Turn, step: Step) -> &'static str {
    match step {
        Step::Hint => {
            turn.hint();
            if turn.has(Mutation::HintAfterCount) {
                after_count(turn);
            } else {
                after_hint(turn);
            }
            "take: hint"
        }
        Step::Count => {
            *turn.cell() += 1;
            let late = [Mutation::CountAfterLook, Mutation::LookerCountsLate, Mutation::RedeemerCountsLate];
            if turn.flaw.is_some_and(|flaw| late.contains(&flaw)) {
                turn.me().scratch = 0;
                taken(turn);
            } else if turn.has(Mutation::HintAfterCount) {
                turn.go(Point::Taker(Step::Hint));
            } else {
                after_count(turn);
            }
            "take: count"
        }
        Step::Read => {
            turn.me().snap = turn.slot().refs;
            let live = turn.slot().refs.state == State::Live || turn.has(Mutation::LivenessIgnored);
            match turn.flaw {
                _ if !live => gone(turn),
                Some(Mutation::GenerationFirst) => turn.go(Point::Taker(Step::Bump)),
                _ => turn.go(Point::Taker(Step::Generation)),
            }
            "take: read refs"
        }
        Step::Generation => {
            let same = turn.slot().generation == turn.me().id.generation;
            match turn.flaw {
                _ if !same && !turn.has(Mutation::GenerationIgnored) => gone(turn),
                Some(Mutation::GenerationFirst) => turn.go(Point::Taker(Step::Read)),
                _ => turn.go(Point::Taker(Step::Bump)),
            }
            "take: read generation"
        }
        Step::Bump => {
            if !turn.has(Mutation::TakerKeepsEpoch) {
                if !turn.is_unchanged() {
                    turn.me().snap = Default::default();
                    turn.go(Point::Taker(first_look(turn)));
                    return "take: refs has changed";
                }
                turn.bump();
            }
            turn.me().snap = Default::default();
            if turn.has(Mutation::CountAfterLook) {
                turn.go(Point::Taker(Step::Count));
            } else {
                taken(turn);
            }
            "take: bump"
        }
    }
}

fn after_hint(turn: &mut Turn) {
    let late = match turn.op() {
        Op::Redeem { .. } => Mutation::RedeemerCountsLate,
        Op::Look { .. } => Mutation::LookerCountsLate,
        _ => Mutation::CountAfterLook,
    };
    if turn.has(late) {
        after_count(turn);
    } else {
        turn.go(Point::Taker(Step::Count));
    }
}

fn after_count(turn: &mut Turn) {
    turn.go(match turn.op() {
        Op::Redeem { .. } => Point::Redeem(Redeem::Use),
        Op::Look { .. } => Point::Look(Look::Again),
        _ => Point::Taker(first_look(turn)),
    });
}

fn first_look(turn: &Turn) -> Step {
    if turn.has(Mutation::GenerationFirst) { Step::Generation } else { Step::Read }
}

/// The object lives and cannot die any more while this count stands.
pub(crate) fn taken(turn: &mut Turn) {
    let (me, op) = (*turn.me(), turn.op());
    let (Op::Look { proxy } | Op::Upgrade { proxy, .. } | Op::Redeem { proxy, .. }) = op else {
        turn.me().proxies[0] = me.id;
        return turn.go(Point::Call(call::Step::Lock));
    };
    turn.me().proxies[proxy] = me.id;
    turn.keep();
}

fn gone(turn: &mut Turn) {
    turn.me().snap = Default::default();
    if turn.has(Mutation::CountAfterLook) {
        turn.next();
    } else {
        turn.go(Point::Drop);
    }
}
