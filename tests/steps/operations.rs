//! What a client does when it is killed, what another one does next, and what may be left.

use std::io::{Read, Write};
use std::time::Duration;

use sharehold::{Array, Channel, ErrorKind, List, Manager, Object, Proxy, Ticket, TicketOptions, Value, Weak};

use crate::common;
use crate::common::PATIENCE;
use crate::fixture::{Fixture, canaries, whole};
use crate::tracer::{BEGIN, END, mark, thread_id};

/// Longer than an operation takes that is executed step by step.
const TICKET_LIFE: Duration = Duration::from_millis(150);

/// Long enough for one that is executed step by step to fall asleep.
const IN_VAIN: Duration = Duration::from_millis(60);

/// An operation of a client.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// In the process that is killed, with the broker's name and the text that was prepared.
    pub(crate) perform: fn(&str, &str),
    /// What the test makes for it, anew each time.
    pub(crate) prepare: fn(&Fixture) -> Prepared,
    /// What another process does as the very next thing after the kill.
    pub(crate) next: fn(&Fixture, &Prepared),
    /// Removes what may rightly be left.
    pub(crate) tidy: fn(&Fixture, Prepared),
}

/// What an operation begins with.
#[derive(Default)]
pub(crate) struct Prepared {
    /// Given to the process that is killed.
    pub(crate) text: String,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) weak: Option<Weak<Array<u64>>>,
    pub(crate) array: Option<Array<u64>>,
}

/// Tells the tracer that the operation begins here, once it is there.
fn begin() {
    common::say(thread_id());
    common::listen();
    mark(BEGIN);
}

fn end() {
    mark(END);
}

fn nothing(_: &Fixture) -> Prepared {
    Prepared::default()
}

fn no_rest(_: &Fixture, _: Prepared) {}

/// The board is held, handed over, found and read, as ever.
pub(crate) fn use_board(fixture: &Fixture, _: &Prepared) {
    let same: Array<u64> = fixture.manager.lookup("board").expect("published");
    drop(fixture.board.clone());
    whole(&fixture.board.read_for(PATIENCE).expect("nobody writes"));
    let again: Array<u64> =
        fixture.manager.redeem(&fixture.board.ticket().expect("issued")).expect("redeemed by its issuer");
    drop((same, again));
}

fn create_another(fixture: &Fixture, _: &Prepared) {
    let another = fixture.manager.array(&canaries(50)).expect("room");
    whole(&another.read_for(PATIENCE).expect("nobody writes"));
}

fn connect(broker: &str) -> Manager {
    Manager::connect(broker).expect("connected")
}

fn board(manager: &Manager) -> Array<u64> {
    manager.lookup("board").expect("published")
}

/// An array that nobody holds but a ticket, which the process that is killed gets.
fn only_ticket(fixture: &Fixture, uses: u32) -> Prepared {
    let array = fixture.manager.array(&canaries(30)).expect("room");
    let ticket = array.ticket_with(TicketOptions { uses, deadline: None }).expect("issued");
    Prepared { text: ticket.to_string(), weak: Some(array.downgrade()), ticket: Some(ticket), array: None }
}

/// As [`only_ticket`], and the test holds the array.
fn array_and_ticket(fixture: &Fixture, uses: u32) -> Prepared {
    let mut prepared = only_ticket(fixture, uses);
    prepared.array = prepared.weak.as_ref().and_then(Weak::upgrade);
    assert!(prepared.array.is_some(), "a ticket holds it");
    prepared
}

fn redeemed(manager: &Manager, text: &str) -> Array<u64> {
    manager.redeem(&text.parse().expect("a ticket")).expect("not spent")
}

/// What is killed while it redeems.
fn redeem(broker: &str, text: &str) {
    let manager = &connect(broker);
    let ticket: Ticket = text.parse().expect("a ticket");
    begin();
    let array = manager.redeem::<Array<u64>>(&ticket);
    end();
    array.expect("redeemed");
}

/// What is killed while it drops what it has redeemed.
fn let_go(broker: &str, text: &str) {
    let manager = &connect(broker);
    let held = redeemed(manager, text);
    begin();
    drop(held);
    end();
}

/// What is killed while it changes a value.
fn count_up(broker: &str, _: &str) {
    let manager = &connect(broker);
    let counter: Value<[u64; 8]> = manager.lookup("counter").expect("published");
    begin();
    let changed = counter.update(|all| all.iter_mut().for_each(|n| *n += 1));
    end();
    changed.expect("changed");
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

/// Takes up what may be about to die: it is whole, or it is gone.
fn take_up(_: &Fixture, prepared: &Prepared) {
    if let Some(array) = prepared.weak.as_ref().and_then(Weak::upgrade) {
        whole(&array.read_for(PATIENCE).expect("nobody writes"));
    }
}

fn expire(fixture: &Fixture, _: Prepared) {
    common::eventually("tickets expire", || fixture.manager.tickets().expect("tickets").is_empty());
}

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

fn use_shelf(fixture: &Fixture, _: &Prepared) {
    fixture.shelf.len().expect("answered");
}

fn clear_shelf(fixture: &Fixture, prepared: Prepared) {
    drop(prepared);
    fixture.shelf.clear().expect("answered");
}

fn shelve(fixture: &Fixture) -> Prepared {
    fixture.shelf.push(fixture.manager.array(&canaries(20)).expect("room")).expect("pushed");
    Prepared::default()
}

fn shelf(manager: &Manager) -> List {
    let shelf: List = manager.lookup("shelf").expect("published");
    // The first call of a process takes a connection of its own, and the broker a thread: that is not what is looked at.
    shelf.len().expect("answered");
    shelf
}

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

pub(crate) const OPERATIONS: &[Operation] = &[
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
    Operation {
        name: "leave",
        perform: |broker, _| {
            let manager = connect(broker);
            drop(board(&manager));
            begin();
            drop(manager);
            end();
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
    Operation {
        name: "attach",
        perform: |broker, _| {
            begin();
            let manager = Manager::connect(broker);
            end();
            manager.expect("connected");
        },
        prepare: nothing,
        next: use_board,
        tidy: no_rest,
    },
];
