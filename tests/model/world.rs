//! The shared words, and what each process keeps to itself.

use crate::fork::Forking;
use crate::hosting::Hosting;
use crate::process::Point;

pub(crate) const SLOTS: usize = 3;
pub(crate) const TICKETS: usize = 2;
pub(crate) const POSTS: usize = 2;
pub(crate) const ENTRIES: usize = 2;
pub(crate) const PROXIES: usize = 3;
/// Client threads, or further threads of the broker; its loop is the actor after them.
pub(crate) const CLIENTS: usize = 3;
pub(crate) const ACTORS: usize = CLIENTS + 1;
pub(crate) const BROKER: usize = CLIENTS;
/// Session numbers of clients are below the broker's own.
pub(crate) const SESSIONS: usize = CLIENTS + 1;
pub(crate) const BROKER_SESSION: u8 = CLIENTS as u8;
/// Threads that one session may have: each has its own lane.
pub(crate) const THREADS: usize = 3;
pub(crate) const NOBODY: u8 = u8::MAX;

/// An object: its slot and the generation of the slot. Generation zero is no object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    pub(crate) slot: u8,
    pub(crate) generation: u8,
}

impl Id {
    pub(crate) const NONE: Self = Self { slot: 0, generation: 0 };

    pub(crate) fn is_some(self) -> bool {
        self != Self::NONE
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum State {
    #[default]
    Free,
    Granted(u8),
    Live,
    Dead(u8),
}

/// `slot.refs`: one word, changed by compare-and-swap only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Refs {
    /// See [`World::settle`].
    pub(crate) epoch: u8,
    pub(crate) pins: u8,
    pub(crate) state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) refs: Refs,
    pub(crate) generation: u8,
    /// Bit `session % hint_bits` of the scene.
    pub(crate) holders: u8,
    /// Where the object's bytes are.
    pub(crate) extent: u8,
    /// Next slot + 1 on the returned stack.
    pub(crate) next: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Entry {
    #[default]
    Free,
    Building(u8),
    Live(u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    /// `ticket.word`: serial and entry are one word.
    pub(crate) serial: u8,
    pub(crate) entry: Entry,
    pub(crate) object: Id,
}

/// An entry of the channel: round and object are one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) round: u8,
    pub(crate) object: Id,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ring {
    pub(crate) places: [Place; ENTRIES],
    pub(crate) tail: u8,
    pub(crate) head: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Session {
    #[default]
    Free,
    Active,
    Dead,
}

/// What an issuer sends to others: enough to redeem the ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Post {
    pub(crate) ticket: u8,
    pub(crate) serial: u8,
    pub(crate) object: Id,
}

/// One thread of a client, or the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Actor {
    pub(crate) alive: bool,
    pub(crate) session: u8,
    pub(crate) thread: u8,
    /// The running operation of its program.
    pub(crate) op: u8,
    pub(crate) point: Point,
    /// Where a check or a walk of the returned stack goes on afterwards.
    pub(crate) back: Point,
    /// Where the end of a slot goes on afterwards: it may be a part of such a walk.
    pub(crate) after: Point,
    /// The object in hand.
    pub(crate) id: Id,
    /// `refs` of the slot in hand, as it was last read.
    pub(crate) snap: Refs,
    pub(crate) scratch: u8,
    /// The proxies that this thread has; their bytes may be used at any moment.
    pub(crate) proxies: [Id; PROXIES],
}

impl Actor {
    pub(crate) fn forget(&mut self) {
        self.back = Point::Next;
        self.after = Point::Next;
        self.id = Id::NONE;
        self.snap = Refs::default();
        self.scratch = 0;
    }
}

/// What the broker keeps in its own memory, and loses with its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Desk {
    /// Bit by extent: memory that belongs to no object.
    pub(crate) heap: u8,
    /// Bit by slot: to be audited.
    pub(crate) due: u8,
    /// Bit by slot: to be checked after the audit.
    pub(crate) checks: u8,
    /// Slot + 1: the rest of the returned stack that it took.
    pub(crate) list: u8,
    /// The client served, the session swept, or the ticket expired.
    pub(crate) subject: u8,
    /// Bit by slot: what the lanes of the swept session named.
    pub(crate) noted: u8,
    pub(crate) cursor: u8,
    /// Bit by slot: a dead channel that has yet to be emptied.
    pub(crate) emptying: u8,
}

/// What may still go wrong by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) kills: u8,
    /// Bit by ticket.
    pub(crate) expiries: u8,
    pub(crate) withdrawals: u8,
}

/// Something that a correct step never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    CountBelowZero,
    PinsBelowZero,
    FreedTwice,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) slots: [Slot; SLOTS],
    /// Proxies, by session and slot.
    pub(crate) cells: [[u8; SLOTS]; SESSIONS],
    pub(crate) lanes: [[u8; THREADS]; SESSIONS],
    pub(crate) tickets: [Ticket; TICKETS],
    pub(crate) name: Id,
    pub(crate) ring: Ring,
    pub(crate) sessions: [Session; SESSIONS],
    pub(crate) returned: u8,
    /// By extent: whose bytes are there.
    pub(crate) payload: [Id; SLOTS],
    pub(crate) actors: [Actor; ACTORS],
    pub(crate) desk: Desk,
    pub(crate) posts: [Post; POSTS],
    pub(crate) budget: Budget,
    pub(crate) hosting: Hosting,
    pub(crate) fork: Forking,
    pub(crate) fault: Option<Fault>,
}

impl World {
    /// Epochs only ever grow and are only compared for equality. So an older one can never be met again,
    /// and the number may be forgotten: the present epoch is 1, every other that somebody remembers is 0.
    pub(crate) fn settle(&mut self) {
        for actor in &mut self.actors {
            let now = self.slots[usize::from(actor.id.slot)].refs.epoch;
            actor.snap.epoch = u8::from(actor.snap.epoch == now);
        }
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if slot.refs.epoch != 1 {
                self.hosting.collector.fresh &= !(1 << number);
            }
            slot.refs.epoch = 1;
        }
    }

    pub(crate) fn is_live(&self, id: Id) -> bool {
        let slot = &self.slots[usize::from(id.slot)];
        slot.refs.state == State::Live && slot.generation == id.generation
    }

    /// Live tickets, names and entries of the channel that refer to the object.
    pub(crate) fn stored(&self, id: Id) -> u8 {
        let tickets =
            self.tickets.iter().filter(|ticket| matches!(ticket.entry, Entry::Live(_)) && ticket.object == id).count();
        let entries = self.ring.places.iter().filter(|place| place.object == id).count();
        (tickets + entries) as u8 + u8::from(self.name == id)
    }

    pub(crate) fn is_announced(&self, slot: u8) -> bool {
        self.lanes.as_flattened().contains(&(slot + 1))
    }

    /// No thread of the session is alive.
    pub(crate) fn is_gone(&self, session: u8) -> bool {
        !self.actors.iter().any(|actor| actor.alive && actor.session == session)
    }

    /// The process of the session ends at once, whatever its threads are doing.
    pub(crate) fn kill(&mut self, session: u8) {
        if self.actors[0].session == session {
            self.fork = Forking { born: self.fork.born, owed: self.fork.owed, ..Forking::default() };
        }
        for actor in &mut self.actors {
            if actor.session == session && actor.alive {
                actor.forget();
                actor.alive = false;
                actor.point = Point::End;
                actor.op = 0;
                actor.proxies = [Id::NONE; PROXIES];
            }
        }
    }
}
