//! Calls: a broker thread stores a reference in an object, or takes one out, for the client that it serves.

use crate::process::{Op, Point, Turn};
use crate::taker;
use crate::ticket::Issue;
use crate::world::Id;

/// What is asked, and what has become of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    /// While it runs the object that is called is not dropped, dead or not.
    pub(crate) running: bool,
    /// Who asks, and in which operation of its program.
    client: u8,
    op: u8,
    /// The object that is called.
    pub(crate) container: u8,
    /// The message with the last result + 1, until the client asks again or is gone.
    pub(crate) sent: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Await,
    Lock,
    Change,
    Reply,
}

/// The reference that is moved is the thread's first proxy.
pub(crate) fn step(turn: &mut Turn, step: Step) -> Option<&'static str> {
    match step {
        Step::Await => begin(turn),
        Step::Lock => lock(turn),
        Step::Change => Some(change(turn)),
        Step::Reply => Some(reply(turn)),
    }
}

fn begin(turn: &mut Turn) -> Option<&'static str> {
    let Op::Serve { client } = turn.op() else { unreachable!() };
    let asking = turn.world.actors[client];
    if !asking.alive || asking.point != Point::Asked {
        return None;
    }
    let (container, object) = match turn.scene.programs[client][usize::from(asking.op)] {
        Op::Put { container, proxy } => (container, asking.proxies[proxy]),
        Op::Pop { container, .. } => (container, Id::NONE),
        _ => return None,
    };
    let container = asking.proxies[container].slot;
    turn.world.hosting.call = Call { running: true, client: client as u8, op: asking.op, container, sent: 0 };
    turn.me().id = object;
    let first = taker::Step::first(turn);
    turn.go(if object.is_some() { Point::Taker(first) } else { Point::Call(Step::Lock) });
    Some("call: begin")
}

/// The client may be dead by now: the thread goes on.
fn asked(turn: &Turn) -> Op {
    let Call { client, op, .. } = turn.world.hosting.call;
    turn.scene.programs[usize::from(client)][usize::from(op)]
}

fn lock(turn: &mut Turn) -> Option<&'static str> {
    let hosting = &mut turn.world.hosting;
    let container = 1 << hosting.call.container;
    if hosting.locked & container != 0 {
        return None;
    }
    if hosting.whole & container == 0 {
        let holds = turn.me().id.is_some();
        turn.go(if holds { Point::Drop } else { Point::Call(Step::Reply) });
        return Some("call: contents are gone");
    }
    hosting.locked |= container;
    turn.go(Point::Call(Step::Change));
    Some("call: lock")
}

/// What is changed under a lock nobody sees before its end: both are one step.
fn change(turn: &mut Turn) -> &'static str {
    let asked = asked(turn);
    let moved = std::mem::replace(&mut turn.me().proxies[0], Id::NONE);
    let hosting = &mut turn.world.hosting;
    let container = hosting.call.container;
    hosting.locked &= !(1 << container);
    let contents = &mut hosting.contents[usize::from(container)];
    match asked {
        Op::Put { .. } => {
            *contents |= 1 << moved.slot;
            turn.go(Point::Call(Step::Reply));
            "put: store, unlock"
        }
        Op::Pop { slot, .. } if *contents & 1 << slot != 0 => {
            *contents &= !(1 << slot);
            let object = Id { slot, generation: turn.world.slots[usize::from(slot)].generation };
            turn.me().id = object;
            turn.me().proxies[0] = object;
            turn.go(Point::Issue(Issue::Lane));
            "pop: take out, unlock"
        }
        _ => {
            turn.go(Point::Call(Step::Reply));
            "pop: nothing, unlock"
        }
    }
}

/// Ticket, uses and message of the result.
pub(crate) fn terms(turn: &Turn) -> (usize, u8, usize) {
    let Op::Pop { ticket, post, .. } = asked(turn) else { unreachable!() };
    (ticket, 1, post)
}

/// The ticket, if there is one, holds the object now: the thread drops its own hold.
pub(crate) fn issued(turn: &mut Turn, post: usize) {
    let me = turn.me();
    let sent = if me.id.is_some() { post as u8 + 1 } else { 0 };
    me.id = me.proxies[0];
    me.scratch = 0;
    turn.world.hosting.call.sent = sent;
    turn.go(Point::Drop);
}

fn reply(turn: &mut Turn) -> &'static str {
    let Call { client, sent, .. } = turn.world.hosting.call;
    turn.world.hosting.call = Call { client, sent, ..Call::default() };
    turn.begin();
    if turn.world.actors[usize::from(client)].alive {
        let thread = std::mem::replace(&mut turn.actor, usize::from(client));
        turn.next();
        turn.actor = thread;
    }
    "call: reply"
}

/// The message with a result that may never have arrived: its client is gone.
pub(crate) fn unclaimed(turn: &Turn) -> Option<u8> {
    let Call { running, client, sent, .. } = turn.world.hosting.call;
    let message = sent.checked_sub(1)?;
    (!running && !turn.world.actors[usize::from(client)].alive).then_some(message)
}
