//! Each mistake is noticed in some scene, and by what it breaks.

use crate::flaw::{Flaw, Leaks};
use crate::holds::explore;
use crate::scenes;

macro_rules! caught {
    ($($name:ident: $flaw:ident, $scene:ident, $expected:literal;)*) => {
        $(#[test]
        #[should_panic(expected = $expected)]
        fn $name() {
            explore(scenes::$scene, 2, Some(Flaw::$flaw), Leaks::Forbidden);
        })*
    };
}

caught! {
    leak_without_the_full_fence: WeakFence, two_last_drops, "leaked";
    leak_after_a_sweep_without_the_full_fence: WeakFence, sweep_against_last_drop, "leaked";
    read_of_freed_memory_when_loads_do_not_acquire: LooseLoads, two_last_drops, "Causality violation";
    stale_take_when_loads_do_not_acquire: LooseLoads, stale_take_against_creation, "the first object is gone";
    read_of_freed_memory_when_drops_do_not_release: LooseSubtractions, clone_and_drop_among_siblings, "Causality violation";
    read_of_freed_memory_when_a_bump_does_not_release: LooseSwaps, take_against_last_drop, "Causality violation";
    return_of_a_wrong_slot_when_swaps_do_not_release: LooseSwaps, two_returns_against_taking_back, "a slot on the stack";
    idle_lane_too_early_when_its_store_does_not_release: LooseStores, restart_against_return, "not on the stack";
    read_of_freed_memory_when_counted_late: CountsLate, take_against_last_drop, "Causality violation";
    leak_when_an_attempt_ends_without_a_check: ForgetsCheck, stale_take_against_creation, "leaked";
    leak_when_a_sweep_does_not_check: ForgetsCheck, sweep_against_last_drop, "leaked";
    read_of_cleared_memory_when_cleared_before_death: ClearsEarly, take_against_last_drop, "Causality violation";
    stale_take_when_a_generation_is_used_again: KeepsGeneration, stale_take_against_creation, "the first object is gone";
    live_object_on_a_stack_when_swaps_do_not_release: LooseSwaps, home_against_last_drop, "nobody else takes it";
    slot_that_nobody_brings_home_without_the_full_fence: WeakFence, home_against_last_drop, "LOST";
    stale_take_when_a_slot_is_made_anew_with_its_generation: KeepsGeneration, stale_take_against_anew, "Causality violation";
}
