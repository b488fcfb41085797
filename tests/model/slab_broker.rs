//! The broker in the model of slabs: what it may turn to, and what it does with slots.

use crate::mutation::Mutation;
use crate::slab::{
    Actor, BROKER, DESK, Id, NOBODY, OTHER, OWNER, Point, Refs, SESSIONS, SLOTS, Slot, Turn, WALKING, World,
};
use crate::world::State;

/// What the broker keeps in its own memory, and loses with its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Desk {
    /// By slot: of whose slab it is.
    pub(crate) owners: [u8; SLOTS],
    /// Slots are to be looked for.
    pub(crate) is_lost: bool,
    /// What was dead when they were.
    pub(crate) noted: [Refs; SLOTS],
    /// Bit by slot: named in a lane.
    pub(crate) announced: u8,
    /// The session that is swept, or the client that is served.
    pub(crate) subject: u8,
    /// Slot + 1 that its lane names.
    pub(crate) moving: u8,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    Sweep(u8),
    TakeBack,
    Look,
    Serve(u8),
    Withdraw(u8),
    Reclaim,
}

/// The steps of what it does; a number is the slot or the session that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Take(Then),
    Walk(Then),
    Close(Then),
    Withdraw,
    Free(Then),
    Words,
    Grant,
    Row(u8),
    Moving,
    Unlane,
    Slots(u8),
    Number,
    Note(u8),
    Lanes(u8),
    Seize(u8),
    Seized(u8),
    Learn(u8),
    Settle(u8),
    Clear,
}

/// Where it goes on when a stack is empty, or a slot free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    Idle,
    CloseStack,
    Rows,
    Slots(u8),
    Stacks,
    Note,
    Seize(u8),
    Settle(u8),
    Clear,
    Unlane,
}

pub(crate) fn choices(world: &World) -> Vec<(Choice, bool)> {
    let mut list = Vec::new();
    for number in [OWNER, OTHER] {
        let session = &world.sessions[usize::from(number)];
        if session.is_used && !session.lives {
            list.push((Choice::Sweep(number), true));
        }
    }
    if world.returned != 0 {
        list.push((Choice::TakeBack, true));
    }
    if world.desk.is_lost {
        list.push((Choice::Look, true));
    }
    for client in [1, 2] {
        let is_free = client == 1 || !world.sessions[usize::from(OWNER)].is_used;
        if world.actors[client].point == Point::Asked && is_free {
            list.push((Choice::Serve(client as u8), true));
        }
    }
    if world.withdrawals > 0 {
        let granted = |slot: &usize| matches!(world.slots[*slot].refs.state, State::Granted(_));
        list.extend((0..SLOTS).filter(granted).map(|slot| (Choice::Withdraw(slot as u8), false)));
        if world.sessions[usize::from(OWNER)].stack.1 != 0 {
            list.push((Choice::Reclaim, false));
        }
    }
    list
}

pub(crate) fn begin(turn: &mut Turn<'_>, choice: Choice) -> &'static str {
    match choice {
        Choice::Sweep(number) => {
            turn.world.desk.subject = number;
            turn.go(Point::Desk(Step::Take(Then::CloseStack)));
            "sweep: dead"
        }
        Choice::TakeBack => step(turn, Step::Take(Then::Idle)),
        Choice::Look => {
            turn.world.desk.is_lost = false;
            turn.world.desk.announced = 0;
            let is_early = turn.has(Mutation::StacksBeforeLanes);
            turn.go(Point::Desk(if is_early { Step::Take(Then::Stacks) } else { Step::Note(0) }));
            "look: begin"
        }
        Choice::Serve(client) => {
            turn.world.desk.subject = client;
            serve(turn, client)
        }
        Choice::Withdraw(slot) => {
            turn.world.withdrawals -= 1;
            turn.me().id.slot = slot;
            turn.me().snap = turn.slot().refs;
            turn.go(Point::Desk(Step::Withdraw));
            "withdraw: read refs"
        }
        Choice::Reclaim => {
            turn.world.withdrawals -= 1;
            turn.world.desk.subject = OWNER;
            let stack = &mut turn.world.sessions[usize::from(OWNER)].stack;
            let head = std::mem::take(&mut stack.1);
            turn.me().chain = head;
            turn.go(Point::Desk(Step::Walk(Then::Idle)));
            "reclaim: take a stack"
        }
    }
}

/// An object, or a session with a slab, for one that waits.
fn serve(turn: &mut Turn<'_>, client: u8) -> &'static str {
    if client == 2 {
        let session = &mut turn.world.sessions[usize::from(OWNER)];
        (session.is_used, session.lives, session.generation) = (true, true, session.generation + 1);
        session.stack = (session.generation, 0);
        turn.world.actors[2].session = OWNER;
    }
    let free = turn.world.slots.iter().position(|slot| slot.refs.state == State::Free);
    if let Some(slot) = free {
        turn.me().id.slot = slot as u8;
        turn.go(Point::Desk(Step::Words));
        return "grant: find a slot";
    }
    answer(turn, client);
    "grant: nothing is free"
}

/// The client goes on behind its operation.
fn answer(turn: &mut Turn<'_>, client: u8) {
    let Actor { session, op, proxies, list, .. } = turn.world.actors[usize::from(client)];
    turn.world.actors[usize::from(client)] = Actor { session, op: op + 1, proxies, list, ..Actor::default() };
}

fn go_on(turn: &mut Turn<'_>, then: Then) {
    let step = match then {
        Then::Idle => {
            *turn.me() = Actor { session: BROKER, ..Actor::default() };
            turn.world.desk.noted = [Refs::default(); SLOTS];
            (turn.world.desk.announced, turn.world.desk.subject, turn.world.desk.moving) = (0, 0, 0);
            return;
        }
        Then::CloseStack if turn.has(Mutation::StaysOpen) => Step::Row(0),
        Then::CloseStack => Step::Close(Then::Rows),
        Then::Rows => Step::Row(0),
        Then::Slots(slot) => Step::Slots(slot),
        Then::Stacks => {
            turn.world.desk.subject = OWNER;
            let head = std::mem::take(&mut turn.world.sessions[usize::from(OWNER)].stack.1);
            turn.me().chain = head;
            let is_early = turn.has(Mutation::StacksBeforeLanes);
            Step::Walk(if is_early { Then::Note } else { Then::Seize(0) })
        }
        Then::Note => Step::Note(0),
        Then::Seize(slot) => Step::Seize(slot),
        Then::Settle(slot) => Step::Settle(slot),
        Then::Clear => Step::Clear,
        Then::Unlane => Step::Unlane,
    };
    turn.go(Point::Desk(step));
}

pub(crate) fn step(turn: &mut Turn<'_>, step: Step) -> &'static str {
    let subject = turn.world.desk.subject;
    match step {
        Step::Take(then) => {
            turn.me().chain = std::mem::take(&mut turn.world.returned);
            turn.go(Point::Desk(Step::Walk(then)));
            "take back: the stack"
        }
        Step::Close(then) => {
            let stack = std::mem::take(&mut turn.world.sessions[usize::from(subject)].stack);
            turn.me().chain = stack.1;
            turn.go(Point::Desk(Step::Walk(then)));
            "sweep: close the stack"
        }
        Step::Walk(then) => {
            let Some(slot) = turn.me().chain.checked_sub(1) else {
                go_on(turn, then);
                return "take back: all of it";
            };
            turn.me().id.slot = slot;
            turn.me().chain = turn.slot().next;
            // What a broker that starts again has finished may be on the stack too.
            if then != Then::Clear || matches!(turn.slot().refs.state, State::Dead(_)) {
                free(turn);
            }
            "take back: free"
        }
        Step::Withdraw => {
            let is_any = turn.has(Mutation::WithdrawsAnyValue) && turn.slot().refs.state == State::Live;
            if turn.is_unchanged() || is_any {
                turn.write(State::Dead(BROKER));
                turn.go(Point::Desk(Step::Free(Then::Idle)));
                return "withdraw: dead";
            }
            go_on(turn, Then::Idle);
            "withdraw: claimed meanwhile"
        }
        Step::Free(then) => {
            free(turn);
            go_on(turn, then);
            "free"
        }
        Step::Words => {
            let is_slab = subject == 2;
            let generation = turn.world.sessions[usize::from(OWNER)].generation;
            let slot = turn.slot();
            slot.generation += 1;
            slot.digest = slot.generation;
            (slot.owner, slot.next) = if is_slab { (OWNER, generation) } else { (NOBODY, 0) };
            turn.go(Point::Desk(Step::Grant));
            "grant: words"
        }
        Step::Grant => grant(turn, subject),
        Step::Row(slot) if usize::from(slot) == SLOTS => {
            turn.world.desk.moving = turn.world.sessions[usize::from(subject)].lane;
            turn.go(Point::Desk(Step::Moving));
            "sweep: all rows"
        }
        Step::Row(slot) => {
            turn.world.cells[usize::from(subject)][usize::from(slot)] = 0;
            turn.me().id = Id { slot, generation: 1 };
            turn.me().back = Point::Desk(Step::Row(slot + 1));
            turn.go(Point::Check);
            "sweep: empty a cell"
        }
        Step::Moving => moving(turn, subject),
        Step::Unlane => {
            turn.world.sessions[usize::from(subject)].lane = 0;
            turn.go(Point::Desk(Step::Take(Then::Slots(0))));
            "sweep: clear the lane"
        }
        Step::Slots(slot) => end_slot(turn, subject, slot),
        Step::Number => {
            turn.world.sessions[usize::from(subject)].is_used = false;
            go_on(turn, Then::Idle);
            "sweep: the number is free"
        }
        Step::Note(slot) => {
            if usize::from(slot) == SLOTS {
                turn.go(Point::Desk(Step::Lanes(0)));
                return "look: all noted";
            }
            let refs = turn.world.slots[usize::from(slot)].refs;
            let owner = turn.world.desk.owners[usize::from(slot)];
            if let State::Dead(winner) = refs.state
                && (winner != owner || turn.has(Mutation::LostTakesOwners))
            {
                turn.world.desk.noted[usize::from(slot)] = refs;
            }
            turn.go(Point::Desk(Step::Note(slot + 1)));
            "look: note what is dead"
        }
        Step::Lanes(number) => {
            if usize::from(number) == SESSIONS {
                let is_early = turn.has(Mutation::StacksBeforeLanes);
                turn.go(Point::Desk(if is_early { Step::Seize(0) } else { Step::Take(Then::Stacks) }));
                return "look: all lanes";
            }
            if let Some(slot) = turn.world.sessions[usize::from(number)].lane.checked_sub(1)
                && usize::from(slot) < SLOTS
                && !turn.has(Mutation::LostTakesAnnounced)
            {
                turn.world.desk.announced |= 1 << slot;
            }
            turn.go(Point::Desk(Step::Lanes(number + 1)));
            "look: read a lane"
        }
        Step::Seize(slot) => seize(turn, slot),
        Step::Seized(slot) => {
            let owner = turn.world.desk.owners[usize::from(slot)];
            let is_walking = turn.world.sessions.get(usize::from(owner)).is_some_and(|one| one.lane == WALKING);
            if is_walking && !turn.has(Mutation::FreesWhileWalked) {
                // It may be in the chain that its owner has taken.
                turn.world.desk.is_lost = true;
                turn.go(Point::Desk(Step::Seize(slot + 1)));
            } else {
                turn.go(Point::Desk(Step::Free(Then::Seize(slot + 1))));
            }
            "look: does its owner walk"
        }
        Step::Learn(slot) => {
            if usize::from(slot) == SLOTS {
                turn.go(Point::Desk(Step::Take(Then::Settle(0))));
                return "restart: all slots";
            }
            let Slot { refs, owner, next, .. } = turn.world.slots[usize::from(slot)];
            let is_owned = turn.world.sessions.get(usize::from(owner)).is_some_and(|session| {
                let is_its = matches!(refs.state, State::Dead(_)) || next == session.generation;
                session.is_used && session.stack.0 == session.generation && is_its
            });
            let is_owned = is_owned && refs.state != State::Free;
            turn.world.desk.owners[usize::from(slot)] = if is_owned { owner } else { NOBODY };
            turn.go(Point::Desk(Step::Learn(slot + 1)));
            "restart: read a slot"
        }
        Step::Settle(slot) => settle(turn, slot),
        Step::Clear => {
            turn.world.sessions[usize::from(BROKER)].lane = 0;
            go_on(turn, Then::Idle);
            "restart: clear the lane"
        }
    }
}

/// The slot in hand, which is dead, is free.
fn free(turn: &mut Turn<'_>) {
    if !matches!(turn.slot().refs.state, State::Dead(_)) {
        turn.world.fault = Some("what is freed is not dead");
    }
    turn.write(State::Free);
    let slot = usize::from(turn.me().id.slot);
    turn.world.desk.owners[slot] = NOBODY;
}

fn grant(turn: &mut Turn<'_>, client: u8) -> &'static str {
    let slot = turn.me().id.slot;
    let to = turn.world.actors[usize::from(client)].session;
    if to == NOBODY {
        // It has died: nothing is granted.
        go_on(turn, Then::Idle);
        return "grant: nobody is there";
    }
    turn.write(State::Granted(to));
    let Slot { refs, generation, owner, .. } = *turn.slot();
    turn.world.desk.owners[usize::from(slot)] = owner;
    if client == 2 {
        turn.world.actors[2].list[usize::from(slot)] = (generation, refs);
        answer(turn, client);
    } else {
        let actor = &mut turn.world.actors[usize::from(client)];
        (actor.id, actor.snap, actor.point) = (Id { slot, generation }, refs, Point::Count);
    }
    go_on(turn, Then::Idle);
    "grant: reply"
}

/// What the lane of the dead session names.
fn moving(turn: &mut Turn<'_>, subject: u8) -> &'static str {
    let Some(slot) = turn.world.desk.moving.checked_sub(1).filter(|slot| usize::from(*slot) < SLOTS) else {
        turn.go(Point::Desk(Step::Unlane));
        return "sweep: no lane";
    };
    turn.me().id.slot = slot;
    let owner = turn.world.desk.owners[usize::from(slot)];
    if turn.slot().refs.state != State::Dead(subject) {
        turn.go(Point::Desk(Step::Unlane));
        return "sweep: nothing to finish";
    }
    if owner == NOBODY || owner == subject || turn.has(Mutation::SweepFreesForeign) {
        turn.go(Point::Desk(Step::Free(Then::Unlane)));
        return "sweep: finish";
    }
    turn.world.desk.is_lost = true;
    turn.go(Point::Desk(Step::Unlane));
    "sweep: to be looked for"
}

fn end_slot(turn: &mut Turn<'_>, subject: u8, slot: u8) -> &'static str {
    if usize::from(slot) == SLOTS {
        turn.go(Point::Desk(Step::Number));
        return "sweep: all slots";
    }
    turn.me().id.slot = slot;
    let is_its = turn.world.desk.owners[usize::from(slot)] == subject;
    let state = turn.slot().refs.state;
    match state {
        // Also what was granted alone.
        State::Granted(to) if to == subject => {
            turn.write(State::Dead(BROKER));
            turn.go(Point::Desk(Step::Free(Then::Slots(slot + 1))));
        }
        State::Dead(winner) if is_its && winner == subject => {
            let stays = turn.has(Mutation::EndKeepsDead);
            turn.go(Point::Desk(if stays { Step::Slots(slot + 1) } else { Step::Free(Then::Slots(slot + 1)) }));
        }
        _ => {
            if is_its {
                turn.world.desk.owners[usize::from(slot)] = NOBODY;
                turn.world.desk.is_lost |= matches!(state, State::Dead(_));
            }
            turn.go(Point::Desk(Step::Slots(slot + 1)));
        }
    }
    "sweep: end a slot"
}

fn seize(turn: &mut Turn<'_>, slot: u8) -> &'static str {
    if usize::from(slot) == SLOTS {
        go_on(turn, Then::Idle);
        return "look: end";
    }
    turn.me().id.slot = slot;
    let noted = turn.world.desk.noted[usize::from(slot)];
    turn.go(Point::Desk(Step::Seize(slot + 1)));
    if !matches!(noted.state, State::Dead(_)) {
        return "look: was not dead";
    }
    if turn.world.desk.announced & 1 << slot != 0 {
        turn.world.desk.is_lost = true;
        return "look: announced, later";
    }
    if turn.slot().refs == noted {
        turn.write(State::Dead(BROKER));
        turn.go(Point::Desk(Step::Seized(slot)));
        return "look: won by the broker";
    }
    "look: has changed"
}

/// A broker that starts again: only the shared words remain.
pub(crate) fn restart(world: &mut World) {
    world.desk = Desk { owners: [NOBODY; SLOTS], ..Desk::default() };
    world.actors[DESK] = Actor { session: BROKER, point: Point::Desk(Step::Learn(0)), ..Actor::default() };
}

fn settle(turn: &mut Turn<'_>, slot: u8) -> &'static str {
    if usize::from(slot) == SLOTS {
        turn.go(Point::Desk(Step::Take(Then::Clear)));
        return "restart: all settled";
    }
    turn.me().id.slot = slot;
    let owner = turn.world.desk.owners[usize::from(slot)];
    let next = Then::Settle(slot + 1);
    let state = turn.slot().refs.state;
    match state {
        State::Granted(_) if owner == NOBODY => {
            turn.write(State::Dead(BROKER));
            turn.go(Point::Desk(Step::Free(next)));
        }
        State::Dead(winner) if owner != NOBODY => {
            turn.world.desk.is_lost |= winner != owner;
            go_on(turn, next);
        }
        State::Dead(winner) => {
            let session = turn.world.sessions[usize::from(winner)];
            let is_returned = winner != BROKER && session.lives && session.lane == slot + 1;
            turn.world.desk.is_lost |= is_returned;
            if is_returned { go_on(turn, next) } else { turn.go(Point::Desk(Step::Free(next))) }
        }
        _ => go_on(turn, next),
    }
    "restart: settle a slot"
}
