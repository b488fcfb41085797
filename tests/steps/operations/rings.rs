//! Calls that go through a call ring, and what else a connection does that has one.

use sharehold::{Array, CallScope, Canceller, Datum, Manager};

use super::calls::{clear_shelf, find_shelf, shelve, use_shelf};
use super::{Operation, begin, connect, end, no_rest, nothing, use_board};
use crate::fixture::{NoteProxy, canaries};
use crate::shared::rings;

/// Calls of a connection after which it has a ring that somebody attends.
pub(crate) const ENOUGH: usize = 6;
/// Bytes, more than a message may have.
pub(crate) const LARGE: usize = 20_000;

/// Has a process call through a ring what it calls next.
pub(crate) fn ringed(manager: &Manager) -> NoteProxy {
    let note = NoteProxy::new(manager, "mine".into()).expect("created");
    (0..ENOUGH).for_each(|_| drop(note.text().expect("answered")));
    assert_eq!(rings(std::process::id()).count(), 1, "calls go over the socket");
    note
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "first calls, up to some through a ring",
        perform: |broker, _| {
            let manager = &connect(broker);
            let shelf = find_shelf(manager);
            begin();
            let lengths = [(); ENOUGH].map(|()| shelf.len());
            end();
            assert!(lengths.iter().all(Result::is_ok), "{lengths:?}");
        },
        prepare: nothing,
        next: use_shelf,
        tidy: no_rest,
    },
    Operation {
        name: "call through a ring",
        perform: |broker, _| {
            let manager = &connect(broker);
            let note = ringed(manager);
            begin();
            let text = note.text();
            end();
            text.expect("answered");
        },
        prepare: nothing,
        next: use_shelf,
        tidy: no_rest,
    },
    Operation {
        name: "call through a ring: a proxy as argument",
        perform: |broker, _| {
            let manager = &connect(broker);
            let (shelf, array) = (find_shelf(manager), manager.array(&canaries(40)).expect("room"));
            let _note = ringed(manager);
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
        name: "call through a ring: a proxy as result",
        perform: |broker, _| {
            let manager = &connect(broker);
            let (shelf, _note) = (find_shelf(manager), ringed(manager));
            begin();
            let got = shelf.pop();
            end();
            got.expect("answered").expect("not empty").downcast::<Array<u64>>().expect("an array");
        },
        prepare: shelve,
        next: use_shelf,
        tidy: clear_shelf,
    },
    Operation {
        name: "call through a ring that waits",
        perform: |broker, _| {
            let manager = &connect(broker);
            let note = ringed(manager);
            begin();
            let rested = note.rest();
            end();
            rested.expect("answered");
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
    Operation {
        name: "call beside a ring: large arguments",
        perform: |broker, _| {
            let manager = &connect(broker);
            let (shelf, _note) = (find_shelf(manager), ringed(manager));
            // Zeros, as its memory has: what stands there already is no change.
            let bytes = Datum::Bytes(vec![0; LARGE]);
            begin();
            let pushed = shelf.push(bytes);
            end();
            pushed.expect("pushed");
        },
        prepare: nothing,
        next: use_shelf,
        tidy: clear_shelf,
    },
    Operation {
        name: "call beside a ring: it can be cancelled",
        perform: |broker, _| {
            let manager = &connect(broker);
            let note = ringed(manager);
            let canceller = Canceller::new();
            let scope = CallScope::new().canceller(&canceller);
            begin();
            let text = scope.run(|| note.text());
            end();
            text.expect("answered");
        },
        prepare: nothing,
        next: use_shelf,
        tidy: no_rest,
    },
    Operation {
        name: "leave with a ring",
        perform: |broker, _| {
            let manager = connect(broker);
            drop(ringed(&manager));
            begin();
            drop(manager);
            end();
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
];
