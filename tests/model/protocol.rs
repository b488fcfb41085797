//! The protocol in one scene, with or without a mistake in it, as a model that can be explored.

use crate::broker;
use crate::collect;
use crate::explorer::{Model, Move};
use crate::hosting::objects;
use crate::mutation::Mutation;
use crate::process::{Op, Point};
use crate::promise;
use crate::restart;
use crate::scene::Scene;
use crate::world::{Actor, BROKER, BROKER_SESSION, Budget, CLIENTS, Desk, State, THREADS, World};

pub(crate) struct Protocol {
    pub(crate) scene: Scene,
    pub(crate) flaw: Option<Mutation>,
}

const CLIENT_NAMES: [&str; CLIENTS] = ["A", "B", "C"];
const BROKER_NAMES: [&str; THREADS] = ["broker", "caller", "collect"];

impl Protocol {
    fn steps(&self, world: &World, out: &mut Vec<Move<World>>) {
        for (actor, &Actor { session, thread, .. }) in world.actors.iter().enumerate() {
            let mut turn = self.scene.turn(world.clone(), self.flaw, actor);
            if let Some(what) = turn.step() {
                let own = session == BROKER_SESSION;
                let who = if own { BROKER_NAMES[usize::from(thread)] } else { CLIENT_NAMES[actor] };
                out.push(settled(who, what, true, turn.world));
            }
        }
        if world.actors[BROKER].point == Point::Idle {
            let idle = self.scene.turn(world.clone(), self.flaw, BROKER);
            for choice in broker::choices(&idle) {
                let mut turn = self.scene.turn(world.clone(), self.flaw, BROKER);
                let what = broker::begin(&mut turn, choice);
                out.push(settled(BROKER_NAMES[0], what, choice.is_required(), turn.world));
            }
        }
    }

    /// Nothing else has to happen, and from now on nothing goes wrong.
    fn collect_at_last(&self, world: &World, out: &mut Vec<Move<World>>) {
        let waits = |actor: &Actor| actor.point == Point::Collect(collect::Step::AtLast);
        if let Some(actor) = world.actors.iter().position(waits) {
            let mut turn = self.scene.turn(world.clone(), self.flaw, actor);
            turn.world.budget = Budget::default();
            let what = collect::begin(&mut turn);
            out.push(settled(BROKER_NAMES[2], what, true, turn.world));
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
        if self.scene.hosted() != 0 {
            // Hosted objects end with their broker, and nobody uses the region again.
            return;
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
        if !out.iter().any(|step| step.required) {
            self.collect_at_last(world, out);
        }
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
        if self.scene.hosted() != 0 {
            let contents = world.hosting.contents.map(|held| objects(held).collect::<Vec<_>>());
            text += &format!(" contents {contents:?} broker {:?}", world.cells[BROKER]);
        }
        text + &format!(" lanes {lanes:?} {tickets:?}")
    }
}
