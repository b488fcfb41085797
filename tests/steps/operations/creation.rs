//! Creation, and the slabs that small objects come from and go back to.

use std::io::{Read, Write};

use sharehold::{Array, Manager, Proxy};

use super::{Operation, Prepared, begin, connect, create_another, end, let_go, no_rest, nothing, take_up};
use crate::common::PATIENCE;
use crate::fixture::{Fixture, canaries, whole};

/// Elements of what comes from slabs here.
const SLAB: usize = 9;

/// Has a process get a slab of arrays with [`SLAB`] elements, and hold so many of them.
pub(crate) fn from_slabs(manager: &Manager, count: usize) -> Vec<Array<u64>> {
    // The first ones are asked for one by one.
    let mut arrays: Vec<_> = (0..12).map(|_| manager.array(&canaries(SLAB)).expect("room")).collect();
    arrays.drain(..12 - count);
    arrays
}

/// An array of the test's own slab, which the process that is killed holds alone.
fn from_slab_of_test(fixture: &Fixture) -> Prepared {
    let array = from_slabs(&fixture.manager, 1).pop().expect("one");
    let ticket = array.ticket().expect("issued");
    Prepared { text: ticket.to_string(), weak: Some(array.downgrade()), ticket: None, array: None }
}

/// Whatever has come back to the test's slab is made anew, and is whole.
fn use_slab_up(fixture: &Fixture, prepared: &Prepared) {
    take_up(fixture, prepared);
    from_slabs(&fixture.manager, 12).iter().for_each(|array| whole(&array.read_for(PATIENCE).expect("nobody writes")));
}

/// Has a child of this process drop the last proxy of some of its arrays: what it kills comes back to this process.
#[expect(unsafe_code, reason = "there is no safe fork")]
fn drop_in_child(arrays: Vec<Array<u64>>) {
    let (mut told, mut tell) = std::io::pipe().expect("a pipe");
    // SAFETY: the child drops what it has inherited, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        told.read_exact(&mut [0]).expect("the parent has dropped");
        drop(arrays);
        // SAFETY: ends the child without running what the parent registered.
        unsafe { libc::_exit(0) }
    }
    drop(arrays);
    tell.write_all(b"!").expect("told");
    let mut status = 0;
    // SAFETY: waits for a child; the pointer is to a local.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "create a value",
        perform: |broker, _| {
            let manager = &connect(broker);
            begin();
            let value = manager.value(u64::from(std::process::id()));
            end();
            value.expect("created");
        },
        prepare: nothing,
        next: create_another,
        tidy: no_rest,
    },
    Operation {
        name: "create and write 4 KB",
        perform: |broker, _| {
            let manager = &connect(broker);
            // Other bytes each time: what stands there already is no change.
            let elements = [u64::from(std::process::id()); 512];
            begin();
            let array = manager.array(&elements);
            end();
            array.expect("created");
        },
        prepare: nothing,
        next: create_another,
        tidy: no_rest,
    },
    Operation {
        name: "create from a slab",
        perform: |broker, _| {
            let manager = &connect(broker);
            drop(from_slabs(manager, 1));
            begin();
            let array = manager.array(&[u64::from(std::process::id()); SLAB]);
            end();
            array.expect("created");
        },
        prepare: nothing,
        next: use_slab_up,
        tidy: no_rest,
    },
    Operation {
        name: "drop of the own slab's",
        perform: |broker, _| {
            let manager = &connect(broker);
            let array = from_slabs(manager, 1);
            begin();
            drop(array);
            end();
        },
        prepare: nothing,
        next: use_slab_up,
        tidy: no_rest,
    },
    Operation {
        name: "last drop of another's slab's",
        perform: let_go,
        prepare: from_slab_of_test,
        next: use_slab_up,
        tidy: no_rest,
    },
    Operation {
        name: "take what came back",
        perform: |broker, _| {
            let manager = &connect(broker);
            let mut arrays = from_slabs(manager, 12);
            // All others are of the slab, or there is a next one.
            drop_in_child(arrays.split_off(8));
            begin();
            let array = manager.array(&canaries(SLAB));
            end();
            drop((array.expect("created"), arrays));
        },
        prepare: nothing,
        next: use_slab_up,
        tidy: no_rest,
    },
];
