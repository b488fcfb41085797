//! The way to a proxy of an object that somebody else keeps alive: the first steps of redeem and look-up.

use crate::call;
use crate::mutation::Mutation;
use crate::process::{Op, Point, Turn};
use crate::ticket::Redeem;
use crate::world::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Hint,
    Count,
    /// Only a redeemer may come to remove a reference.
    Lane,
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
            if turn.has(Mutation::CountAfterLook) {
                turn.me().scratch = 1;
                taken(turn);
            } else if turn.has(Mutation::HintAfterCount) {
                turn.go(Point::Taker(Step::Hint));
            } else {
                after_count(turn);
            }
            "take: count"
        }
        Step::Lane => {
            turn.announce();
            turn.go(Point::Taker(first_look(turn)));
            "take: lane"
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
    if turn.has(Mutation::CountAfterLook) {
        after_count(turn);
    } else {
        turn.go(Point::Taker(Step::Count));
    }
}

fn after_count(turn: &mut Turn) {
    let look = first_look(turn);
    let redeem = matches!(turn.op(), Op::Redeem { .. });
    turn.go(Point::Taker(if redeem { Step::Lane } else { look }));
}

fn first_look(turn: &Turn) -> Step {
    if turn.has(Mutation::GenerationFirst) { Step::Generation } else { Step::Read }
}

/// The object lives and cannot die any more while this count stands.
fn taken(turn: &mut Turn) {
    match turn.op() {
        Op::Look { proxy } | Op::Upgrade { proxy, .. } => {
            let me = turn.me();
            me.proxies[proxy] = me.id;
            turn.keep();
        }
        Op::Serve { .. } => {
            let me = turn.me();
            me.proxies[0] = me.id;
            turn.go(Point::Call(call::Step::Lock));
        }
        _ => {
            let next = Redeem::first(turn);
            turn.go(Point::Redeem(next));
        }
    }
}

fn gone(turn: &mut Turn) {
    turn.me().snap = Default::default();
    if matches!(turn.op(), Op::Redeem { .. }) {
        turn.go(Point::Redeem(Redeem::Gone));
    } else if turn.has(Mutation::CountAfterLook) {
        turn.begin();
    } else {
        turn.go(Point::Drop);
    }
}
