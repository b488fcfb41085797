//! The broker: what it may take in hand when it is idle, and what it does with slots.

use crate::audit;
use crate::call;
use crate::channel;
use crate::create;
use crate::fork;
use crate::hosting::objects;
use crate::mutation::Mutation;
use crate::name;
use crate::process::{Op, Point, Turn};
use crate::sweep;
use crate::ticket::Expire;
use crate::world::{Actor, CLIENTS, Entry, Fault, Id, Post, Ring, Session, State, TICKETS, World};

/// What an idle broker can turn to. It does one thing at a time; the order is anybody's guess.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    Serve(u8),
    Sweep(u8),
    TakeBack,
    Audit(u8),
    /// A mutation only: a dead slot is finished wherever it is met.
    Finish(u8),
    Expire(u8),
    /// The connection closed before the grant was claimed.
    Withdraw(u8),
    /// The connection closed before the last result of a call had certainly arrived: its message.
    Cancel(u8),
    /// The contents of a dead object are dropped. (In truth by a thread of its own.)
    Bury(u8),
    /// A dead channel is emptied.
    Empty(u8),
}

impl Choice {
    pub(crate) fn is_required(self) -> bool {
        !matches!(self, Self::Expire(_) | Self::Withdraw(_))
    }
}

pub(crate) fn choices(turn: &Turn) -> Vec<Choice> {
    let World { slots, tickets, sessions, desk, budget, .. } = &turn.world;
    let slots = &slots[..usize::from(turn.scene.slots)];
    let mut list = Vec::new();
    if turn.has(Mutation::AuditBlocks) && desk.due & desk.noted != 0 {
        let due = (0..turn.scene.slots).filter(|slot| desk.due & desk.noted & 1 << slot != 0);
        list.extend(due.filter(|slot| !turn.world.is_announced(*slot)).map(Choice::Audit));
        return list;
    }
    for (client, actor) in turn.world.actors[..CLIENTS].iter().enumerate() {
        if actor.alive && actor.point == Point::Asked {
            let can_be_served = match turn.scene.programs[client][usize::from(actor.op)] {
                Op::Connect | Op::Fork => free_number(turn).is_some(),
                // Another thread does.
                Op::Put { .. } | Op::Pop { .. } => false,
                _ => true,
            };
            if can_be_served {
                list.push(Choice::Serve(client as u8));
            }
        }
    }
    for (session, state) in sessions[..CLIENTS].iter().enumerate() {
        let is_kept = turn.world.fork.prepared == session as u8 + 1 && !turn.has(Mutation::UnclaimedEnded);
        if *state != Session::Free && turn.world.is_gone(session as u8) && !is_kept {
            list.push(Choice::Sweep(session as u8));
        }
    }
    if turn.world.returned != 0 {
        list.push(Choice::TakeBack);
    }
    for (number, slot) in slots.iter().enumerate() {
        let number = number as u8;
        // An audit that a lane holds up comes back later: nothing would change before.
        let ignored = [Mutation::AuditIgnoresLanes, Mutation::AuditIgnoresOwnLanes].map(|flaw| turn.has(flaw));
        let waits = turn.world.is_announced(number) && !ignored.contains(&true);
        if desk.due & 1 << number != 0 && !waits {
            list.push(Choice::Audit(number));
        }
        if budget.withdrawals != 0 && matches!(slot.refs.state, State::Granted(_)) {
            list.push(Choice::Withdraw(number));
        }
        if turn.has(Mutation::FreesUnreturned) && matches!(slot.refs.state, State::Dead(_)) {
            list.push(Choice::Finish(number));
        }
    }
    for (number, ticket) in tickets[..TICKETS].iter().enumerate() {
        if budget.expiries & 1 << number != 0 && matches!(ticket.entry, Entry::Live(_)) {
            list.push(Choice::Expire(number as u8));
        }
    }
    list.extend(call::unclaimed(turn).map(Choice::Cancel));
    list.extend(objects(turn.world.hosting.droppable()).map(Choice::Bury));
    list.extend(objects(desk.emptying).map(Choice::Empty));
    list
}

/// The lowest session number that a new process can have.
fn free_number(turn: &Turn) -> Option<usize> {
    let numbers = usize::from(turn.scene.numbers);
    turn.world.sessions[..numbers].iter().position(|state| *state == Session::Free)
}

/// Turns to `choice`, with its first micro-step where that is a private one.
pub(crate) fn begin(turn: &mut Turn, choice: Choice) -> &'static str {
    match choice {
        Choice::Serve(client) => serve(turn, client),
        Choice::Sweep(session) => sweep::begin(turn, session),
        Choice::TakeBack => {
            turn.me().back = Point::Idle;
            take(turn, Take::Swap)
        }
        Choice::Audit(slot) => {
            turn.me().id.slot = slot;
            audit::step(turn, audit::Step::Read)
        }
        Choice::Finish(slot) => {
            turn.me().id.slot = slot;
            turn.me().after = Point::Idle;
            finish(turn, Finish::Memory)
        }
        Choice::Expire(ticket) => {
            let entry = turn.world.tickets[usize::from(ticket)];
            turn.world.budget.expiries &= !(1 << ticket);
            turn.world.desk.subject = ticket;
            turn.me().id = entry.object;
            turn.me().scratch = entry.serial;
            turn.go(Point::Expire(Expire::Lane));
            "expire: read the entry"
        }
        Choice::Cancel(message) => {
            let Post { ticket, serial, object } = turn.world.posts[usize::from(message)];
            turn.world.hosting.call.sent = 0;
            turn.world.desk.subject = ticket;
            turn.me().id = object;
            turn.me().scratch = serial;
            turn.go(Point::Expire(Expire::Lane));
            "cancel: the client is gone"
        }
        Choice::Bury(slot) => {
            turn.world.hosting.buried &= !(1 << slot);
            turn.world.hosting.whole &= !(1 << slot);
            turn.world.desk.subject = slot;
            bury(turn)
        }
        Choice::Empty(slot) => {
            turn.world.desk.subject = slot;
            channel::empty(turn, channel::Empty::Next)
        }
        Choice::Withdraw(slot) => {
            turn.world.budget.withdrawals -= 1;
            turn.me().id.slot = slot;
            turn.me().after = Point::Idle;
            withdraw(turn, Withdraw::Swap)
        }
    }
}

fn serve(turn: &mut Turn, client: u8) -> &'static str {
    turn.world.desk.subject = client;
    let asking = turn.world.actors[usize::from(client)];
    let op = turn.scene.programs[usize::from(client)][usize::from(asking.op)];
    let named = turn.world.name.is_some();
    match op {
        Op::Connect => {
            let Some(number) = free_number(turn) else { unreachable!("served only if there is one") };
            turn.world.sessions[number] = Session::Active;
            turn.world.actors[usize::from(client)].session = number as u8;
            turn.answer();
            "connect"
        }
        Op::Fork => {
            let Some(number) = free_number(turn) else { unreachable!("served only if there is one") };
            fork::prepare(turn, client, number);
            turn.world.desk.subject = 0;
            "prepare a session for a child"
        }
        Op::Create { .. } => {
            let slots = &turn.world.slots[..usize::from(turn.scene.slots)];
            let free = slots.iter().position(|slot| slot.refs.state == State::Free);
            match free {
                Some(slot) if turn.world.desk.heap != 0 => {
                    turn.me().id.slot = slot as u8;
                    turn.go(Point::Grant(Grant::Fields));
                    "grant: find a slot"
                }
                _ => {
                    turn.answer();
                    "grant: nothing is free"
                }
            }
        }
        Op::Publish { .. } if !named => {
            turn.me().id = asking.id;
            turn.go(Point::Publish(name::Publish::Lane));
            "publish: begin"
        }
        Op::Remove if named => {
            turn.me().id = turn.world.name;
            turn.go(Point::Remove(name::Remove::Lane));
            "remove: begin"
        }
        _ => {
            turn.answer();
            "refused"
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Grant {
    Fields,
    Holders,
    Refs,
    Reply,
}

/// The asking client is `subject`.
pub(crate) fn grant(turn: &mut Turn, step: Grant) -> &'static str {
    let client = usize::from(turn.world.desk.subject);
    let session = turn.world.actors[client].session;
    match step {
        Grant::Fields => {
            let extent = turn.world.desk.heap.trailing_zeros() as u8;
            turn.world.desk.heap &= !(1 << extent);
            turn.slot().generation += 1;
            turn.slot().extent = extent;
            turn.me().id.generation = turn.slot().generation;
            turn.go(Point::Grant(Grant::Holders));
            "grant: generation, memory"
        }
        Grant::Holders => {
            turn.slot().holders = turn.scene.hint(session);
            turn.go(Point::Grant(Grant::Refs));
            "grant: reset hint"
        }
        Grant::Refs => {
            turn.write(State::Granted(session), 0);
            turn.me().snap = turn.slot().refs;
            turn.go(Point::Grant(Grant::Reply));
            "grant: granted"
        }
        Grant::Reply => {
            let first = Point::Create(create::Step::first(turn.flaw));
            let extent = turn.slot().extent;
            let (id, snap) = (turn.me().id, turn.me().snap);
            let asking = &mut turn.world.actors[client];
            if asking.alive {
                asking.id = id;
                asking.snap = snap;
                asking.scratch = extent;
                asking.point = first;
            }
            turn.rest(Point::Idle);
            "grant: reply"
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Withdraw {
    Swap,
    Memory,
}

/// The grant of the slot in hand, if it is still one, is taken back.
pub(crate) fn withdraw(turn: &mut Turn, step: Withdraw) -> &'static str {
    let after = turn.me().after;
    match step {
        Withdraw::Swap if matches!(turn.slot().refs.state, State::Granted(_)) => {
            turn.write(State::Free, 0);
            turn.go(Point::Withdraw(Withdraw::Memory));
            "withdraw: free"
        }
        Withdraw::Swap => {
            turn.rest(after);
            "withdraw: claimed meanwhile"
        }
        Withdraw::Memory => {
            to_heap(turn);
            turn.rest(after);
            "withdraw: memory to the heap"
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Take {
    Swap,
    Walk,
}

/// Takes the whole returned stack and frees what is dead on it.
pub(crate) fn take(turn: &mut Turn, step: Take) -> &'static str {
    match step {
        Take::Swap => {
            turn.world.desk.list = std::mem::take(&mut turn.world.returned);
            if turn.world.desk.list == 0 {
                turn.go_back();
            } else {
                turn.go(Point::Take(Take::Walk));
            }
            "take back: take the stack"
        }
        Take::Walk => {
            let list = turn.world.desk.list;
            if list == 0 {
                turn.go_back();
                return "take back: end of the stack";
            }
            turn.me().id = Id { slot: list - 1, generation: 0 };
            turn.world.desk.list = turn.slot().next;
            if matches!(turn.slot().refs.state, State::Dead(_)) {
                turn.me().after = Point::Take(Take::Walk);
                turn.go(Point::Finish(Finish::Memory));
            }
            "take back: next slot"
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Finish {
    Memory,
    Refs,
}

/// The end of the dead slot in hand.
pub(crate) fn finish(turn: &mut Turn, step: Finish) -> &'static str {
    match step {
        Finish::Memory if is_full_channel(turn) => {
            let Actor { id, after, .. } = *turn.me();
            turn.world.desk.emptying |= 1 << id.slot;
            turn.rest(after);
            "finish: a channel is to be emptied first"
        }
        Finish::Memory => {
            to_heap(turn);
            turn.go(Point::Finish(Finish::Refs));
            "finish: memory to the heap"
        }
        Finish::Refs => {
            if !matches!(turn.slot().refs.state, State::Dead(_)) {
                turn.fail(Fault::FreedTwice);
            }
            turn.write(State::Free, 0);
            let slot = turn.me().id.slot;
            turn.world.hosting.buried |= turn.world.hosting.whole & 1 << slot;
            let after = turn.me().after;
            turn.rest(after);
            "finish: free"
        }
    }
}

/// What the dead object `subject` holds, one by one.
pub(crate) fn bury(turn: &mut Turn) -> &'static str {
    let subject = usize::from(turn.world.desk.subject);
    let held = &mut turn.world.hosting.contents[subject];
    if *held == 0 {
        turn.rest(Point::Idle);
        return "bury: nothing is left";
    }
    let object = held.trailing_zeros() as u8;
    *held &= *held - 1;
    turn.me().id.slot = object;
    turn.go(Point::Bury);
    if turn.uncount() {
        turn.check(Point::Bury);
    }
    "bury: uncount"
}

fn is_full_channel(turn: &mut Turn) -> bool {
    let is_channel = turn.scene.channel == Some(turn.me().id.slot);
    let is_full = turn.world.ring.places.iter().any(|place| place.object.is_some());
    is_channel && is_full && !turn.has(Mutation::FreesFull)
}

fn to_heap(turn: &mut Turn) {
    if turn.scene.channel == Some(turn.me().id.slot) {
        turn.world.ring = Ring::default();
    }
    let extent = turn.slot().extent;
    if turn.world.desk.heap & 1 << extent != 0 {
        turn.fail(Fault::FreedTwice);
    }
    turn.world.desk.heap |= 1 << extent;
    turn.world.payload[usize::from(extent)] = Id::NONE;
}
