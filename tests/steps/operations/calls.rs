//! Hosted objects, and calls of their methods.

use sharehold::{Array, List, Manager};

use super::{Operation, Prepared, begin, board, connect, end, no_rest, nothing};
use crate::fixture::{Fixture, canaries};

pub(super) fn use_shelf(fixture: &Fixture, _: &Prepared) {
    fixture.shelf.len().expect("answered");
}

pub(super) fn clear_shelf(fixture: &Fixture, prepared: Prepared) {
    drop(prepared);
    fixture.shelf.clear().expect("answered");
}

pub(super) fn shelve(fixture: &Fixture) -> Prepared {
    fixture.shelf.push(fixture.manager.array(&canaries(20)).expect("room")).expect("pushed");
    Prepared::default()
}

pub(super) fn find_shelf(manager: &Manager) -> List {
    manager.lookup("shelf").expect("published")
}

fn shelf(manager: &Manager) -> List {
    let shelf = find_shelf(manager);
    // The first call of a process takes a connection of its own, and the broker a thread: that is not what is looked at.
    shelf.len().expect("answered");
    shelf
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "create a hosted object",
        perform: |broker, _| {
            let manager = &connect(broker);
            shelf(manager);
            begin();
            let list = List::new(manager);
            end();
            list.expect("created");
        },
        prepare: nothing,
        next: use_shelf,
        tidy: no_rest,
    },
    Operation {
        name: "last drop of a hosted object",
        perform: |broker, _| {
            let manager = &connect(broker);
            let held = List::new(manager).expect("created");
            held.push(board(manager)).expect("pushed");
            begin();
            drop(held);
            end();
        },
        prepare: nothing,
        next: use_shelf,
        tidy: no_rest,
    },
    Operation {
        name: "call with a proxy as argument",
        perform: |broker, _| {
            let manager = &connect(broker);
            let shelf = shelf(manager);
            let array = manager.array(&canaries(40)).expect("room");
            begin();
            let pushed = shelf.push(array);
            end();
            pushed.expect("pushed");
        },
        prepare: nothing,
        next: use_shelf,
        tidy: clear_shelf,
    },
    Operation {
        name: "call with a proxy as result",
        perform: |broker, _| {
            let manager = &connect(broker);
            let shelf = shelf(manager);
            begin();
            let got = shelf.pop();
            end();
            got.expect("answered").expect("not empty").downcast::<Array<u64>>().expect("an array");
        },
        prepare: shelve,
        next: use_shelf,
        tidy: clear_shelf,
    },
];
