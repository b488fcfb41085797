//! A process is killed at every step of what it does: a tracer executes it instruction by instruction and kills it at each one after which others see something else. After each
//! kill another process goes on at once, the dead one is swept, a check finds nothing, and nothing is lost or left.
//!
//! `SHAREHOLD_STEPS=all` kills truly at each instruction (`just steps`), `all/7+3` at the third one and at each seventh after it; `off` leaves the test out. Why the short form is enough says `walk.rs`; what
//! was measured, `docs/recovery.md`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test that can't go on fails")]

#[path = "../common/mod.rs"]
mod common;

mod broker;
mod client;
mod fixture;
mod operations;
mod report;
mod shared;
mod tracer;
mod view;
mod walk;
mod works;

/// The entry of every process that a test of this file starts. Without a role it has nothing to do.
#[test]
fn perform_role() {
    let Some((role, arguments)) = common::role() else { return };
    match role.as_str() {
        "serve" => fixture::serve(&arguments),
        "client" => client::perform(&arguments[0], &arguments[1], &arguments[2]),
        "work" => works::work(&arguments[0]),
        "hold" => works::hold(&arguments[0]),
        "wait" => works::wait(&arguments[0]),
        "visit" => works::visit(&arguments[0]),
        "succeed" => works::succeed(&arguments),
        other => panic!("there is no role {other}"),
    }
}

/// A test for each operation of a client.
macro_rules! client_tests {
    ($($test:ident $operation:literal,)*) => {
        $(#[test]
        fn $test() {
            client::kill_at_every_step($operation);
        })*

        #[test]
        fn every_operation_of_a_client_has_its_test() {
            let known: Vec<&str> = operations::operations().map(|operation| operation.name).collect();
            assert_eq!(known, [$($operation),*]);
        }
    };
}

client_tests! {
    clone "clone",
    drop_one_of_two "drop",
    last_drop_of_a_process "last drop of a process",
    last_drop "last drop",
    last_drop_of_what_is_taken_up "last drop of what is taken up",
    ticket "ticket",
    redeem_one_of_three_uses "redeem one of three uses",
    redeem_the_last_use "redeem the last use",
    redeem_what_only_the_ticket_holds "redeem what only the ticket holds",
    publish "publish",
    publish_over "publish over",
    unpublish "unpublish",
    look_up "look up",
    wait_for_a_name "wait for a name",
    create_a_value "create a value",
    create_and_write "create and write 4 KB",
    create_from_a_slab "create from a slab",
    drop_of_the_own_slabs "drop of the own slab's",
    last_drop_of_anothers_slabs "last drop of another's slab's",
    take_what_came_back "take what came back",
    seal "seal",
    change_a_value "change a value",
    change_a_value_that_is_changed_next "change a value that is changed next",
    write_an_array "write an array",
    read_an_array "read an array",
    create_a_hosted_object "create a hosted object",
    last_drop_of_a_hosted_object "last drop of a hosted object",
    call_with_a_proxy_as_argument "call with a proxy as argument",
    call_with_a_proxy_as_result "call with a proxy as result",
    first_calls "first calls, up to some through a ring",
    call_through_a_ring "call through a ring",
    call_through_a_ring_with_a_proxy_as_argument "call through a ring: a proxy as argument",
    call_through_a_ring_with_a_proxy_as_result "call through a ring: a proxy as result",
    call_through_a_ring_that_waits "call through a ring that waits",
    call_with_large_arguments_beside_a_ring "call beside a ring: large arguments",
    call_that_can_be_cancelled_beside_a_ring "call beside a ring: it can be cancelled",
    leave_with_a_ring "leave with a ring",
    send "send",
    send_what_others_hold "send what others hold",
    send_in_vain "send in vain",
    receive "receive",
    receive_in_vain "receive in vain",
    open_and_close_both_ends "open and close both ends",
    last_drop_of_a_channel "last drop of a channel",
    create_a_channel "create a channel",
    leave "leave",
    attach "attach",
}

/// A test for each thing that a broker does, on a memfd and on a named segment.
macro_rules! broker_tests {
    ($($test:ident $work:literal,)*) => {
        mod a_broker {
            use crate::{broker, works};

            $(#[test]
            fn $test() {
                for backing in ["memfd", "segment"] {
                    broker::kill_at_every_step($work, backing);
                }
            })*

            #[test]
            fn every_work_of_a_broker_has_its_test() {
                let known: Vec<&str> = works::works().map(|work| work.name).collect();
                assert_eq!(known, [$($work),*]);
            }
        }
    };
}

broker_tests! {
    grants "grant",
    grants_8_kilobytes "grant of 8 KB",
    grants_a_slab "grant of a slab",
    frees "free",
    frees_8_kilobytes "free of 8 KB",
    frees_a_hosted_object "free of a hosted object",
    frees_a_channel "free of a channel",
    publishes "publish",
    publishes_over "publish over",
    unpublishes "unpublish",
    audits "audit of a wrong pin",
    ends_a_ticket "end of a ticket",
    attaches_a_client "attach",
    sweeps "sweep",
    sweeps_and_audits_after_a_ticket "sweep and audit after a ticket",
    sweeps_and_audits_after_a_redemption "sweep and audit after a redemption",
    sweeps_and_audits_after_a_send "sweep and audit after a send",
    sweeps_and_audits_after_a_reception "sweep and audit after a reception",
    sweeps_after_a_last_drop "sweep after a last drop",
    sweeps_an_owner "sweep of an owner",
    sweeps_after_a_drop_of_anothers_slabs "sweep after a drop of another's slab's",
    keeps_a_snapshot "call with a snapshot",
    creates_with_a_snapshot "creation with a snapshot",
    collects "collect",
    adopts "adoption",
    gives_a_ring "giving of a ring",
    answers_through_a_ring "call through a ring",
    answers_through_a_ring_what_came_with_a_proxy "call through a ring: a proxy as argument",
    answers_through_a_ring_with_a_proxy "call through a ring: a proxy as result",
    keeps_a_snapshot_and_answers_through_a_ring "call through a ring with a snapshot",
    answers_large_arguments_beside_a_ring "call beside a ring: large arguments",
    sweeps_one_that_waits_at_a_ring "sweep of one that waits at a ring",
}
