//! Each mistake breaks a promise in some scene: the test is named after what would be lost.

use crate::explorer::{Model, explore};
use crate::lock::Locking;
use crate::mutation::Mutation;
use crate::protocol::Protocol;
use crate::ring::Calling;
use crate::scenes;
use crate::seats::Seats;
use crate::slab::Slabs;

const LIMIT: usize = 3_000_000;

#[expect(clippy::print_stdout, reason = "the trace says what the rule is for")]
fn is_caught(model: &impl Model, flaw: Mutation) {
    let report = explore(model, LIMIT);
    assert!(report.violation.is_some(), "{flaw:?} changes nothing in {} states", report.states);
    if let Some(violation) = report.violation {
        println!("{flaw:?}: {violation:?}");
    }
}

macro_rules! caught {
    ($($name:ident: $flaw:ident in $scene:ident,)*) => {
        $(#[test]
        fn $name() {
            let flaw = Mutation::$flaw;
            is_caught(&Protocol { scene: scenes::$scene, flaw: Some(flaw) }, flaw);
        })*
    };
}

macro_rules! caught_locking {
    ($($name:ident: $flaw:ident in $scene:ident,)*) => {
        $(#[test]
        fn $name() {
            let flaw = Mutation::$flaw;
            is_caught(&Locking { flaw: Some(flaw), ..scenes::$scene }, flaw);
        })*
    };
}

macro_rules! caught_in_slabs {
    ($($name:ident: $flaw:ident in $scene:ident,)*) => {
        $(#[test]
        fn $name() {
            let flaw = Mutation::$flaw;
            is_caught(&Slabs { flaw: Some(flaw), ..scenes::$scene }, flaw);
        })*
    };
}

caught! {
    use_after_free_when_live_before_the_count: LiveBeforeCount in TWINS,
    two_owners_when_any_grant_is_claimed: ClaimsAnyGrant in TWINS,
    foreign_bytes_written_when_filled_before_the_claim: FillsBeforeClaim in TWINS,
    use_after_free_when_check_skips_a_hinted_row: SkipsHintedRow in MOVE,
    lost_slot_when_dead_before_the_lane: DeadBeforeLane in TWINS,
    use_after_free_when_dead_without_the_epoch: DeadWithoutEpoch in THREADS,
    foreign_bytes_read_when_cleared_before_dead: ClearsBeforeDead in THREADS,
    slot_returned_while_in_use_when_freed_unreturned: FreesUnreturned in TWINS,
    too_few_pins_when_the_ticket_is_live_first: TicketBeforePin in HANDOVER,
    use_after_free_when_a_taker_sets_no_hint: NoHint in HANDOVER,
    use_after_free_when_counted_after_the_look: CountAfterLook in NAME,
    use_after_free_when_liveness_is_ignored: LivenessIgnored in NAME,
    another_object_when_the_generation_is_ignored: GenerationIgnored in NAME,
    another_object_when_the_generation_is_read_first: GenerationFirst in NAME,
    use_after_free_when_a_taker_keeps_the_epoch: TakerKeepsEpoch in NAME,
    too_few_pins_when_unpinned_before_the_claim: UnpinBeforeClaim in HANDOVER,
    too_few_pins_when_unpinned_before_the_name_is_cleared: UnpinBeforeRemoval in NAME,
    leak_when_a_zeroed_cell_is_not_checked: ZeroedUnchecked in TWINS,
    leak_when_only_zeroed_cells_are_checked: UnlessCountedUnchecked in HANDOVER_MORE_KILLS,
    lost_slot_when_the_winner_clears_its_lane_first: WinnerClearsLaneFirst in TWINS,
    pin_left_when_the_redeemer_clears_its_lane_first: RedeemerClearsLaneFirst in HANDOVER_MORE_KILLS,
    stuck_broker_when_a_number_is_free_first: NumberFreedFirst in NUMBER,
    too_few_pins_when_the_audit_ignores_lanes: AuditIgnoresLanes in HANDOVER_MORE_KILLS,
    stuck_broker_when_the_audit_blocks: AuditBlocks in LAST_USE,
    too_few_pins_when_the_audit_overwrites: AuditOverwrites in ISSUERS,
    too_few_pins_when_the_serial_is_ignored: SerialIgnored in ENTRY,
    lost_entry_when_its_builder_dies: BuildingEntryKept in HANDOVER_MORE_KILLS,
    slot_returned_while_in_use_when_the_sweep_takes_nothing: SweepTakesNothing in GRANT,
    lost_slot_when_a_restart_keeps_grants: RestartKeepsGrants in GRANT,
    slot_returned_while_in_use_when_a_restart_takes_once: RestartTakesOnce in STALE,
    slot_returned_while_in_use_when_a_restart_finishes_announced: RestartFinishesAnnounced in STALE,
    lost_slot_when_a_restart_forgets_announced: RestartForgetsAnnounced in TWINS,
    leak_when_a_restart_does_not_check: RestartAuditsUnchecked in PUBLISH,
    pin_left_when_an_equal_count_is_believed: EqualCountBelieved in ISSUERS,
    leak_when_a_late_claim_is_not_checked: LateClaimUnchecked in THREADS,
    slot_returned_while_in_use_when_the_sweep_finishes_any: SweepFinishesAny in STALE,
    slot_freed_twice_when_the_sweep_finishes_garbage: SweepFinishesAny in CYCLE,
    too_few_pins_when_the_audit_ignores_own_lanes: AuditIgnoresOwnLanes in RESULT,
    lost_contents_when_weakly_known_garbage_is_not_killed: CollectsAlive in CYCLE_WEAK,
    lost_contents_when_unnamed_garbage_is_not_killed: CollectsAlive in CYCLE_UNNAMED,
    lost_contents_when_garbage_in_a_call_is_not_killed: CollectsAlive in KNOT,
    dead_proxy_when_killed_from_any_value: KillsAnyValue in CYCLE_WEAK,
    dead_object_when_what_was_killed_in_vain_stays_dead: KilledStayDead in CYCLE_WEAK,
    dead_proxy_when_unlocked_before_revived: RevivesUnlocked in CARRY_WEAK,
    lost_contents_when_nothing_is_confirmed: NothingConfirmed in CARRY,
    dead_object_when_notes_are_believed: NotesBelieved in CARRY_SELF,
    dead_proxy_when_frozen_one_by_one: FreezesOneByOne in CARRY_WEAK,
    dead_object_when_a_collector_ignores_pins: CollectsPinned in CYCLE_TICKET,
    dead_proxy_when_a_collector_reads_its_own_row_only: ReadsOwnRowOnly in CYCLE,
    dead_object_when_the_reached_are_let_go_alone: ReachedAlone in CARRY_SELF,
    use_after_free_when_a_forked_child_counts_itself: ChildCountsItself in FORK,
    use_after_free_when_the_hint_does_not_name_a_child: ChildUnhinted in FORK,
    use_after_free_when_a_copied_count_moves_no_epoch: ChildUnbumped in FORK,
    use_after_free_when_clones_during_a_fork_go_unseen: NotLifted in FORK_THREADS,
    use_after_free_when_takers_do_not_see_a_fork: TakersIgnoreForks in FORK_TAKES,
    leak_when_a_cell_that_is_put_back_is_not_checked: SettledUnchecked in FORK_LAST,
    use_after_free_when_an_unclaimed_session_is_ended: UnclaimedEnded in FORK,
    stuck_receiver_when_the_tail_is_moved_on_first: TailBeforeFill in CHANNEL,
    too_few_pins_when_stored_before_the_pin: StoredBeforePin in CHANNEL,
    leak_when_a_sender_gives_its_count_back_late: SenderUncountsLate in CHANNEL,
    use_after_free_when_a_receiver_counts_late: ReceiverCountsLate in CHANNEL_RECEIVERS,
    two_owners_when_any_entry_is_taken: TakesAny in CHANNEL_RECEIVERS,
    too_few_pins_when_unpinned_before_the_entry_is_taken: UnpinBeforeTake in CHANNEL,
    too_few_pins_when_an_audit_looks_at_lanes_once: AuditLooksOnce in CHANNEL_AUDIT,
    leak_when_a_channel_is_freed_full: FreesFull in CHANNEL_DEATH,
}

caught_locking! {
    two_writers_when_a_session_number_keeps_its_generation: SameSessionGeneration in WRITER_NUMBER,
    reader_beside_writer_when_it_looks_before_it_announces: ReaderLooksFirst in ARRAY,
    writer_beside_reader_when_it_looks_before_it_locks: WriterLooksFirst in ARRAY,
    mark_without_a_writer_when_a_sealer_says_whole_late: SealerSaysWholeLate in SEAL,
    torn_array_when_what_a_sealer_said_stays_in_the_lock: WholeStays in SEAL,
    writer_of_what_is_sealed_when_sealed_without_the_lock: SealsUnlocked in SEAL,
    torn_value_when_flipped_before_filled: FlipsBeforeFill in VALUE,
    torn_value_when_seq_is_read_once: ReadsSeqOnce in VALUE,
}

caught_in_slabs! {
    dead_proxy_when_any_grant_is_withdrawn: WithdrawsAnyValue in SLAB_GIVE,
    slot_in_two_hands_when_pushed_unannounced: PushesUnannounced in SLAB_HOME,
    slot_of_another_when_the_generation_of_a_stack_is_ignored: IgnoresStackGeneration in SLAB_NUMBER,
    lost_slot_when_the_dead_of_an_owner_stay: EndKeepsDead in SLAB_HOME,
    another_object_when_granted_before_its_words: AnewBeforeWords in SLAB_GIVE,
    slot_in_two_hands_when_an_owner_takes_unclaimed: OwnerTakesUnclaimed in SLAB_HOME,
    slot_in_two_hands_when_an_owner_takes_the_brokers: OwnerTakesTheBrokers in SLAB_WEAK,
    slot_in_two_hands_when_freed_under_an_owner_that_walks: FreesWhileWalked in SLAB_HOME,
    slot_in_two_hands_when_stacks_are_taken_before_lanes: StacksBeforeLanes in SLAB_HOME,
    slot_in_two_hands_when_the_lost_are_an_owners: LostTakesOwners in SLAB_HOME,
    slot_in_two_hands_when_the_lost_are_announced: LostTakesAnnounced in SLAB_HOME,
    lost_slot_when_the_stack_of_the_dead_stays_open: StaysOpen in SLAB_HOME,
    slot_in_two_hands_when_a_sweep_frees_what_another_owns: SweepFreesForeign in SLAB_HOME,
}

macro_rules! caught_calling {
    ($($name:ident: $flaw:ident,)*) => {
        $(#[test]
        fn $name() {
            let flaw = Mutation::$flaw;
            is_caught(&Calling { calls: 4, kills: 1, flaw: Some(flaw) }, flaw);
        })*
    };
}

caught_calling! {
    torn_request_when_its_turn_is_first: TurnBeforeMessage,
    stuck_client_when_it_points_before_it_sends: PointsUnsent,
    torn_request_when_the_bytes_point_to_the_socket: PointsInTheMessage,
    torn_answer_when_its_turn_is_first: AnswersBeforeBytes,
    stuck_client_when_a_thread_leaves_blindly: LeavesBlindly,
    stuck_client_when_a_thread_puts_its_own_count_back: LeavesByOwnCount,
    stuck_client_when_a_thread_attends_by_its_own_count: AttendsByOwnCount,
    stuck_client_when_it_does_not_look_at_the_socket: IgnoresHangUp,
    stuck_thread_when_an_end_wakes_by_the_mark: EndTrustsMark,
}

macro_rules! caught_seats {
    ($($name:ident: $flaw:ident,)*) => {
        $(#[test]
        fn $name() {
            let flaw = Mutation::$flaw;
            is_caught(&Seats { flaw: Some(flaw), ..scenes::SEATS }, flaw);
        })*
    };
}

caught_seats! {
    one_that_is_there_is_gone_when_an_opener_keeps_the_epoch: OpenerKeepsEpoch,
    one_that_is_there_is_gone_when_written_over_any_state: SettlesAnyState,
    nobody_says_that_all_are_gone_when_a_sweep_settles_nothing: SweepSettlesNothing,
}
