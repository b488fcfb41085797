//! Slabs, as a smaller model of their own: slots that their owner makes anew, that others bring back to its stack, and that the broker takes back, each killed before any step. Rules R70 to
//! R76 of `docs/protocol.md`.
//!
//! Tickets, names and rows of several sessions are in the large model: here a look at all cells is one step, and a proxy is handed over in one.

use crate::explorer::{Model, Move};
use crate::mutation::Mutation;
use crate::slab_broker as broker;
use crate::world::State;

pub(crate) const SLOTS: usize = 2;
/// Numbers of sessions: of the owner and its successor, of the other, of the broker.
pub(crate) const OWNER: u8 = 0;
pub(crate) const OTHER: u8 = 1;
pub(crate) const BROKER: u8 = 2;
pub(crate) const SESSIONS: usize = 3;
/// The owner, the other, who gets the owner's number after it, the broker.
pub(crate) const ACTORS: usize = 4;
const NAMES: [&str; ACTORS] = ["owner", "other", "next", "broker"];
pub(crate) const DESK: usize = 3;
pub(crate) const NOBODY: u8 = u8::MAX;
/// In a lane: its session takes what came back to it.
pub(crate) const WALKING: u8 = u8::MAX;

/// Of the epoch only this is kept: 1 is the present one, every other that somebody remembers is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Refs {
    pub(crate) epoch: u8,
    pub(crate) state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) refs: Refs,
    pub(crate) generation: u8,
    /// The generation that the digest was made with.
    pub(crate) digest: u8,
    pub(crate) owner: u8,
    /// In use: the generation of the owner's session; on a stack: the next slot + 1.
    pub(crate) next: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) is_used: bool,
    pub(crate) generation: u8,
    /// Whether its process is there.
    pub(crate) lives: bool,
    pub(crate) lane: u8,
    /// Generation for which the stack is open, and its head: one word.
    pub(crate) stack: (u8, u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    pub(crate) slot: u8,
    /// 0 for none.
    pub(crate) generation: u8,
}

/// What an actor does next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Point {
    #[default]
    Next,
    End,
    /// Waits for the broker.
    Asked,
    Count,
    Claim,
    Uncount,
    Look,
    Generation,
    Bump,
    Check,
    Own,
    Lane,
    Kill,
    Unlane,
    Head,
    Link,
    Push,
    Words,
    Digest,
    Grant,
    List,
    Walk,
    WalkEnd,
    TakeStack,
    TakeSkip,
    TakeRefs,
    TakeLink,
    TakeSwap,
    Desk(broker::Step),
}

/// What a program has an actor do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// From the list, or from what has come back, or from the broker for one that has no slab.
    Create,
    /// Gives its proxy to the other.
    Give,
    Drop,
    /// Takes up an object that it knows by its id alone.
    Upgrade(Id),
    /// Gets the number of the session that has ended, and a slab.
    Connect,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Actor {
    pub(crate) session: u8,
    pub(crate) op: u8,
    pub(crate) point: Point,
    /// Where it goes on when a slot is where it belongs.
    pub(crate) back: Point,
    pub(crate) id: Id,
    pub(crate) snap: Refs,
    /// Head of the stack that it pushes on, as it was read; and for whom that is open, or 0 for the broker's.
    pub(crate) head: u8,
    pub(crate) home: u8,
    /// The rest of a stack that was taken.
    pub(crate) chain: u8,
    pub(crate) link: u8,
    pub(crate) proxies: [Id; 2],
    /// The private list: the generation of each slot, and whether `refs` is still what it was.
    pub(crate) list: [(u8, Refs); SLOTS],
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) slots: [Slot; SLOTS],
    pub(crate) cells: [[u8; SLOTS]; SESSIONS],
    pub(crate) sessions: [Session; SESSIONS],
    pub(crate) returned: u8,
    pub(crate) actors: [Actor; ACTORS],
    pub(crate) desk: broker::Desk,
    pub(crate) kills: u8,
    pub(crate) withdrawals: u8,
    pub(crate) fault: Option<&'static str>,
}

/// Who does what at the start.
#[derive(Clone, Copy)]
pub(crate) struct Slabs {
    pub(crate) programs: [&'static [Op]; 3],
    /// The first slot is live, and the other holds it; else it is in the owner's list as the second.
    pub(crate) is_held: bool,
    pub(crate) kills: u8,
    pub(crate) withdrawals: u8,
    pub(crate) flaw: Option<Mutation>,
}

/// The world after a step that one actor is making.
pub(crate) struct Turn<'a> {
    pub(crate) slabs: &'a Slabs,
    pub(crate) world: World,
    pub(crate) actor: usize,
}

impl Turn<'_> {
    pub(crate) fn has(&self, flaw: Mutation) -> bool {
        self.slabs.flaw == Some(flaw)
    }

    pub(crate) fn me(&mut self) -> &mut Actor {
        &mut self.world.actors[self.actor]
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        let number = usize::from(self.me().session);
        &mut self.world.sessions[number]
    }

    pub(crate) fn slot(&mut self) -> &mut Slot {
        let slot = usize::from(self.me().id.slot);
        &mut self.world.slots[slot]
    }

    fn cell(&mut self) -> &mut u8 {
        let (session, slot) = (usize::from(self.me().session), usize::from(self.me().id.slot));
        &mut self.world.cells[session][slot]
    }

    pub(crate) fn go(&mut self, point: Point) {
        self.me().point = point;
    }

    pub(crate) fn write(&mut self, state: State) {
        let slot = self.slot();
        slot.refs = Refs { epoch: slot.refs.epoch + 1, state };
    }

    /// `refs` of the slot in hand is what it was when it was read.
    pub(crate) fn is_unchanged(&mut self) -> bool {
        let snap = self.me().snap;
        self.slot().refs == snap
    }

    /// The operation is done.
    fn done(&mut self) {
        let Actor { session, op, proxies, list, .. } = *self.me();
        *self.me() = Actor { session, op: op + 1, proxies, list, ..Actor::default() };
    }

    pub(crate) fn go_back(&mut self) {
        let back = self.me().back;
        self.me().snap = Refs::default();
        (self.me().head, self.me().home, self.me().link) = (0, 0, 0);
        if back == Point::Next { self.done() } else { self.go(back) }
    }

    fn op(&self) -> Option<Op> {
        let actor = &self.world.actors[self.actor];
        self.slabs.programs.get(self.actor)?.get(usize::from(actor.op)).copied()
    }

    fn begin(&mut self) -> &'static str {
        let proxy = self.me().proxies.iter().position(|id| id.generation != 0);
        match (self.op(), proxy) {
            (None, _) => {
                self.go(Point::End);
                "end"
            }
            (Some(Op::Connect), _) => {
                self.go(Point::Asked);
                "ask for a session"
            }
            (Some(Op::Create), _) if self.me().session == OTHER => {
                self.go(Point::Asked);
                "ask for an object"
            }
            (Some(Op::Create), _) => self.take_from_list(Point::Walk),
            (Some(Op::Upgrade(id)), _) => {
                self.me().id = id;
                self.go(Point::Count);
                "upgrade: begin"
            }
            (Some(Op::Give), Some(at)) => {
                let id = std::mem::take(&mut self.me().proxies[at]);
                self.me().id = id;
                let other = &mut self.world.actors[usize::from(OTHER)];
                let place = other.proxies.iter().position(|id| id.generation == 0);
                if let Some(place) = place.filter(|_| self.world.sessions[usize::from(OTHER)].lives) {
                    other.proxies[place] = id;
                    self.world.cells[usize::from(OTHER)][usize::from(id.slot)] += 1;
                }
                self.go(Point::Uncount);
                "give"
            }
            (Some(Op::Drop), Some(at)) => {
                self.me().id = std::mem::take(&mut self.me().proxies[at]);
                self.go(Point::Uncount);
                "drop: begin"
            }
            _ => {
                self.done();
                "nothing to do"
            }
        }
    }

    /// The private list is no shared word.
    fn take_from_list(&mut self, or: Point) -> &'static str {
        let Some(slot) = self.me().list.iter().position(|(generation, _)| *generation != 0) else {
            self.go(or);
            return "create: the list is empty";
        };
        let (generation, refs) = std::mem::take(&mut self.me().list[slot]);
        self.me().id = Id { slot: slot as u8, generation };
        self.me().snap = refs;
        self.go(Point::Count);
        "create: take from the list"
    }

    /// One access of a shared word. `None` if the actor can do nothing by itself.
    pub(crate) fn step(&mut self) -> Option<&'static str> {
        let point = self.me().point;
        Some(match point {
            Point::End | Point::Asked => return None,
            Point::Next if self.actor == DESK => return None,
            Point::Next => self.begin(),
            Point::Count => {
                *self.cell() += 1;
                let is_upgrade = matches!(self.op(), Some(Op::Upgrade(_)));
                self.go(if is_upgrade { Point::Look } else { Point::Claim });
                "count"
            }
            Point::Claim => {
                if self.is_unchanged() && matches!(self.slot().refs.state, State::Granted(_)) {
                    self.write(State::Live);
                    return Some(self.got());
                }
                self.go(Point::Uncount);
                "claim: withdrawn"
            }
            Point::Look => {
                self.me().snap = self.slot().refs;
                let is_live = self.slot().refs.state == State::Live;
                self.go(if is_live { Point::Generation } else { Point::Uncount });
                "take: read refs"
            }
            Point::Generation => {
                let is_it = self.slot().generation == self.me().id.generation;
                self.go(if is_it { Point::Bump } else { Point::Uncount });
                "take: read the generation"
            }
            Point::Bump => {
                if self.is_unchanged() {
                    self.write(State::Live);
                    return Some(self.got());
                }
                self.go(Point::Look);
                "take: refs has changed"
            }
            Point::Uncount => {
                *self.cell() -= 1;
                let is_last = *self.cell() == 0;
                if is_last {
                    self.go(Point::Check)
                } else {
                    self.done()
                }
                "uncount"
            }
            Point::Check => {
                self.me().snap = self.slot().refs;
                let slot = usize::from(self.me().id.slot);
                let is_held = self.world.cells.iter().any(|row| row[slot] != 0);
                if self.slot().refs.state == State::Live && !is_held {
                    self.go(Point::Own);
                } else {
                    self.go_back();
                }
                "check: read refs and cells"
            }
            Point::Own => {
                let (me, generation) = (self.me().session, self.session().generation);
                let is_own = me != BROKER && self.slot().owner == me && self.slot().next == generation;
                self.go(if is_own { Point::Kill } else { Point::Lane });
                "check: whose slab"
            }
            Point::Lane => {
                self.session().lane = self.me().id.slot + 1;
                self.go(Point::Kill);
                "check: lane"
            }
            Point::Kill => self.kill(),
            Point::Unlane => {
                self.session().lane = 0;
                let is_pushed = self.me().home != NOBODY;
                if is_pushed {
                    self.go_back()
                } else {
                    self.go(Point::Head)
                }
                "return: clear lane"
            }
            Point::Head => self.head(),
            Point::Link => {
                self.slot().next = self.me().head;
                self.go(Point::Push);
                "return: write the link"
            }
            Point::Push => self.push(),
            Point::Words => {
                self.must_be_mine();
                self.slot().generation += 1;
                self.go(Point::Digest);
                "anew: generation"
            }
            Point::Digest => {
                self.must_be_mine();
                self.slot().digest = self.slot().generation;
                let is_late = self.has(Mutation::AnewBeforeWords);
                self.go(if is_late { Point::List } else { Point::Grant });
                "anew: digest"
            }
            Point::Grant => {
                let (me, generation) = (self.me().session, self.session().generation);
                self.slot().next = generation;
                self.write(State::Granted(me));
                self.me().snap = self.slot().refs;
                let is_early = self.has(Mutation::AnewBeforeWords);
                self.go(if is_early { Point::Words } else { Point::List });
                "anew: granted"
            }
            Point::List => {
                let generation = self.slot().generation;
                let refs = self.slot().refs;
                let slot = usize::from(self.me().id.slot);
                let is_granted = matches!(refs.state, State::Granted(_)) && self.is_unchanged();
                let refs = if is_granted { refs } else { Refs { epoch: 0, ..refs } };
                self.me().list[slot] = (generation, refs);
                self.go_back();
                "anew: in the list"
            }
            Point::Walk => {
                self.session().lane = WALKING;
                self.go(Point::TakeStack);
                "home: lane"
            }
            Point::WalkEnd => {
                self.session().lane = 0;
                // What there is by now is in the list.
                if self.me().list.iter().any(|(generation, _)| *generation != 0) {
                    return Some(self.take_from_list(Point::Next));
                }
                self.done();
                "home: clear lane"
            }
            Point::TakeSkip => {
                self.me().chain = self.slot().next;
                self.go(Point::TakeRefs);
                "home: the broker has it, read the link"
            }
            Point::TakeStack => {
                let session = self.session();
                let head = std::mem::take(&mut session.stack.1);
                self.me().chain = head;
                self.go(Point::TakeRefs);
                "home: take the stack"
            }
            Point::TakeRefs => self.take_refs(),
            Point::TakeLink => {
                self.me().link = self.slot().next;
                self.go(Point::TakeSwap);
                "home: read the link"
            }
            Point::TakeSwap => self.take_swap(),
            Point::Desk(step) => broker::step(self, step),
        })
    }

    /// A proxy.
    fn got(&mut self) -> &'static str {
        let id = self.me().id;
        let place = self.me().proxies.iter().position(|id| id.generation == 0);
        if let Some(place) = place {
            self.me().proxies[place] = id;
        }
        self.done();
        "got a proxy"
    }

    fn kill(&mut self) -> &'static str {
        let me = self.me().session;
        let is_own = self.session().lane == 0;
        if !self.is_unchanged() {
            self.session().lane = 0;
            self.go(Point::Check);
            return "check: refs has changed";
        }
        self.write(State::Dead(me));
        self.me().snap = Refs::default();
        if is_own {
            self.make_anew();
        } else if self.has(Mutation::PushesUnannounced) {
            self.me().home = NOBODY;
            self.go(Point::Unlane);
        } else {
            self.go(Point::Head);
        }
        "check: dead"
    }

    fn make_anew(&mut self) {
        let is_early = self.has(Mutation::AnewBeforeWords);
        self.go(if is_early { Point::Grant } else { Point::Words });
    }

    /// Nobody else may do anything to the slot.
    fn must_be_mine(&mut self) {
        let me = self.me().session;
        let state = self.slot().refs.state;
        let is_granted = self.has(Mutation::AnewBeforeWords) && self.is_unchanged();
        if state != State::Dead(me) && !is_granted {
            self.world.fault = Some("a slot is made anew that is another's");
        }
    }

    fn head(&mut self) -> &'static str {
        let Slot { owner, next, .. } = *self.slot();
        // Before it was pushed once in vain.
        let home = if self.me().home == 0 || self.me().home == NOBODY { next } else { self.me().home };
        let stack = self.world.sessions.get(usize::from(owner)).map_or((0, 0), |session| session.stack);
        let any = self.has(Mutation::IgnoresStackGeneration) && stack.0 != 0;
        if self.world.actors[self.actor].session != BROKER && home != 0 && (stack.0 == home || any) {
            (self.me().home, self.me().head) = (stack.0, stack.1);
        } else {
            let returned = self.world.returned;
            (self.me().home, self.me().head) = (0, returned);
        }
        self.go(Point::Link);
        "return: read the head"
    }

    fn push(&mut self) -> &'static str {
        let Actor { home, head, id, .. } = *self.me();
        let owner = self.slot().owner;
        if home == 0 {
            if self.world.returned != head {
                let returned = self.world.returned;
                self.me().head = returned;
                self.go(Point::Link);
                return "return: the head has changed";
            }
            self.world.returned = id.slot + 1;
        } else {
            let stack = &mut self.world.sessions[usize::from(owner)].stack;
            if *stack != (home, head) {
                self.go(Point::Head);
                return "return: the stack has changed";
            }
            stack.1 = id.slot + 1;
        }
        if self.has(Mutation::PushesUnannounced) {
            self.go_back();
        } else {
            self.me().home = 0;
            self.go(Point::Unlane);
        }
        "return: push"
    }

    fn take_refs(&mut self) -> &'static str {
        let Some(slot) = self.me().chain.checked_sub(1) else {
            self.go(Point::WalkEnd);
            return "home: all of it";
        };
        self.me().id = Id { slot, generation: 1 };
        self.me().snap = self.slot().refs;
        let takes_any = self.has(Mutation::OwnerTakesTheBrokers);
        if matches!(self.slot().refs.state, State::Dead(winner) if winner != BROKER || takes_any) {
            self.go(Point::TakeLink);
            return "home: read refs";
        }
        self.go(Point::TakeSkip);
        "home: read refs"
    }

    fn take_swap(&mut self) -> &'static str {
        let is_swapped = self.is_unchanged();
        if !is_swapped && !self.has(Mutation::OwnerTakesUnclaimed) {
            self.me().snap = Refs::default();
            self.go(Point::TakeSkip);
            return "home: refs has changed";
        }
        let (me, link) = (self.me().session, self.me().link);
        if !self.has(Mutation::OwnerTakesUnclaimed) {
            self.write(State::Dead(me));
        }
        self.me().chain = link;
        self.me().snap = Refs::default();
        self.me().back = Point::TakeRefs;
        self.make_anew();
        "home: won by its owner"
    }
}

impl World {
    /// See [`Refs`].
    fn settle(&mut self) {
        let now = self.slots.map(|slot| slot.refs.epoch);
        let fresh = |refs: &mut Refs, slot: u8| refs.epoch = u8::from(refs.epoch == now[usize::from(slot)]);
        for actor in &mut self.actors {
            fresh(&mut actor.snap, actor.id.slot);
            for (slot, (_, refs)) in actor.list.iter_mut().enumerate() {
                fresh(refs, slot as u8);
            }
        }
        for (slot, noted) in self.desk.noted.iter_mut().enumerate() {
            fresh(noted, slot as u8);
        }
        self.slots.iter_mut().for_each(|slot| slot.refs.epoch = 1);
    }

    fn kill(&mut self, session: u8) {
        self.sessions[usize::from(session)].lives = false;
        for actor in self.actors.iter_mut().filter(|actor| actor.session == session) {
            *actor = Actor { session: NOBODY, point: Point::End, ..Actor::default() };
        }
    }
}

impl Model for Slabs {
    type State = World;

    fn start(&self) -> World {
        let session = |generation| Session { is_used: true, generation, lives: true, ..Session::default() };
        let slot = |state| Slot { refs: Refs { epoch: 1, state }, generation: 1, digest: 1, owner: OWNER, next: 1 };
        let first = if self.is_held { State::Live } else { State::Granted(OWNER) };
        let mut world = World {
            slots: [slot(first), slot(State::Granted(OWNER))],
            cells: [[0; SLOTS]; SESSIONS],
            sessions: [session(1), session(1), session(1)],
            returned: 0,
            actors: [Actor::default(); ACTORS],
            desk: broker::Desk { owners: [OWNER; SLOTS], ..broker::Desk::default() },
            kills: self.kills,
            withdrawals: self.withdrawals,
            fault: None,
        };
        world.sessions[usize::from(OWNER)].stack = (1, 0);
        for (actor, number) in world.actors.iter_mut().zip([OWNER, OTHER, NOBODY, BROKER]) {
            actor.session = number;
        }
        let granted = world.slots[1].refs;
        world.actors[0].list[1] = (1, granted);
        if self.is_held {
            world.cells[usize::from(OTHER)][0] = 1;
            world.actors[1].proxies[0] = Id { slot: 0, generation: 1 };
        } else {
            world.actors[0].list[0] = (1, world.slots[0].refs);
        }
        world
    }

    fn moves(&self, world: &World, out: &mut Vec<Move<World>>) {
        let settled = |who, what, required, mut world: World| {
            world.settle();
            Move { who, what, required, state: world }
        };
        for (actor, name) in NAMES.into_iter().enumerate() {
            let mut turn = Turn { slabs: self, world: world.clone(), actor };
            if let Some(what) = turn.step() {
                out.push(settled(name, what, true, turn.world));
            }
        }
        if world.actors[DESK].point == Point::Next {
            for (choice, is_required) in broker::choices(world) {
                let mut turn = Turn { slabs: self, world: world.clone(), actor: DESK };
                let what = broker::begin(&mut turn, choice);
                out.push(settled(NAMES[DESK], what, is_required, turn.world));
            }
        }
        if world.kills > 0 {
            for session in [OWNER, OTHER].into_iter().filter(|number| world.sessions[usize::from(*number)].lives) {
                let mut world = world.clone();
                world.kills -= 1;
                world.kill(session);
                out.push(settled("kill", "the process ends", false, world));
            }
            let mut world = world.clone();
            world.kills -= 1;
            broker::restart(&mut world);
            out.push(settled("kill", "the broker ends", false, world));
        }
    }

    fn broken(&self, world: &World) -> Option<&'static str> {
        let is_whole = |id: &Id| {
            let slot = &world.slots[usize::from(id.slot)];
            id.generation == 0 || slot.refs.state == State::Live && slot.generation == id.generation
        };
        if !world.actors.iter().flat_map(|actor| &actor.proxies).all(is_whole) {
            return Some("a proxy of what is not there");
        }
        let is_sound = |slot: &Slot| !matches!(slot.refs.state, State::Live) || slot.digest == slot.generation;
        if !world.slots.iter().all(is_sound) {
            return Some("an object whose digest is another's");
        }
        world.fault
    }

    fn unfinished(&self, world: &World) -> Option<&'static str> {
        let mut home = [false; SLOTS];
        for session in &world.sessions {
            let mut at = if session.lives { session.stack.1 } else { 0 };
            for _ in 0..SLOTS {
                let Some(slot) = at.checked_sub(1).map(usize::from) else { break };
                home[slot] = true;
                at = world.slots[slot].next;
            }
        }
        for (number, slot) in world.slots.iter().enumerate() {
            let is_in_list = |owner: u8| {
                let owners = world.actors.iter().filter(|actor| actor.session == owner);
                owners.into_iter().any(|actor| actor.list[number] == (slot.generation, slot.refs))
            };
            let is_held = world.cells.iter().any(|row| row[number] != 0);
            let what = match slot.refs.state {
                State::Free => None,
                State::Live => (!is_held).then_some("an object that nobody holds is alive"),
                State::Granted(owner) => (!is_in_list(owner)).then_some("a grant that nobody has"),
                State::Dead(_) => (!home[number]).then_some("a dead slot that is on nobody's way"),
            };
            if what.is_some() {
                return what;
            }
        }
        None
    }

    fn describe(&self, world: &World) -> String {
        let slot = |slot: &Slot| format!(" {:?} gen {} next {};", slot.refs.state, slot.generation, slot.next);
        let stacks = world.sessions.map(|session| (session.stack, session.lane));
        world.slots.iter().map(slot).collect::<String>() + &format!(" returned {} {stacks:?}", world.returned)
    }
}
