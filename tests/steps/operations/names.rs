//! The directory.

use std::time::Duration;

use sharehold::{Array, ErrorKind};

use super::{Operation, Prepared, begin, connect, end, no_rest, nothing, use_board};
use crate::common::PATIENCE;
use crate::fixture::{Fixture, canaries, whole};

fn forget(fixture: &Fixture, name: &str) {
    match fixture.manager.unpublish(name) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::NameNotFound, "{error:?}"),
    }
}

fn forget_extra(fixture: &Fixture, prepared: Prepared) {
    drop(prepared);
    forget(fixture, "extra");
}

fn look_for_extra(fixture: &Fixture, _: &Prepared) {
    match fixture.manager.lookup::<Array<u64>>("extra") {
        Ok(array) => whole(&array.read_for(PATIENCE).expect("nobody writes")),
        Err(error) => assert_eq!(error.kind(), ErrorKind::NameNotFound, "{error:?}"),
    }
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "publish",
        perform: |broker, _| {
            let manager = &connect(broker);
            let array = manager.array(&canaries(10)).expect("room");
            begin();
            let published = manager.publish("extra", &array);
            end();
            published.expect("published");
        },
        prepare: nothing,
        next: look_for_extra,
        tidy: forget_extra,
    },
    Operation {
        name: "publish over",
        perform: |broker, _| {
            let manager = &connect(broker);
            let array = manager.array(&canaries(10)).expect("room");
            begin();
            let published = manager.publish_over("extra", &array);
            end();
            published.expect("published");
        },
        prepare: |fixture| {
            fixture.manager.publish("extra", &fixture.board).expect("published");
            Prepared::default()
        },
        next: look_for_extra,
        tidy: forget_extra,
    },
    Operation {
        name: "unpublish",
        perform: |broker, _| {
            let manager = &connect(broker);
            begin();
            let removed = manager.unpublish("extra");
            end();
            removed.expect("removed");
        },
        prepare: |fixture| {
            let array = fixture.manager.array(&canaries(10)).expect("room");
            fixture.manager.publish("extra", &array).expect("published");
            Prepared::default()
        },
        next: look_for_extra,
        tidy: forget_extra,
    },
    Operation {
        name: "look up",
        perform: |broker, _| {
            let manager = &connect(broker);
            begin();
            let found = manager.lookup::<Array<u64>>("board");
            end();
            found.expect("found");
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
    Operation {
        name: "wait for a name",
        perform: |broker, _| {
            let manager = &connect(broker);
            begin();
            let found = manager.wait::<Array<u64>>("nobody publishes it", Duration::from_millis(5));
            end();
            assert_eq!(found.err().map(|error| error.kind()), Some(ErrorKind::Timeout));
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
];
