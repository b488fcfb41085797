//! Scenes: who does what, on which objects, and what may go wrong meanwhile.

use crate::fork::Forking;
use crate::hosting::Hosting;
use crate::mutation::Mutation;
use crate::process::{Op, Point, Turn};
use crate::world::*;

/// A ticket that is live from the start, and the message about it that has been sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) ticket: usize,
    pub(crate) slot: u8,
    pub(crate) uses: u8,
    pub(crate) post: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// By actor; the broker has none, it serves.
    pub(crate) programs: [&'static [Op]; ACTORS],
    /// By client: its session, or [`NOBODY`] if it has yet to connect.
    pub(crate) sessions: [u8; CLIENTS],
    /// By client: which of the threads of its session it is.
    pub(crate) threads: [u8; CLIENTS],
    /// How many slots, session numbers of clients, and lanes of a session there are.
    pub(crate) slots: u8,
    pub(crate) numbers: u8,
    pub(crate) lanes: u8,
    /// How many bits the hint has.
    pub(crate) hint_bits: u8,
    /// Who holds what at the start: client, place, slot.
    pub(crate) held: &'static [(usize, usize, u8)],
    pub(crate) sent: &'static [Sent],
    pub(crate) named: Option<u8>,
    /// Entries of the channel; none is there with 0.
    pub(crate) capacity: u8,
    /// The slot of the channel, if it is an object.
    pub(crate) channel: Option<u8>,
    /// What is in it at the start.
    pub(crate) queued: &'static [u8],
    /// The hosted objects, and which they hold.
    pub(crate) hosts: &'static [(u8, &'static [u8])],
    pub(crate) budget: Budget,
}

impl Scene {
    /// Three processes with one thread each, one slot, no kill.
    pub(crate) const PLAIN: Self = Self {
        programs: [&[]; ACTORS],
        sessions: [0, 1, 2],
        threads: [0; CLIENTS],
        slots: 1,
        numbers: 3,
        lanes: 1,
        hint_bits: 8,
        held: &[],
        sent: &[],
        named: None,
        capacity: 0,
        channel: None,
        queued: &[],
        hosts: &[],
        budget: Budget { kills: 0, expiries: 0, withdrawals: 0 },
    };

    /// The bit of the hint that stands for the session.
    pub(crate) fn hint(&self, session: u8) -> u8 {
        1 << (session % self.hint_bits)
    }

    /// Bit by slot: the hosted objects.
    pub(crate) fn hosted(&self) -> u8 {
        self.hosts.iter().fold(0, |hosted, (slot, _)| hosted | 1 << slot)
    }

    pub(crate) fn start(&self) -> World {
        let idle = Actor {
            alive: true,
            session: NOBODY,
            thread: 0,
            op: 0,
            point: Point::Idle,
            back: Point::Next,
            after: Point::Next,
            id: Id::NONE,
            snap: Refs::default(),
            scratch: 0,
            proxies: [Id::NONE; PROXIES],
        };
        let mut world = World {
            slots: Default::default(),
            cells: Default::default(),
            lanes: Default::default(),
            tickets: Default::default(),
            name: Id::NONE,
            ring: Ring::default(),
            sessions: Default::default(),
            returned: 0,
            payload: Default::default(),
            actors: [idle; ACTORS],
            desk: Desk { heap: (1 << self.slots) - 1, ..Desk::default() },
            posts: Default::default(),
            budget: self.budget,
            hosting: Hosting { hosted: self.hosted(), whole: self.hosted(), ..Hosting::default() },
            fork: Forking::default(),
            fault: None,
        };
        world.actors[BROKER].session = BROKER_SESSION;
        world.sessions[BROKER] = Session::Active;
        for client in 0..CLIENTS {
            world.actors[client].session = self.sessions[client];
            world.actors[client].thread = self.threads[client];
            if self.sessions[client] != NOBODY {
                world.sessions[usize::from(self.sessions[client])] = Session::Active;
            }
        }
        for &(client, place, slot) in self.held {
            let session = world.actors[client].session;
            world.actors[client].proxies[place] = object(&mut world, slot);
            world.cells[usize::from(session)][usize::from(slot)] += 1;
            world.slots[usize::from(slot)].holders |= self.hint(session);
        }
        for &Sent { ticket, slot, uses, post } in self.sent {
            let id = object(&mut world, slot);
            world.slots[usize::from(slot)].refs.pins += 1;
            world.tickets[ticket] = Ticket { serial: 0, entry: Entry::Live(uses), object: id };
            world.posts[post] = Post { ticket: ticket as u8, serial: 0, object: id };
        }
        if let Some(slot) = self.named {
            world.name = object(&mut world, slot);
            world.slots[usize::from(slot)].refs.pins += 1;
        }
        for &slot in self.queued {
            let tail = usize::from(world.ring.tail);
            world.ring.places[tail].object = object(&mut world, slot);
            world.ring.tail += 1;
            world.slots[usize::from(slot)].refs.pins += 1;
        }
        for &(host, held) in self.hosts {
            object(&mut world, host);
            for &slot in held {
                object(&mut world, slot);
                world.hosting.contents[usize::from(host)] |= 1 << slot;
                world.cells[BROKER][usize::from(slot)] += 1;
                world.slots[usize::from(slot)].holders |= self.hint(BROKER_SESSION);
            }
        }
        let mut turn = self.turn(world, None, 0);
        for client in 0..CLIENTS {
            turn.actor = client;
            if turn.me().session == NOBODY && self.programs[0].contains(&Op::Fork) {
                // Not born yet.
                turn.me().alive = false;
                turn.go(Point::End);
            } else {
                turn.begin();
            }
        }
        turn.world.settle();
        turn.world
    }

    pub(crate) fn turn(&self, world: World, flaw: Option<Mutation>, actor: usize) -> Turn<'_> {
        Turn { world, scene: self, flaw, actor }
    }
}

/// The object in the slot, made if there is none yet.
fn object(world: &mut World, slot: u8) -> Id {
    let id = Id { slot, generation: 1 };
    let words = &mut world.slots[usize::from(slot)];
    words.refs.state = State::Live;
    words.generation = 1;
    words.extent = slot;
    world.payload[usize::from(slot)] = id;
    world.desk.heap &= !(1 << slot);
    id
}
