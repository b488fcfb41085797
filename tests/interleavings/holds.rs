//! The protocol keeps its promises in every order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use loom::model::Builder;

use crate::flaw::{self, Flaw, Leaks};
use crate::{alarms, channels, scenes, waits};

/// Runs a scene in every order in which no more than `preemptions` times a thread is interrupted. `LOOM_MAX_PREEMPTIONS` says otherwise.
#[expect(clippy::print_stdout, reason = "the size of a scene is wanted when it is tuned")]
pub(crate) fn explore(scene: fn(), preemptions: usize, flaw: Option<Flaw>, leaks: Leaks) {
    flaw::plant(flaw, leaks);
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    let (begin, orders) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&orders);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        scene();
    });
    println!("{} orders in {:.1?}", orders.load(Ordering::Relaxed), begin.elapsed());
}

/// A scene, and how many preemptions with the full fence and without: as many as take seconds.
macro_rules! holds {
    ($($name:ident: $file:ident::$scene:ident, $preemptions:literal $without:literal;)*) => {
        $(#[test]
        fn $name() {
            explore($file::$scene, $preemptions, None, Leaks::Forbidden);
        })*

        /// What loom makes of the full fence is too much: who touches what must not rest on it.
        mod without_the_full_fence {
            $(#[test]
            fn $name() {
                use super::{Flaw, Leaks, explore};
                use crate::$file;
                explore($file::$scene, $without, Some(Flaw::WeakFence), Leaks::Allowed);
            })*
        }
    };
}

holds! {
    what_comes_home_is_made_anew_once: scenes::home_against_last_drop, 2 2;
    a_stale_id_never_takes_what_was_made_anew: scenes::stale_take_against_anew, 2 2;
    of_two_last_drops_one_kills: scenes::two_last_drops, 3 3;
    a_taker_holds_a_live_object_or_none: scenes::take_against_last_drop, 3 3;
    a_ticket_is_redeemed_or_cancelled: scenes::redeem_against_cancel, 2 2;
    a_ticket_keeps_its_object: scenes::redeem_against_last_drop, 3 3;
    siblings_do_not_kill_what_one_of_them_holds: scenes::clone_and_drop_among_siblings, 2 2;
    a_take_beside_a_drop_of_the_same_session_is_checked: scenes::take_beside_a_sibling, 2 2;
    a_stale_id_never_takes_the_next_object: scenes::stale_take_against_reuse, 2 1;
    a_stale_attempt_does_not_leak_the_next_object: scenes::stale_take_against_creation, 2 2;
    a_hint_of_the_object_before_is_not_believed: scenes::take_after_reuse, 2 2;
    what_two_return_comes_back_once: scenes::two_returns_against_taking_back, 3 3;
    a_slot_whose_lane_is_idle_is_on_the_stack: scenes::restart_against_return, 3 3;
    a_sweep_and_a_last_drop_do_not_both_stop: scenes::sweep_against_last_drop, 3 3;
    what_is_sent_is_received_whole_and_once: channels::hand_over, 2 2;
    of_two_that_receive_one_gets_it: channels::two_receive, 2 2;
    of_two_that_send_one_keeps_what_it_has: channels::two_send, 2 2;
    an_audit_beside_a_reception_counts_right: channels::audit_against_reception, 2 1;
    one_that_comes_is_not_taken_for_gone: channels::one_leaves_and_one_comes, 3 3;
}

// Not without the full fence, as `caught` shows: R110 is a fence on either side, of which one is the first.

#[test]
fn a_name_gives_a_live_object_or_none() {
    explore(scenes::look_up_against_removal, 2, None, Leaks::Forbidden);
}

// Nor these.

#[test]
fn of_two_that_leave_one_says_so() {
    explore(channels::two_leave, 3, None, Leaks::Forbidden);
}

#[test]
fn a_ticket_is_ended_at_its_time_by_a_broker_that_looks_meanwhile() {
    explore(alarms::issue_against_look, 4, None, Leaks::Forbidden);
}

// Nor these without the full fence: waiting rests on it, as `caught` shows.

#[test]
fn nobody_sleeps_on_when_what_he_waits_for_is_there() {
    explore(waits::one_for_the_other, 4, None, Leaks::Forbidden);
}

#[test]
fn nobody_sleeps_on_because_another_waits_at_the_same_event() {
    explore(waits::two_at_one_event, 3, None, Leaks::Forbidden);
}

#[test]
fn two_that_wake_at_once_wake_all() {
    explore(waits::two_wake_two, 2, None, Leaks::Forbidden);
}

#[test]
fn one_that_dies_while_it_wakes_leaves_nobody_asleep() {
    explore(waits::one_dies_while_it_wakes, 3, None, Leaks::Forbidden);
}
