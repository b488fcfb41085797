//! Each mistake is noticed in some scene, and by what it breaks.

use crate::flaw::{Flaw, Leaks};
use crate::holds::explore;
use crate::{alarms, channels, scenes, waits};

macro_rules! caught {
    ($($name:ident: $flaw:ident, $file:ident::$scene:ident, $expected:literal;)*) => {
        $(#[test]
        #[should_panic(expected = $expected)]
        fn $name() {
            explore($file::$scene, 2, Some(Flaw::$flaw), Leaks::Forbidden);
        })*
    };
}

caught! {
    leak_without_the_full_fence: WeakFence, scenes::two_last_drops, "leaked";
    leak_after_a_sweep_without_the_full_fence: WeakFence, scenes::sweep_against_last_drop, "leaked";
    read_of_freed_memory_when_loads_do_not_acquire: LooseLoads, scenes::two_last_drops, "Causality violation";
    stale_take_when_loads_do_not_acquire: LooseLoads, scenes::stale_take_against_creation, "the first object is gone";
    read_of_freed_memory_when_drops_do_not_release: LooseSubtractions, scenes::clone_and_drop_among_siblings, "Causality violation";
    read_of_freed_memory_when_a_bump_does_not_release: LooseSwaps, scenes::take_against_last_drop, "Causality violation";
    return_of_a_wrong_slot_when_swaps_do_not_release: LooseSwaps, scenes::two_returns_against_taking_back, "a slot on the stack";
    idle_lane_too_early_when_its_store_does_not_release: LooseStores, scenes::restart_against_return, "not on the stack";
    read_of_freed_memory_when_counted_late: CountsLate, scenes::take_against_last_drop, "Causality violation";
    leak_when_an_attempt_ends_without_a_check: ForgetsCheck, scenes::stale_take_against_creation, "leaked";
    leak_when_a_sweep_does_not_check: ForgetsCheck, scenes::sweep_against_last_drop, "leaked";
    read_of_cleared_memory_when_cleared_before_death: ClearsEarly, scenes::take_against_last_drop, "Causality violation";
    missing_pin_when_swaps_do_not_release: LooseSwaps, channels::hand_over, "a pin is missing";
    too_few_pins_when_an_audit_looks_at_lanes_once: LooksOnce, channels::audit_against_reception, "a pin is missing";
    nobody_says_that_all_are_gone_without_the_full_fence: WeakFence, channels::two_leave, "the state says something else";
    stale_take_when_a_generation_is_used_again: KeepsGeneration, scenes::stale_take_against_creation, "the first object is gone";
    sleeper_for_ever_without_the_full_fence: WeakFence, waits::one_for_the_other, "deadlock";
    sleeper_for_ever_on_the_mark_of_another: WakesUncounted, waits::two_at_one_event, "deadlock";
    ticket_for_ever_without_the_full_fence: WeakFence, alarms::issue_against_look, "nobody ends";
    ticket_for_ever_when_the_look_is_too_early: LooksEarly, alarms::issue_against_look, "nobody ends";
    sleeper_for_ever_when_the_mark_of_a_dead_one_is_trusted: TrustsMark, waits::one_dies_while_it_wakes, "deadlock";
    torn_message_when_its_word_does_not_release: LooseStores, waits::one_for_the_other, "Causality violation";
    torn_message_when_a_look_does_not_acquire: LooseLoads, waits::one_for_the_other, "Causality violation";
    live_object_on_a_stack_when_swaps_do_not_release: LooseSwaps, scenes::home_against_last_drop, "nobody else takes it";
    slot_that_nobody_brings_home_without_the_full_fence: WeakFence, scenes::home_against_last_drop, "LOST";
    stale_take_when_a_slot_is_made_anew_with_its_generation: KeepsGeneration, scenes::stale_take_against_anew, "Causality violation";
}

#[test]
#[should_panic(expected = "Causality violation")]
fn read_of_freed_memory_without_the_full_fences_of_a_name() {
    explore(scenes::look_up_against_removal, 1, Some(Flaw::WeakFence), Leaks::Allowed);
}
