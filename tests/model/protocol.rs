//! The protocol in one scene, with or without a mistake in it, as a model that can be explored.

use crate::broker;
use crate::explorer::{Model, Move};
use crate::mutation::Mutation;
use crate::process::{Op, Point};
use crate::promise;
use crate::restart;
use crate::scene::Scene;
use crate::world::{Actor, BROKER, BROKER_SESSION, CLIENTS, Desk, State, World};

pub(crate) struct Protocol {
    pub(crate) scene: Scene,
    pub(crate) flaw: Option<Mutation>,
}

const NAMES: [&str; CLIENTS + 1] = ["A", "B", "C", "broker"];

impl Protocol {
    fn steps(&self, world: &World, out: &mut Vec<Move<World>>) {
        for (actor, who) in NAMES.into_iter().enumerate() {
            let mut turn = self.scene.turn(world.clone(), self.flaw, actor);
            if let Some(what) = turn.step() {
                out.push(settled(who, what, true, turn.world));
            }
        }
        if world.actors[BROKER].point == Point::Idle {
            let idle = self.scene.turn(world.clone(), self.flaw, BROKER);
            for choice in broker::choices(&idle) {
                let mut turn = self.scene.turn(world.clone(), self.flaw, BROKER);
                let what = broker::begin(&mut turn, choice);
                out.push(settled(NAMES[BROKER], what, choice.is_required(), turn.world));
            }
        }
    }

    fn kills(&self, world: &World, out: &mut Vec<Move<World>>) {
        for session in 0..BROKER_SESSION {
            // The end of a process that does nothing and has nothing changes nothing.
            let matters = |actor: &Actor| {
                let busy = actor.point != Point::End || actor.proxies.iter().any(|id| id.is_some());
                actor.session == session && actor.alive && busy
            };
            if world.actors.iter().any(matters) {
                let mut world = world.clone();
                world.budget.kills -= 1;
                world.kill(session);
                out.push(settled("kill", "the process ends", false, world));
            }
        }
        let mut world = world.clone();
        world.budget.kills -= 1;
        out.push(settled("kill", "the broker ends", false, self.restarted(world)));
    }

    /// The broker's own memory is lost; who waits for an answer will not get it.
    fn restarted(&self, mut world: World) -> World {
        world.desk = Desk::default();
        world.actors[BROKER].forget();
        world.actors[BROKER].point = Point::Restart(restart::Step::Heap);
        for client in 0..CLIENTS {
            let actor = world.actors[client];
            let asked = actor.alive && actor.point == Point::Asked;
            if asked && self.scene.programs[client][usize::from(actor.op)] != Op::Connect {
                let mut turn = self.scene.turn(world, self.flaw, client);
                turn.next();
                world = turn.world;
            }
        }
        world
    }
}

fn settled(who: &'static str, what: &'static str, required: bool, mut world: World) -> Move<World> {
    world.settle();
    Move { who, what, required, state: world }
}

impl Model for Protocol {
    type State = World;

    fn start(&self) -> World {
        self.scene.start()
    }

    fn moves(&self, world: &World, out: &mut Vec<Move<World>>) {
        self.steps(world, out);
        if world.budget.kills != 0 {
            self.kills(world, out);
        }
    }

    fn broken(&self, world: &World) -> Option<&'static str> {
        promise::broken(world)
    }

    fn unfinished(&self, world: &World) -> Option<&'static str> {
        promise::unfinished(world, &self.scene)
    }

    fn describe(&self, world: &World) -> String {
        let mut text = String::new();
        for (number, slot) in world.slots[..usize::from(self.scene.slots)].iter().enumerate() {
            let cells: Vec<u8> = world.cells[..CLIENTS].iter().map(|row| row[number]).collect();
            let state = match slot.refs.state {
                State::Free => "free".into(),
                State::Live => format!("live {}", slot.refs.pins),
                other => format!("{other:?}"),
            };
            text += &format!(" slot {number} gen {} {state} {cells:?};", slot.generation);
        }
        let lanes = world.lanes.as_flattened();
        let tickets = world.tickets.map(|ticket| ticket.entry);
        text + &format!(" lanes {lanes:?} {tickets:?}")
    }
}
