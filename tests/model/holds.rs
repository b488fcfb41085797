//! The protocol keeps its promises in every scene, also where a rule turns out not to be needed.

use std::time::Instant;

use crate::explorer::{Model, explore};
use crate::mutation::Mutation;
use crate::protocol::Protocol;
use crate::ring::Calling;
use crate::scene::Scene;
use crate::scenes;

/// Scenes are meant to be run at every build.
const LIMIT: usize = 3_000_000;

#[expect(clippy::print_stdout, reason = "the size of a scene is wanted when it is tuned")]
pub(crate) fn holds(model: &impl Model) {
    let begin = Instant::now();
    let report = explore(model, LIMIT);
    let time = begin.elapsed();
    println!("{} states, {} of them quiet, in {time:.1?}", report.states, report.quiet);
    assert!(report.violation.is_none(), "{:?}", report.violation);
    assert!(report.quiet > 0, "nothing ever ends");
}

macro_rules! holds {
    ($($name:ident: $scene:ident,)*) => {
        $(#[test]
        fn $name() {
            holds(&Protocol { scene: scenes::$scene, flaw: None });
        })*
    };
}

holds! {
    handover: HANDOVER,
    handover_more_kills: HANDOVER_MORE_KILLS,
    shared_ticket: SHARED_TICKET,
    last_use: LAST_USE,
    hand_on: MOVE,
    hand_on_one_bit: MOVE_ONE_BIT,
    name: NAME,
    weak: WEAK,
    name_more_kills: NAME_MORE_KILLS,
    publish: PUBLISH,
    grant: GRANT,
    stale: STALE,
    entry: ENTRY,
    twins: TWINS,
    threads: THREADS,
    shared_cell: SHARED_CELL,
    number: NUMBER,
    returned: RETURN,
    issuers: ISSUERS,
    cycle: CYCLE,
    cycle_handover: CYCLE_HANDOVER,
    cycle_ticket: CYCLE_TICKET,
    cycle_name: CYCLE_NAME,
    cycle_unnamed: CYCLE_UNNAMED,
    cycle_weak: CYCLE_WEAK,
    carry: CARRY,
    carry_kill: CARRY_KILL,
    carry_self: CARRY_SELF,
    carry_weak: CARRY_WEAK,
    knot: KNOT,
    result: RESULT,
    fork: FORK,
    fork_threads: FORK_THREADS,
    fork_last: FORK_LAST,
    fork_takes: FORK_TAKES,
    channel: CHANNEL,
    channel_full: CHANNEL_FULL,
    channel_receivers: CHANNEL_RECEIVERS,
    channel_back: CHANNEL_BACK,
    channel_audit: CHANNEL_AUDIT,
    channel_death: CHANNEL_DEATH,
    channel_ticket: CHANNEL_TICKET,
}

#[test]
fn slab_home() {
    holds(&scenes::SLAB_HOME);
}

#[test]
fn slab_give() {
    holds(&scenes::SLAB_GIVE);
}

#[test]
fn slab_number() {
    holds(&scenes::SLAB_NUMBER);
}

#[test]
fn slab_weak() {
    holds(&scenes::SLAB_WEAK);
}

#[test]
fn array() {
    holds(&scenes::ARRAY);
}

#[test]
fn seal() {
    holds(&scenes::SEAL);
}

#[test]
fn value() {
    holds(&scenes::VALUE);
}

#[test]
fn seats() {
    holds(&scenes::SEATS);
}

#[test]
fn writer_number() {
    holds(&scenes::WRITER_NUMBER);
}

/// Rules that no scene needs, because another one is enough. Should one of these fail one day, its rule
/// has found a reason, and its test moves to those that are caught.
fn holds_without(mutation: Mutation, scenes: &[Scene]) {
    for scene in scenes {
        holds(&Protocol { scene: *scene, flaw: Some(mutation) });
    }
}

/// Whoever could miss the count compares `refs` after it has read the hint, and the bump comes later than both.
#[test]
fn a_taker_may_count_before_it_hints() {
    let scenes = [scenes::HANDOVER_MORE_KILLS, scenes::LAST_USE, scenes::NAME_MORE_KILLS];
    holds_without(Mutation::HintAfterCount, &scenes);
}

/// The broker audits, and it does not remove references meanwhile.
#[test]
fn the_broker_may_remove_without_a_bump() {
    let scenes = [scenes::SHARED_TICKET, scenes::PUBLISH, scenes::NAME_MORE_KILLS];
    holds_without(Mutation::RemoverKeepsEpoch, &scenes);
}

/// Nobody else audits, and a broker that starts again audits everything.
#[test]
fn the_broker_may_remove_unannounced() {
    let scenes = [scenes::SHARED_TICKET, scenes::PUBLISH, scenes::NAME_MORE_KILLS];
    holds_without(Mutation::BrokerUnannounced, &scenes);
}

/// A broker that starts again finishes every slot whose winner is dead, announced or not.
#[test]
fn the_sweep_may_clear_lanes_first() {
    let scenes = [scenes::HANDOVER_MORE_KILLS, scenes::RETURN, scenes::GRANT, scenes::NAME_MORE_KILLS];
    holds_without(Mutation::SweepClearsLanesFirst, &scenes);
}

/// What was on the stack from the start is freed as a dead slot that nobody announces.
#[test]
fn a_restart_may_take_the_stack_only_once_at_its_end() {
    let scenes = [scenes::HANDOVER_MORE_KILLS, scenes::RETURN, scenes::GRANT, scenes::NAME_MORE_KILLS];
    holds_without(Mutation::RestartTakesLate, &scenes);
}

/// Whoever has taken a reference meanwhile is noticed by the kill, which swaps `refs` from the value read before the rows.
#[test]
fn a_collector_may_kill_without_a_second_look() {
    let scenes = [scenes::CYCLE_TICKET, scenes::CYCLE_UNNAMED, scenes::CYCLE_WEAK, scenes::CARRY_WEAK, scenes::KNOT];
    holds_without(Mutation::CollectsUnconfirmed, &scenes);
}

/// The first look spares objects in use the freezing, and nothing else.
#[test]
fn a_collector_may_suspect_all() {
    let scenes = [scenes::CYCLE_TICKET, scenes::CYCLE_UNNAMED, scenes::CYCLE_WEAK, scenes::CARRY_WEAK, scenes::KNOT];
    holds_without(Mutation::SuspectsAll, &scenes);
}

#[test]
fn call_ring() {
    holds(&Calling { calls: 4, kills: 2, flaw: None });
}
