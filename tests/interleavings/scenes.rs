//! Small pieces of life with shared objects. Each is run in every order.

use std::rc::Rc;

use loom::thread;

use crate::flaw::Leaks;
use crate::region::{ObjectId, SlotIndex};
use crate::sync::atomic::Ordering;
use crate::world::{ONE, Session, TWO, World, first};

const A: SlotIndex = SlotIndex(0);
const B: SlotIndex = SlotIndex(1);

/// Nobody, session 1, session 2: one proxy each of the first slot.
const ONE_HOLDS: [[u64; 2]; 3] = [[0, 0], [1, 0], [0, 0]];
const NOBODY_HOLDS: [[u64; 2]; 3] = [[0, 0], [0, 0], [0, 0]];
const TICKET_ONLY: [[u64; 2]; 3] = NOBODY_HOLDS;
const BOTH_HOLD: [[u64; 2]; 3] = [[0, 0], [1, 0], [1, 0]];

fn reads_and_lets_go(session: &Session, id: ObjectId) {
    session.read(id);
    session.let_go(id.slot());
}

fn takes_and_lets_go(session: &Session, id: ObjectId) {
    if session.take(id) {
        reads_and_lets_go(session, id);
    }
}

/// Two sessions let go of an object at once.
pub(crate) fn two_last_drops() {
    let world = World::new(BOTH_HOLD, 0);
    let two = Session::new(&world, TWO);
    let other = thread::spawn(move || reads_and_lets_go(&two, first(0)));
    reads_and_lets_go(&Session::new(&world, ONE), first(0));
    join(other);
    world.assert_freed(0, 1);
}

/// One session knows an id and takes the object, the other lets go of it.
pub(crate) fn take_against_last_drop() {
    let world = World::new(ONE_HOLDS, 0);
    let two = Session::new(&world, TWO);
    let taker = thread::spawn(move || takes_and_lets_go(&two, first(0)));
    reads_and_lets_go(&Session::new(&world, ONE), first(0));
    join(taker);
    world.assert_freed(0, 1);
}

/// One session looks a name up, another lets go of the object, and the broker removes the name.
pub(crate) fn look_up_against_removal() {
    let world = World::new(ONE_HOLDS, 1);
    let two = Session::new(&world, TWO);
    let taker = thread::spawn(move || {
        if let Some(id) = two.look_up() {
            reads_and_lets_go(&two, id);
        }
    });
    let one = Session::new(&world, ONE);
    let dropper = thread::spawn(move || reads_and_lets_go(&one, first(0)));
    world.remove_name(first(0));
    join(dropper);
    join(taker);
    world.assert_freed(0, 1);
}

/// A ticket is all that is left of an object. One session redeems it while the broker cancels it.
pub(crate) fn redeem_against_cancel() {
    let world = World::new(TICKET_ONLY, 1);
    let two = Session::new(&world, TWO);
    let taker = thread::spawn(move || {
        if two.redeem(first(0)) {
            reads_and_lets_go(&two, first(0));
        }
    });
    world.cancel_ticket(first(0));
    join(taker);
    world.assert_freed(0, 1);
}

/// A ticket carries the object over from the one that lets go to the one that redeems.
pub(crate) fn redeem_against_last_drop() {
    let world = World::new(ONE_HOLDS, 1);
    let two = Session::new(&world, TWO);
    let taker = thread::spawn(move || {
        assert!(two.redeem(first(0)), "the ticket has a pin");
        reads_and_lets_go(&two, first(0));
    });
    reads_and_lets_go(&Session::new(&world, ONE), first(0));
    join(taker);
    world.assert_freed(0, 1);
}

/// Two threads of a session have proxies, one clones its own; another session has the last but these.
pub(crate) fn clone_and_drop_among_siblings() {
    let world = World::new([[0, 0], [2, 0], [1, 0]], 0);
    let one = Session::new(&world, ONE);
    let sibling = one.sibling();
    let two = Session::new(&world, TWO);
    let sibling = thread::spawn(move || reads_and_lets_go(&sibling, first(0)));
    let other = thread::spawn(move || reads_and_lets_go(&two, first(0)));
    one.clone_proxy(A);
    one.let_go(A);
    reads_and_lets_go(&one, first(0));
    join(sibling);
    join(other);
    world.assert_freed(0, 1);
}

/// One thread of a session lets go while another of the same session takes.
pub(crate) fn take_beside_a_sibling() {
    let world = World::new(BOTH_HOLD, 0);
    let two = Session::new(&world, TWO);
    let (one, sibling) = (Session::new(&world, ONE), Session::new(&world, ONE).sibling());
    let taker = thread::spawn(move || takes_and_lets_go(&sibling, first(0)));
    let other = thread::spawn(move || reads_and_lets_go(&two, first(0)));
    reads_and_lets_go(&one, first(0));
    join(taker);
    join(other);
    world.assert_freed(0, 1);
}

/// An object dies and its slot is used again, while another session still wants the first one.
pub(crate) fn stale_take_against_reuse() {
    let world = World::new(ONE_HOLDS, 0);
    let two = Session::new(&world, TWO);
    let taker = thread::spawn(move || takes_and_lets_go(&two, first(0)));
    let one = Session::new(&world, ONE);
    one.read(first(0));
    one.let_go(A);
    let is_reused = one.is_free(A);
    if is_reused {
        let second = one.create(A);
        reads_and_lets_go(&one, second);
    }
    join(taker);
    world.assert_freed(0, 1 + u32::from(is_reused));
}

/// The slot is free. The first object is wanted while the second one is made: that is always too late.
pub(crate) fn stale_take_against_creation() {
    let world = World::new(NOBODY_HOLDS, 0);
    let two = Session::new(&world, TWO);
    let taker = thread::spawn(move || assert!(!two.take(first(0)), "the first object is gone"));
    let one = Session::new(&world, ONE);
    let second = one.create(A);
    reads_and_lets_go(&one, second);
    join(taker);
    world.assert_freed(0, 1);
}

/// The slot is free and still hints at both sessions. A second object is made there and told to the other session: it has to hint again.
pub(crate) fn take_after_reuse() {
    let world = World::new(NOBODY_HOLDS, 0);
    let (two, told) = (Session::new(&world, TWO), Rc::clone(&world));
    let taker = thread::spawn(move || {
        let id = ObjectId::from_bits(told.stored.load(Ordering::Acquire));
        if id != first(0) {
            takes_and_lets_go(&two, id);
        }
    });
    let one = Session::new(&world, ONE);
    let second = one.create(A);
    world.stored.store(second.to_bits(), Ordering::Release);
    reads_and_lets_go(&one, second);
    join(taker);
    world.assert_freed(0, 1);
}

/// Two sessions kill two objects while the broker takes what they return.
pub(crate) fn two_returns_against_taking_back() {
    let world = World::new([[0, 0], [1, 0], [0, 1]], 0);
    let killers = [(ONE, A), (TWO, B)].map(|(session, slot)| {
        let session = Session::new(&world, session);
        thread::spawn(move || {
            session.read(first(slot.0));
            assert!(session.kill(slot), "nobody else has it");
        })
    });
    world.take_back();
    killers.into_iter().for_each(join);
    world.take_back();
    world.assert_freed(0, 1);
    world.assert_freed(1, 1);
}

/// A broker that starts again meets a session that has just killed: if it shows no lane, the stack has the slot.
pub(crate) fn restart_against_return() {
    let world = World::new(ONE_HOLDS, 0);
    let one = Session::new(&world, ONE);
    let killer = thread::spawn(move || {
        one.read(first(0));
        one.kill(A);
    });
    if world.is_left_to_be_taken(A) {
        assert_eq!(world.take_back(), 1, "the winner has cleared its lane and the slot is not on the stack");
    }
    join(killer);
    world.take_back();
    world.assert_freed(0, 1);
}

/// The broker sweeps a session that has died while another lets go.
pub(crate) fn sweep_against_last_drop() {
    let world = World::new(BOTH_HOLD, 0);
    let two = Session::new(&world, TWO);
    let dropper = thread::spawn(move || reads_and_lets_go(&two, first(0)));
    world.sweep(ONE, A);
    join(dropper);
    world.assert_freed(0, 1);
}

#[expect(clippy::expect_used, reason = "a test that can't go on fails")]
pub(crate) fn join(thread: thread::JoinHandle<()>) {
    thread.join().expect("a thread that panics ends the scene");
}

/// The owner of a slab and another let go of an object of it, and the owner creates the next one of its slot.
pub(crate) fn home_against_last_drop() {
    let world = World::with_slab(BOTH_HOLD);
    let two = Session::new(&world, TWO);
    let other = thread::spawn(move || {
        two.read(first(0));
        let _ = two.kill(A);
    });
    let one = Session::new(&world, ONE);
    one.read(first(0));
    let ready = one.let_go_own(A).or_else(|| one.take_home());
    if let Some(ready) = ready {
        one.create_from(ready);
        one.read(ready.0);
    }
    join(other);
    if ready.is_none() {
        match one.take_home() {
            Some(ready) => one.create_from(ready),
            None => assert!(!Leaks::are_forbidden(), "LOST"),
        }
    }
}

/// One who knows the id of an object takes it up while its owner makes the next one of its slot.
pub(crate) fn stale_take_against_anew() {
    let world = World::with_slab(ONE_HOLDS);
    let two = Session::new(&world, TWO);
    let other = thread::spawn(move || {
        if two.take(first(0)) {
            two.read(first(0));
            let _ = two.kill(A);
        }
    });
    let one = Session::new(&world, ONE);
    if let Some(ready) = one.let_go_own(A) {
        one.create_from(ready);
        one.read(ready.0);
    }
    join(other);
}
