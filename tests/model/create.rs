//! Create, the client's half: claim the grant, then fill the memory.

use crate::mutation::Mutation;
use crate::process::{Op, Point, Turn};
use crate::world::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Count,
    Claim,
    Fill,
    /// A mutation only: the count of a late claim goes back without a check.
    Undo,
}

impl Step {
    /// Where the client goes on when it has the broker's reply.
    pub(crate) fn first(flaw: Option<Mutation>) -> Self {
        match flaw {
            Some(Mutation::LiveBeforeCount) => Self::Claim,
            Some(Mutation::FillsBeforeClaim) => Self::Fill,
            _ => Self::Count,
        }
    }
}

/// The reply left the object in `id`, `refs` as granted in `snap`, and the extent in `scratch`.
pub(crate) fn step(turn: &mut Turn, step: Step) -> &'static str {
    match step {
        Step::Count => {
            *turn.cell() += 1;
            let next = if turn.has(Mutation::LiveBeforeCount) { Step::Fill } else { Step::Claim };
            turn.go(Point::Create(next));
            "create: count"
        }
        Step::Claim => claim(turn),
        Step::Fill => {
            let me = *turn.me();
            turn.world.payload[usize::from(me.scratch)] = me.id;
            if turn.has(Mutation::FillsBeforeClaim) {
                turn.go(Point::Create(Step::Count));
            } else {
                done(turn);
            }
            "create: fill"
        }
        Step::Undo => {
            turn.uncount();
            turn.next();
            "create: uncount, no check"
        }
    }
}

fn claim(turn: &mut Turn) -> &'static str {
    let granted = State::Granted(turn.me().session);
    let any = turn.has(Mutation::ClaimsAnyGrant) && turn.slot().refs.state == granted;
    if any || turn.is_unchanged() {
        turn.write(State::Live, 0);
        match turn.flaw {
            Some(Mutation::LiveBeforeCount) => turn.go(Point::Create(Step::Count)),
            Some(Mutation::FillsBeforeClaim) => done(turn),
            _ => turn.go(Point::Create(Step::Fill)),
        }
        return "create: claim";
    }
    match turn.flaw {
        Some(Mutation::LiveBeforeCount) => turn.next(),
        Some(Mutation::LateClaimUnchecked) => turn.go(Point::Create(Step::Undo)),
        _ => turn.go(Point::Drop),
    }
    "create: claim, too late"
}

fn done(turn: &mut Turn) {
    let Op::Create { proxy } = turn.op() else { unreachable!() };
    let me = turn.me();
    me.proxies[proxy] = me.id;
    turn.next();
}
