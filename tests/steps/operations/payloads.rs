//! What is read and written in place.

use sharehold::{Array, ErrorKind, Object, Ticket, Value};

use super::{Operation, Prepared, array_and_ticket, begin, connect, end, no_rest, nothing, redeemed};
use crate::common::PATIENCE;
use crate::fixture::{Fixture, whole};

/// What is killed while it changes a value.
fn count_up(broker: &str, _: &str) {
    let manager = &connect(broker);
    let counter: Value<[u64; 8]> = manager.lookup("counter").expect("published");
    begin();
    let changed = counter.update(|all| all.iter_mut().for_each(|n| *n += 1));
    end();
    changed.expect("changed");
}

/// All elements are the same, or the array says that a writer has died.
fn read_blackboard(fixture: &Fixture, _: &Prepared) {
    match fixture.blackboard.read_for(PATIENCE) {
        Ok(elements) => assert!(elements.iter().all(|x| *x == elements[0]), "torn without a mark: {:?}", &*elements),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Poisoned, "{error:?}"),
    }
}

fn write_blackboard(fixture: &Fixture, _: &Prepared) {
    let mut elements = fixture.blackboard.write_for(PATIENCE).expect("a dead reader is in nobody's way");
    let next = elements[0] + 1;
    elements.fill(next);
}

pub(crate) fn wipe_blackboard(fixture: &Fixture, _: Prepared) {
    if fixture.blackboard.is_poisoned().expect("known") {
        fixture.blackboard.clear_poison().expect("cleared");
        fixture.blackboard.write_for(PATIENCE).expect("nobody writes").fill(0);
    }
}

fn read_counter(fixture: &Fixture, _: &Prepared) {
    let seen = fixture.counter.get().expect("never waits");
    assert!(seen.iter().all(|n| *n == seen[0]), "torn: {seen:?}");
}

fn change_counter(fixture: &Fixture, prepared: &Prepared) {
    read_counter(fixture, prepared);
    fixture.counter.update_for(PATIENCE, |all| all.iter_mut().for_each(|n| *n += 1)).expect("given on");
    read_counter(fixture, prepared);
}

fn look_at_sealed(_: &Fixture, prepared: &Prepared) {
    let array = prepared.array.as_ref().expect("held");
    match array.sealed() {
        Ok(elements) => whole(elements),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotSealed, "{error:?}");
            whole(&array.read_for(PATIENCE).expect("sealing changes no byte, so it leaves no mark"));
        }
    }
}

fn seal_again(fixture: &Fixture, prepared: Prepared) {
    let array = prepared.array.as_ref().expect("held");
    whole(array.seal().expect("nobody writes"));
    drop(prepared.array);
    forget_ticket(fixture, prepared.ticket);
}

fn forget_ticket(fixture: &Fixture, ticket: Option<Ticket>) {
    drop(ticket.map(|ticket| fixture.manager.redeem::<Object>(&ticket)));
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "seal",
        perform: |broker, text| {
            let manager = &connect(broker);
            let array = redeemed(manager, text);
            begin();
            let sealed = array.seal();
            end();
            sealed.expect("sealed");
        },
        prepare: |fixture| array_and_ticket(fixture, 1),
        next: look_at_sealed,
        tidy: seal_again,
    },
    Operation {
        name: "change a value",
        perform: count_up,
        prepare: nothing,
        next: read_counter,
        tidy: |fixture, prepared| change_counter(fixture, &prepared),
    },
    Operation {
        name: "change a value that is changed next",
        perform: count_up,
        prepare: nothing,
        next: change_counter,
        tidy: no_rest,
    },
    Operation {
        name: "write an array",
        perform: |broker, _| {
            let manager = &connect(broker);
            let array: Array<u64> = manager.lookup("blackboard").expect("published");
            begin();
            let written = array.write().map(|mut elements| {
                let next = elements[0] + 1;
                elements.fill(next);
            });
            end();
            written.expect("written");
        },
        prepare: nothing,
        next: read_blackboard,
        tidy: wipe_blackboard,
    },
    Operation {
        name: "read an array",
        perform: |broker, _| {
            let manager = &connect(broker);
            let array: Array<u64> = manager.lookup("blackboard").expect("published");
            begin();
            let read = array.read().map(|elements| elements[0]);
            end();
            read.expect("read");
        },
        prepare: nothing,
        next: write_blackboard,
        tidy: no_rest,
    },
];
