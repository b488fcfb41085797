//! The name: a client looks it up, the broker publishes and removes it for a client.

use crate::mutation::Mutation;
use crate::process::{Point, Turn};
use crate::taker;
use crate::world::Id;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Look {
    Read,
    /// Counted: does the name still hold it?
    Again,
}

pub(crate) fn look(turn: &mut Turn, step: Look) -> &'static str {
    if step == Look::Again {
        return again(turn);
    }
    turn.me().id = turn.world.name;
    if turn.me().id.is_some() {
        let first = taker::Step::first(turn);
        turn.go(Point::Taker(first));
        return "look: read the name";
    }
    turn.next();
    "look: no such name"
}

fn again(turn: &mut Turn) -> &'static str {
    let id = turn.me().id;
    let stands = turn.world.name == id || turn.has(Mutation::NameReadOnce);
    match stands {
        true if turn.has(Mutation::LookerCountsLate) => turn.go(Point::Taker(taker::Step::Count)),
        true => taker::taken(turn),
        false if turn.has(Mutation::LookerCountsLate) => turn.begin(),
        false => turn.go(Point::Drop),
    }
    "look: read the name again"
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Publish {
    Lane,
    Pin,
    Entry,
    Unlane,
}

/// The broker has the asking client in `subject`.
pub(crate) fn publish(turn: &mut Turn, step: Publish) -> &'static str {
    let id = turn.me().id;
    let (next, label) = match step {
        Publish::Lane => {
            turn.announce();
            (Publish::Pin, "publish: lane")
        }
        Publish::Pin if turn.world.is_live(id) => {
            turn.pin();
            (Publish::Entry, "publish: pin")
        }
        Publish::Pin => (Publish::Unlane, "publish: object is gone"),
        Publish::Entry => {
            turn.world.name = id;
            (Publish::Unlane, "publish: write the name")
        }
        Publish::Unlane => {
            turn.unannounce();
            turn.answer();
            turn.rest(Point::Idle);
            return "publish: clear lane, reply";
        }
    };
    turn.go(Point::Publish(next));
    label
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Remove {
    Lane,
    Bump,
    Entry,
    Unpin,
    Unlane,
}

/// The broker has the asking client in `subject`.
pub(crate) fn remove(turn: &mut Turn, step: Remove) -> &'static str {
    let early = turn.has(Mutation::UnpinBeforeRemoval);
    let first = if early { Remove::Unpin } else { Remove::Entry };
    let (next, label) = match step {
        Remove::Lane => {
            turn.announce();
            let bump = !turn.has(Mutation::RemoverKeepsEpoch);
            (if bump { Remove::Bump } else { first }, "remove: lane")
        }
        Remove::Bump => {
            turn.bump();
            (first, "remove: bump")
        }
        Remove::Entry => {
            turn.world.name = Id::NONE;
            (if early { Remove::Unlane } else { Remove::Unpin }, "remove: clear the name")
        }
        Remove::Unpin => {
            turn.unpin();
            (if early { Remove::Entry } else { Remove::Unlane }, "remove: unpin")
        }
        Remove::Unlane => {
            turn.unannounce();
            turn.answer();
            turn.check(Point::Idle);
            return "remove: clear lane, reply";
        }
    };
    turn.go(Point::Remove(next));
    label
}
