//! The robust lock of an array and of a value: its words, and the broker's part in them.

use crate::explorer::{Model, Move};
use crate::guard::{self, Op, Point};
use crate::mutation::Mutation;
use crate::world::Session;

pub(crate) const CLIENTS: usize = 3;
const NAMES: [&str; CLIENTS] = ["A", "B", "C"];

/// `slot.lock`, without the count of waiters: nobody sleeps here, so nobody must be woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lock {
    pub(crate) owner: Option<Owner>,
    pub(crate) poisoned: bool,
    /// The owner changes nothing, or leaves it whole at each step.
    pub(crate) whole: bool,
}

impl Lock {
    /// After the death of its owner.
    pub(crate) fn given_on(self) -> Self {
        Self { poisoned: self.poisoned || !self.whole, ..Self::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) session: u8,
    pub(crate) generation: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Actor {
    pub(crate) alive: bool,
    /// Which session it has, and of which generation; none before it connects.
    pub(crate) session: Option<Owner>,
    pub(crate) op: u8,
    pub(crate) point: Point,
    /// The owner that it found.
    pub(crate) found: Lock,
    pub(crate) cursor: u8,
    pub(crate) seq: u8,
    pub(crate) first: u8,
    /// The guard said that a writer had died.
    pub(crate) warned: bool,
}

impl Actor {
    pub(crate) const NEW: Self = Self {
        alive: true,
        session: None,
        op: 0,
        point: Point::End,
        found: Lock { owner: None, poisoned: false, whole: false },
        cursor: 0,
        seq: 0,
        first: 0,
        warned: false,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Desk {
    Idle,
    Row(u8),
    Lock(u8),
    Number(u8),
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) lock: Lock,
    /// High halves of the cells, by session.
    pub(crate) readers: [u8; CLIENTS],
    pub(crate) sessions: [(Session, u8); CLIENTS],
    /// Which copy of a value is current: its lowest bit.
    pub(crate) seq: u8,
    /// An array has one copy, a value two; two words each.
    pub(crate) copies: [[u8; 2]; 2],
    pub(crate) actors: [Actor; CLIENTS],
    pub(crate) sealed: bool,
    pub(crate) desk: Desk,
    pub(crate) kills: u8,
    /// A writer of an array died while it had the lock.
    pub(crate) harmed: bool,
    pub(crate) torn: bool,
}

impl World {
    /// Is the owner's session still the one that took the lock?
    pub(crate) fn is_active(&self, owner: Owner) -> bool {
        self.sessions[usize::from(owner.session)] == (Session::Active, owner.generation)
    }

    fn is_gone(&self, session: usize) -> bool {
        let has = |actor: &Actor| actor.session.is_some_and(|own| usize::from(own.session) == session);
        !self.actors.iter().any(|actor| actor.alive && has(actor))
    }
}

/// Processes that share one array or one value.
pub(crate) struct Locking {
    pub(crate) programs: [&'static [Op]; CLIENTS],
    /// How many session numbers there are; a client without one connects first.
    pub(crate) numbers: usize,
    pub(crate) kills: u8,
    pub(crate) flaw: Option<Mutation>,
}

impl Locking {
    fn broker(&self, world: &World, out: &mut Vec<Move<World>>) {
        let mut step = |what, change: &dyn Fn(&mut World)| {
            let mut state = world.clone();
            change(&mut state);
            out.push(Move { who: "broker", what, required: true, state });
        };
        match world.desk {
            Desk::Idle => {
                for session in 0..self.numbers {
                    if world.sessions[session].0 != Session::Free && world.is_gone(session) {
                        step("sweep: session is dead", &|world| {
                            world.sessions[session].0 = Session::Dead;
                            world.desk = Desk::Row(session as u8);
                        });
                    }
                }
                self.connect(world, &mut step);
            }
            Desk::Row(session) => step("sweep: zero the row", &|world| {
                world.readers[usize::from(session)] = 0;
                world.desk = Desk::Lock(session);
            }),
            Desk::Lock(session) => step("sweep: give the lock on", &|world| {
                if world.lock.owner.is_some_and(|owner| owner.session == session) {
                    world.lock = world.lock.given_on();
                }
                world.desk = Desk::Number(session);
            }),
            Desk::Number(session) => step("sweep: number is free", &|world| {
                let (state, generation) = &mut world.sessions[usize::from(session)];
                *state = Session::Free;
                *generation += u8::from(self.flaw != Some(Mutation::SameSessionGeneration));
                world.desk = Desk::Idle;
            }),
        }
    }

    fn connect(&self, world: &World, step: &mut impl FnMut(&'static str, &dyn Fn(&mut World))) {
        let sessions = &world.sessions[..self.numbers];
        let Some(number) = sessions.iter().position(|(state, _)| *state == Session::Free) else {
            return;
        };
        for (client, actor) in world.actors.iter().enumerate() {
            if actor.alive && actor.point == Point::Asked {
                step("connect", &|world| {
                    let (state, generation) = &mut world.sessions[number];
                    *state = Session::Active;
                    let own = Owner { session: number as u8, generation: *generation };
                    world.actors[client].session = Some(own);
                    guard::begin(world, client, self);
                });
            }
        }
    }

    fn kills(&self, world: &World, out: &mut Vec<Move<World>>) {
        let mut kill = |what, change: &dyn Fn(&mut World)| {
            let mut state = world.clone();
            state.kills -= 1;
            change(&mut state);
            out.push(Move { who: "kill", what, required: false, state });
        };
        for (client, actor) in world.actors.iter().enumerate() {
            if actor.alive && actor.point != Point::End {
                kill(NAMES[client], &|world| {
                    let (session, op) = (world.actors[client].session, world.actors[client].op);
                    let writes = self.programs[client].get(usize::from(op)) == Some(&Op::Write);
                    world.harmed |= writes && session.is_some() && world.lock.owner == session;
                    world.actors[client] = Actor { session, alive: false, ..Actor::NEW };
                });
            }
        }
        if world.desk != Desk::Idle {
            kill("broker", &|world| world.desk = Desk::Idle);
        }
    }
}

impl Model for Locking {
    type State = World;

    fn start(&self) -> World {
        let mut world = World {
            lock: Lock::default(),
            readers: [0; CLIENTS],
            sessions: Default::default(),
            seq: 0,
            copies: [[0; 2]; 2],
            actors: [Actor::NEW; CLIENTS],
            sealed: false,
            desk: Desk::Idle,
            kills: self.kills,
            harmed: false,
            torn: false,
        };
        for client in 0..CLIENTS {
            if client < self.numbers {
                let own = Owner { session: client as u8, generation: 0 };
                world.sessions[client].0 = Session::Active;
                world.actors[client].session = Some(own);
                guard::begin(&mut world, client, self);
            } else {
                world.actors[client].point = Point::Asked;
            }
        }
        world
    }

    fn moves(&self, world: &World, out: &mut Vec<Move<World>>) {
        for (client, who) in NAMES.into_iter().enumerate() {
            let mut state = world.clone();
            if let Some((what, required)) = guard::step(&mut state, client, self) {
                out.push(Move { who, what, required, state });
            }
        }
        self.broker(world, out);
        if world.kills != 0 {
            self.kills(world, out);
        }
    }

    fn broken(&self, world: &World) -> Option<&'static str> {
        if world.torn {
            return Some("a reader saw halves of two writes");
        }
        if world.lock.poisoned && !world.harmed {
            return Some("a mark although no writer has died");
        }
        let at = |test: fn(Point) -> bool| world.actors.iter().filter(|a| test(a.point)).count();
        let (writers, readers) = (at(Point::writes), at(Point::reads));
        if writers > 0 && world.sealed {
            return Some("a writer of what is sealed");
        }
        (writers > 1 || writers == 1 && readers > 0).then_some("a writer that is not alone")
    }

    fn unfinished(&self, world: &World) -> Option<&'static str> {
        for actor in &world.actors {
            if actor.alive && !matches!(actor.point, Point::End | Point::Asked) {
                return Some("a client that cannot go on");
            }
        }
        if world.lock.owner.is_some() {
            return Some("a lock that stays taken");
        }
        world.readers.iter().any(|count| *count != 0).then_some("a read guard without a reader")
    }

    fn describe(&self, world: &World) -> String {
        let World { lock, readers, sessions, seq, copies, sealed, .. } = world;
        format!("{lock:?} readers {readers:?} seq {seq} {copies:?} sealed {sealed} {sessions:?}")
    }
}
