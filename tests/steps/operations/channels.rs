//! Channels, and their ends.

use sharehold::{Array, Channel, ErrorKind, Manager};

use super::{Operation, Prepared, begin, board, connect, create_another, end, no_rest, nothing};
use crate::common::PATIENCE;
use crate::fixture::{Fixture, IN_VAIN, canaries, whole};

fn belt(manager: &Manager) -> Channel<Array<u64>> {
    manager.lookup("belt").expect("published")
}

/// Puts so many arrays on the belt.
fn load(fixture: &Fixture, count: usize) -> Prepared {
    for _ in 0..count {
        fixture.sender.try_send(fixture.manager.array(&canaries(30)).expect("room")).expect("room");
    }
    Prepared::default()
}

/// What comes from the belt is whole; and the belt moves on.
fn use_belt(fixture: &Fixture, _: &Prepared) {
    if let Some(array) = fixture.receiver.try_recv().expect("whole") {
        whole(&array.read_for(PATIENCE).expect("nobody writes"));
    }
    fixture.sender.try_send(fixture.manager.array(&canaries(40)).expect("room")).expect("room");
}

fn clear_belt(fixture: &Fixture, _: Prepared) {
    for array in fixture.receiver.try_iter() {
        whole(&array.expect("whole").read_for(PATIENCE).expect("nobody writes"));
    }
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "send",
        perform: |broker, _| {
            let manager = &connect(broker);
            let sender = belt(manager).sender().expect("free");
            let array = manager.array(&canaries(20)).expect("room");
            begin();
            let sent = sender.send(array);
            end();
            sent.expect("room");
        },
        prepare: nothing,
        next: use_belt,
        tidy: clear_belt,
    },
    Operation {
        name: "send what others hold",
        perform: |broker, _| {
            let manager = &connect(broker);
            let (sender, board) = (belt(manager).sender().expect("free"), board(manager));
            begin();
            let sent = sender.send(board);
            end();
            sent.expect("room");
        },
        prepare: nothing,
        next: use_belt,
        tidy: clear_belt,
    },
    Operation {
        name: "send in vain",
        perform: |broker, _| {
            let manager = &connect(broker);
            let sender = belt(manager).sender().expect("free");
            let array = manager.array(&canaries(20)).expect("room");
            begin();
            let sent = sender.send_timeout(array, IN_VAIN);
            end();
            assert_eq!(sent.err().map(|error| error.kind()), Some(ErrorKind::Timeout));
        },
        prepare: |fixture| load(fixture, 2),
        next: use_belt,
        tidy: clear_belt,
    },
    Operation {
        name: "receive",
        perform: |broker, _| {
            let manager = &connect(broker);
            let receiver = belt(manager).receiver().expect("free");
            begin();
            let array = receiver.recv();
            end();
            array.expect("there");
        },
        prepare: |fixture| load(fixture, 1),
        next: use_belt,
        tidy: clear_belt,
    },
    Operation {
        name: "receive in vain",
        perform: |broker, _| {
            let manager = &connect(broker);
            let receiver = belt(manager).receiver().expect("free");
            begin();
            let array = receiver.recv_timeout(IN_VAIN);
            end();
            assert_eq!(array.err().map(|error| error.kind()), Some(ErrorKind::Timeout));
        },
        prepare: nothing,
        next: use_belt,
        tidy: clear_belt,
    },
    Operation {
        name: "open and close both ends",
        perform: |broker, _| {
            let manager = &connect(broker);
            let belt = belt(manager);
            begin();
            let ends = (belt.sender(), belt.receiver());
            drop(ends);
            end();
        },
        prepare: nothing,
        next: use_belt,
        tidy: clear_belt,
    },
    Operation {
        name: "last drop of a channel",
        perform: |broker, _| {
            let manager = &connect(broker);
            let channel: Channel<Array<u64>> = manager.channel(1).expect("room");
            let sender = channel.sender().expect("free");
            sender.send(manager.array(&canaries(20)).expect("room")).expect("room");
            drop(sender);
            begin();
            drop(channel);
            end();
        },
        prepare: nothing,
        next: create_another,
        tidy: no_rest,
    },
    Operation {
        name: "create a channel",
        perform: |broker, _| {
            let manager = &connect(broker);
            begin();
            let channel = manager.channel::<Array<u64>>(1);
            end();
            channel.expect("room");
        },
        prepare: nothing,
        next: create_another,
        tidy: no_rest,
    },
];
