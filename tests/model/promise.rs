//! What the protocol promises: in every state, and once nothing has to happen any more.

use crate::call;
use crate::channel;
use crate::hosting::objects;
use crate::process::{Op, Point};
use crate::scene::Scene;
use crate::world::*;

/// A promise that this very state breaks.
pub(crate) fn broken(world: &World) -> Option<&'static str> {
    match world.fault {
        Some(Fault::CountBelowZero) => return Some("a count below zero"),
        Some(Fault::PinsBelowZero) => return Some("pins below zero"),
        Some(Fault::FreedTwice) => return Some("a slot or its memory freed twice"),
        None => {}
    }
    holders(world)
        .or_else(|| references(world))
        .or_else(|| reached(world))
        .or_else(|| memory(world))
        .or_else(|| stacks(world))
}

/// A proxy may be used at any moment, so the bytes behind it must always be its object's own.
fn holders(world: &World) -> Option<&'static str> {
    for actor in &world.actors {
        for id in actor.proxies.into_iter().filter(|id| id.is_some()) {
            let slot = &world.slots[usize::from(id.slot)];
            if !world.is_live(id) {
                return Some("a proxy of an object that is not live");
            }
            if world.payload[usize::from(slot.extent)] != id {
                return Some("a proxy that sees bytes of nobody or of another object");
            }
        }
    }
    None
}

fn references(world: &World) -> Option<&'static str> {
    let tickets = world.tickets.iter().filter(|ticket| matches!(ticket.entry, Entry::Live(_)));
    let entries = world.ring.places.iter().map(|place| place.object);
    for id in tickets.map(|ticket| ticket.object).chain([world.name]).chain(entries).filter(|id| id.is_some()) {
        if !world.is_live(id) {
            return Some("a ticket, a name or an entry of an object that is not live");
        }
        if world.slots[usize::from(id.slot)].refs.pins < world.stored(id) {
            return Some("fewer pins than references");
        }
    }
    None
}

/// What can be reached from outside is alive and has its contents. (What a collector has killed it may still revive.)
fn reached(world: &World) -> Option<&'static str> {
    let hosting = &world.hosting;
    let reachable = if hosting.hosted == 0 { 0 } else { world.reachable() };
    for slot in objects(reachable) {
        let state = world.slots[usize::from(slot)].refs.state;
        if state != State::Live && hosting.collector.killed & hosting.whole & 1 << slot == 0 {
            return Some("an object that can be reached and is not live");
        }
        if hosting.hosted & !hosting.whole & 1 << slot != 0 {
            return Some("an object that can be reached and has lost its contents");
        }
    }
    None
}

/// Memory in use is in use once. (The heap of a broker that has not built it yet says nothing.)
fn memory(world: &World) -> Option<&'static str> {
    let mut used = world.desk.heap;
    for slot in &world.slots {
        if matches!(slot.refs.state, State::Granted(_) | State::Live) {
            if used & 1 << slot.extent != 0 {
                return Some("memory that two own");
            }
            used |= 1 << slot.extent;
        }
    }
    None
}

/// A slot is returned once, and not used before it is taken back.
fn stacks(world: &World) -> Option<&'static str> {
    let mut seen = 0;
    for head in [world.returned, world.desk.list] {
        let mut link = head;
        while link != 0 {
            if seen & 1 << link != 0 {
                return Some("a slot returned twice");
            }
            seen |= 1 << link;
            let slot = &world.slots[usize::from(link) - 1];
            if matches!(slot.refs.state, State::Granted(_) | State::Live) {
                return Some("a slot in use on the returned stack");
            }
            link = slot.next;
        }
    }
    None
}

/// A promise that this state breaks if nothing has to happen any more.
pub(crate) fn unfinished(world: &World, scene: &Scene) -> Option<&'static str> {
    for (actor, program) in world.actors[..CLIENTS].iter().zip(scene.programs) {
        let connects = program.get(usize::from(actor.op)) == Some(&Op::Connect);
        let waits = (connects && actor.point == Point::Asked) || actor.point == Point::Call(call::Step::Await);
        if actor.alive && actor.point != Point::End && !waits {
            return Some("a client that cannot go on");
        }
    }
    if world.actors[BROKER].point != Point::Idle || world.desk.due | world.desk.emptying != 0 || world.returned != 0 {
        return Some("a broker that cannot go on");
    }
    if world.lanes.as_flattened().iter().any(|lane| *lane != 0) {
        return Some("a lane that stays");
    }
    if world.tickets.iter().any(|ticket| matches!(ticket.entry, Entry::Building(_))) {
        return Some("a ticket entry that stays taken");
    }
    if world.hosting.locked != 0 || world.hosting.buried != 0 {
        return Some("a hosted object that stays locked or buried");
    }
    if world.sessions.contains(&Session::Dead) {
        return Some("a dead session that stays");
    }
    if scene.capacity != 0 && channel::is_stuck(world, scene.capacity) {
        return Some("an entry behind one that nobody fills");
    }
    counts(world, scene)
        .or_else(|| (0..scene.slots).find_map(|slot| at_rest(world, scene, slot)))
        .or_else(|| free_memory(world, scene))
}

/// Each cell is the number of proxies that the threads of its session have; what hosted objects hold is the broker's.
///
/// What a child has of proxies that another thread of its parent was just dropping or getting stays until its end.
fn counts(world: &World, scene: &Scene) -> Option<&'static str> {
    let is_loose =
        |session: usize| usize::from(world.fork.born) == session + 1 && scene.sessions[1] == scene.sessions[0];
    for (session, row) in world.cells.iter().enumerate() {
        for (slot, cell) in row.iter().enumerate() {
            let threads = world.actors.iter().filter(|actor| usize::from(actor.session) == session);
            let proxies = threads.flat_map(|actor| actor.proxies);
            let held = proxies.filter(|id| id.is_some() && usize::from(id.slot) == slot).count();
            let own = session == usize::from(BROKER_SESSION);
            let inside = world.hosting.contents.iter().filter(|contents| own && **contents & 1 << slot != 0).count();
            if usize::from(*cell) != held + inside && (usize::from(*cell) < held || !is_loose(session)) {
                return Some("a count without a proxy");
            }
        }
    }
    None
}

fn at_rest(world: &World, scene: &Scene, slot: u8) -> Option<&'static str> {
    let words = &world.slots[usize::from(slot)];
    let id = Id { slot, generation: words.generation };
    match words.refs.state {
        State::Free => None,
        State::Granted(_) => Some("a grant that stays"),
        State::Dead(_) => Some("a dead slot that stays"),
        State::Live => {
            let hosts = scene.hosted() != 0;
            let held = world.cells.iter().map(|row| row[usize::from(slot)]).sum::<u8>();
            let hinted = |(session, row): (usize, &[u8; SLOTS])| {
                row[usize::from(slot)] == 0 || words.holders & scene.hint(session as u8) != 0
            };
            if words.refs.pins != world.stored(id) {
                Some("pins that nobody stands for")
            } else if held == 0 && words.refs.pins == 0 || hosts && world.reachable() & 1 << slot == 0 {
                Some("an object that nobody can reach")
            } else if !world.cells.iter().enumerate().all(hinted) {
                Some("a holder without a hint")
            } else {
                None
            }
        }
    }
}

fn free_memory(world: &World, scene: &Scene) -> Option<&'static str> {
    let slots = &world.slots[..usize::from(scene.slots)];
    let used = slots.iter().filter(|slot| slot.refs.state != State::Free).count();
    let free = world.desk.heap.count_ones() as usize;
    (used + free != slots.len()).then_some("memory that nobody owns")
}
