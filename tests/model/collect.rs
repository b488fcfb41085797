//! Collect: a broker thread finds hosted objects that only hold each other, and lets go of what they hold.

use crate::broker::{Finish, finish};
use crate::hosting::reach;
use crate::mutation::Mutation;
use crate::process::{Point, Turn};
use crate::world::{BROKER_SESSION, SLOTS, State};

/// What the thread knows. A set of objects is a bit by slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Collector {
    /// While it runs, no dead object is dropped.
    pub(crate) running: bool,
    /// By slot: what was seen inside; at the end, what was taken out and is still to be dropped.
    pub(crate) noted: [u8; SLOTS],
    /// Those whose contents were noted.
    known: u8,
    /// Those whose locks it has.
    held: u8,
    /// It counts for the second time, what nobody can change.
    frozen: bool,
    /// Those of which somebody else has a reference.
    reached: u8,
    /// The suspects; in the end, the garbage.
    suspects: u8,
    /// Those whose `refs` still has the value that was read. See [`World::settle`](crate::world::World::settle).
    pub(crate) fresh: u8,
    /// Garbage that is dead already.
    pub(crate) killed: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Waiting until nothing else has to happen.
    AtLast,
    Begin,
    Note,
    Refs,
    Row,
    Again,
    Freeze,
    Kill,
    Revive,
    Take,
    Unlock,
    Drop,
    Free,
}

/// The object in hand is `id`, `scratch` the set of rows left to read.
pub(crate) fn step(turn: &mut Turn, step: Step) -> Option<&'static str> {
    Some(match step {
        Step::AtLast => return None,
        Step::Begin => begin(turn),
        Step::Note => look(turn),
        Step::Refs => refs(turn),
        Step::Row => row(turn),
        Step::Again => again(turn),
        Step::Freeze => freeze(turn),
        Step::Kill => kill(turn),
        Step::Revive => revive(turn),
        Step::Take => return take(turn),
        Step::Unlock => unlock(turn),
        Step::Drop => drop(turn),
        Step::Free => free(turn),
    })
}

pub(crate) fn begin(turn: &mut Turn) -> &'static str {
    turn.world.hosting.collector = Collector { running: true, ..Collector::default() };
    let hosted = turn.scene.hosted();
    if turn.has(Mutation::SuspectsAll) {
        turn.world.hosting.collector.suspects = hosted;
        visit(turn, hosted, Step::Freeze);
        return freeze(turn);
    }
    visit(turn, hosted, Step::Note);
    look(turn)
}

/// Turns to the first object of a set. False if there is none.
fn visit(turn: &mut Turn, set: u8, step: Step) -> bool {
    if set != 0 {
        turn.me().id.slot = set.trailing_zeros() as u8;
        turn.go(Point::Collect(step));
    }
    set != 0
}

/// Those of a set that come after the object in hand.
fn rest(turn: &mut Turn, set: u8) -> u8 {
    let slot = turn.me().id.slot;
    set & !((2 << slot) - 1)
}

/// Notes what the object in hand holds, if it can be locked. (What happens under its lock is one step.)
fn note(turn: &mut Turn) -> bool {
    let slot = turn.me().id.slot;
    let hosting = &mut turn.world.hosting;
    let free = hosting.whole & !hosting.locked & 1 << slot != 0;
    if free {
        hosting.collector.noted[usize::from(slot)] = hosting.contents[usize::from(slot)];
        hosting.collector.known |= 1 << slot;
    }
    free
}

/// The first look: only hints, the objects go on working.
fn look(turn: &mut Turn) -> &'static str {
    note(turn);
    let hosted = turn.scene.hosted();
    let others = rest(turn, hosted);
    if !visit(turn, others, Step::Note) {
        count(turn);
    }
    "collect: note"
}

/// The second look: all locks are held together, so no reference can leave a suspect.
fn freeze(turn: &mut Turn) -> &'static str {
    if note(turn) && !turn.has(Mutation::FreezesOneByOne) {
        let slot = turn.me().id.slot;
        turn.world.hosting.locked |= 1 << slot;
        turn.world.hosting.collector.held |= 1 << slot;
    }
    let suspects = turn.world.hosting.collector.suspects;
    let others = rest(turn, suspects);
    if !visit(turn, others, Step::Freeze) {
        turn.world.hosting.collector.frozen = true;
        count(turn);
    }
    "collect: freeze, note"
}

/// Counts the references to all that is known.
fn count(turn: &mut Turn) {
    let collector = &mut turn.world.hosting.collector;
    collector.reached = 0;
    collector.fresh = 0;
    let known = collector.known;
    if !visit(turn, known, Step::Refs) {
        judge(turn);
    }
}

fn refs(turn: &mut Turn) -> &'static str {
    let refs = turn.slot().refs;
    let pinned = refs.pins != 0 && !turn.has(Mutation::CollectsPinned);
    if refs.state != State::Live || pinned {
        counted(turn, true);
        return "collect: pinned or not live";
    }
    let slot = turn.me().id.slot;
    turn.world.hosting.collector.fresh |= 1 << slot;
    let others = if turn.has(Mutation::ReadsOwnRowOnly) { 0 } else { (1 << turn.scene.numbers) - 1 };
    turn.me().scratch = 1 << BROKER_SESSION | others;
    turn.go(Point::Collect(Step::Row));
    "collect: read refs"
}

fn row(turn: &mut Turn) -> &'static str {
    let (rows, slot) = (turn.me().scratch, turn.me().id.slot);
    // The broker's own row comes first.
    let own = rows & 1 << BROKER_SESSION != 0;
    let session = if own { BROKER_SESSION } else { rows.trailing_zeros() as u8 };
    let noted = turn.world.hosting.collector.noted;
    let inside = noted.iter().filter(|held| **held & 1 << slot != 0).count() as u8;
    if *turn.cell_of(session) != if own { inside } else { 0 } {
        counted(turn, true);
        return "collect: held elsewhere";
    }
    turn.me().scratch = rows & !(1 << session);
    if turn.me().scratch == 0 {
        if turn.has(Mutation::CollectsUnconfirmed) || turn.has(Mutation::NothingConfirmed) {
            counted(turn, false);
        } else {
            turn.go(Point::Collect(Step::Again));
        }
    }
    "collect: row agrees"
}

fn again(turn: &mut Turn) -> &'static str {
    let slot = turn.me().id.slot;
    let changed = turn.world.hosting.collector.fresh & 1 << slot == 0;
    counted(turn, changed);
    if changed { "collect: refs has changed" } else { "collect: refs is the same" }
}

/// The object in hand is done.
fn counted(turn: &mut Turn, reached: bool) {
    turn.me().scratch = 0;
    let slot = turn.me().id.slot;
    let collector = &mut turn.world.hosting.collector;
    collector.reached |= u8::from(reached) << slot;
    let known = collector.known;
    let others = rest(turn, known);
    if !visit(turn, others, Step::Refs) {
        judge(turn);
    }
}

/// What is reached is let go with all that it leads to.
fn judge(turn: &mut Turn) {
    let alone = turn.has(Mutation::ReachedAlone);
    let believed = turn.has(Mutation::NotesBelieved);
    let alive = turn.has(Mutation::CollectsAlive) || turn.has(Mutation::NothingConfirmed);
    let collector = &mut turn.world.hosting.collector;
    let reached = collector.reached;
    let reached = if collector.frozen && alone { reached } else { reach(&collector.noted, reached) };
    let left = collector.known & !reached;
    collector.suspects = left;
    if !collector.frozen && !believed && left != 0 {
        collector.known = 0;
        collector.noted = [0; SLOTS];
        visit(turn, left, Step::Freeze);
    } else if !visit(turn, left, if alive { Step::Take } else { Step::Kill }) {
        unlock_rest(turn);
    }
}

/// Nobody can take a reference to what is dead, and only what nobody has taken dies here. (Without a lane: the broker's own
/// row is never swept, and a broker that starts again has no hosted objects.)
fn kill(turn: &mut Turn) -> &'static str {
    let slot = turn.me().id.slot;
    let Collector { fresh, killed, suspects, .. } = turn.world.hosting.collector;
    let any = turn.has(Mutation::KillsAnyValue) && turn.slot().refs.state == State::Live;
    if !any && fresh & 1 << slot == 0 {
        if turn.has(Mutation::RevivesUnlocked) {
            turn.world.hosting.locked &= !turn.world.hosting.collector.held;
            turn.world.hosting.collector.held = 0;
        }
        turn.world.hosting.collector.suspects = 0;
        if turn.has(Mutation::KilledStayDead) || !visit(turn, killed, Step::Revive) {
            unlock_rest(turn);
        }
        return "collect: refs has changed, give up";
    }
    turn.write(State::Dead(BROKER_SESSION), 0);
    turn.world.hosting.collector.killed |= 1 << slot;
    let others = rest(turn, suspects);
    if !visit(turn, others, Step::Kill) {
        visit(turn, suspects, Step::Take);
    }
    "collect: dead"
}

/// Under the locks still: nobody comes by way of another object.
fn revive(turn: &mut Turn) -> &'static str {
    turn.write(State::Live, 0);
    let slot = turn.me().id.slot;
    turn.world.hosting.collector.killed &= !(1 << slot);
    let killed = turn.world.hosting.collector.killed;
    if !visit(turn, killed, Step::Revive) {
        unlock_rest(turn);
    }
    "collect: live again"
}

/// A lock that the thread does not have yet is waited for: that is so in mutations only.
fn take(turn: &mut Turn) -> Option<&'static str> {
    let slot = turn.me().id.slot;
    let hosting = &mut turn.world.hosting;
    if hosting.locked & !hosting.collector.held & 1 << slot != 0 {
        return None;
    }
    hosting.collector.noted[usize::from(slot)] = std::mem::take(&mut hosting.contents[usize::from(slot)]);
    hosting.whole &= !(1 << slot);
    hosting.locked &= !(1 << slot);
    hosting.collector.held &= !(1 << slot);
    let suspects = hosting.collector.suspects;
    let others = rest(turn, suspects);
    if !visit(turn, others, Step::Take) {
        unlock_rest(turn);
    }
    Some("collect: take out, unlock")
}

fn unlock_rest(turn: &mut Turn) {
    let Collector { held, suspects, .. } = turn.world.hosting.collector;
    if held == 0 && suspects == 0 {
        end(turn);
    } else if !visit(turn, held, Step::Unlock) {
        turn.go(Point::Collect(Step::Drop));
    }
}

fn unlock(turn: &mut Turn) -> &'static str {
    let slot = turn.me().id.slot;
    turn.world.hosting.locked &= !(1 << slot);
    turn.world.hosting.collector.held &= !(1 << slot);
    unlock_rest(turn);
    "collect: unlock"
}

/// One of the references that were taken out, or what comes after the last of them.
fn drop(turn: &mut Turn) -> &'static str {
    let collector = &mut turn.world.hosting.collector;
    let suspects = collector.suspects;
    let taken = collector.noted.iter_mut().enumerate().find(|(slot, held)| suspects & 1 << slot != 0 && **held != 0);
    let Some((_, held)) = taken else {
        turn.go(Point::Collect(Step::Free));
        return free(turn);
    };
    let object = held.trailing_zeros() as u8;
    *held &= *held - 1;
    turn.me().id.slot = object;
    if turn.uncount() {
        turn.check(Point::Collect(Step::Drop));
    }
    "collect: uncount"
}

/// The slot of an object that was killed, or what comes after the last of them.
fn free(turn: &mut Turn) -> &'static str {
    let killed = turn.world.hosting.collector.killed;
    if !visit(turn, killed, Step::Free) {
        end(turn);
        return "collect: end";
    }
    turn.world.hosting.collector.killed &= killed - 1;
    turn.me().after = Point::Collect(Step::Free);
    finish(turn, Finish::Memory)
}

fn end(turn: &mut Turn) {
    turn.world.hosting.collector = Collector::default();
    turn.next();
}
