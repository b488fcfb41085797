//! Proxies and tickets: what counts.

use std::time::Duration;

use sharehold::{Array, ErrorKind, Proxy, Ticket, TicketOptions};

use super::{
    Operation, Prepared, array_and_ticket, begin, board, connect, create_another, end, let_go, no_rest, nothing,
    only_ticket, take_up, use_board,
};
use crate::common::{self, PATIENCE};
use crate::fixture::{Fixture, whole};

/// Longer than an operation takes that is executed step by step.
const TICKET_LIFE: Duration = Duration::from_millis(150);

/// What is killed while it redeems.
fn redeem(broker: &str, text: &str) {
    let manager = &connect(broker);
    let ticket: Ticket = text.parse().expect("a ticket");
    begin();
    let array = manager.redeem::<Array<u64>>(&ticket);
    end();
    array.expect("redeemed");
}

/// Takes the uses that the killed process has not taken: what a ticket gives is alive and whole.
fn use_up(fixture: &Fixture, prepared: Prepared) {
    let ticket = prepared.ticket.expect("made");
    loop {
        match fixture.manager.redeem::<Array<u64>>(&ticket) {
            Ok(array) => whole(&array.read_for(PATIENCE).expect("nobody writes")),
            Err(error) => return assert_eq!(error.kind(), ErrorKind::TicketSpent, "{error:?}"),
        }
    }
}

fn expire(fixture: &Fixture, _: Prepared) {
    common::eventually("tickets expire", || fixture.manager.tickets().expect("tickets").is_empty());
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "clone",
        perform: |broker, _| {
            let manager = &connect(broker);
            let held = board(manager);
            begin();
            let clone = held.clone();
            end();
            drop(clone);
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
    Operation {
        name: "drop",
        perform: |broker, _| {
            let manager = &connect(broker);
            let held = board(manager);
            let clone = held.clone();
            begin();
            drop(clone);
            end();
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
    Operation {
        name: "last drop of a process",
        perform: |broker, _| {
            let manager = &connect(broker);
            let held = board(manager);
            begin();
            drop(held);
            end();
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
    Operation {
        name: "last drop",
        perform: let_go,
        prepare: |fixture| only_ticket(fixture, 1),
        next: create_another,
        tidy: no_rest,
    },
    Operation {
        name: "last drop of what is taken up",
        perform: let_go,
        prepare: |fixture| only_ticket(fixture, 1),
        next: take_up,
        tidy: no_rest,
    },
    Operation {
        name: "ticket",
        perform: |broker, _| {
            let manager = &connect(broker);
            let held = board(manager);
            begin();
            let ticket = held.ticket_with(TicketOptions { uses: 2, deadline: Some(TICKET_LIFE) });
            end();
            ticket.expect("issued");
        },
        prepare: nothing,
        next: use_board,
        tidy: expire,
    },
    Operation {
        name: "redeem one of three uses",
        perform: redeem,
        prepare: |fixture| array_and_ticket(fixture, 3),
        next: take_up,
        tidy: use_up,
    },
    Operation {
        name: "redeem the last use",
        perform: redeem,
        prepare: |fixture| array_and_ticket(fixture, 1),
        next: take_up,
        tidy: use_up,
    },
    Operation {
        name: "redeem what only the ticket holds",
        perform: redeem,
        prepare: |fixture| only_ticket(fixture, 1),
        next: create_another,
        tidy: use_up,
    },
];
