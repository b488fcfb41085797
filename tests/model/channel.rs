//! A channel: a ring of entries, each of which holds a reference.
//!
//! There is one, which is anybody's; in some scenes it is an object itself, and what is in it goes with it.

use crate::broker::{Finish, finish};
use crate::mutation::Mutation;
use crate::process::{Op, Point, Turn};
use crate::world::{ENTRIES, Id, Place, Ring, World};

impl Ring {
    fn at(&mut self, position: u8, capacity: u8) -> (&mut Place, u8) {
        (&mut self.places[usize::from(position % capacity)], position / capacity)
    }
}

/// What a position says of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Not filled yet.
    Vacant,
    Filled(Id),
    /// Taken, and perhaps filled again.
    Taken,
    /// What was stored there the round before is there still.
    Before,
}

fn see(turn: &mut Turn, position: u8) -> Seen {
    let capacity = turn.scene.capacity;
    let (place, round) = turn.world.ring.at(position, capacity);
    match place.round.cmp(&round) {
        std::cmp::Ordering::Less => Seen::Before,
        std::cmp::Ordering::Greater => Seen::Taken,
        std::cmp::Ordering::Equal if place.object.is_some() => Seen::Filled(place.object),
        std::cmp::Ordering::Equal => Seen::Vacant,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Send {
    Tail,
    Entry,
    /// Move the tail on: an entry that is filled already was in the way.
    Help,
    Lane,
    Pin,
    Uncount,
    Fill,
    Advance,
    Unlane,
    /// Others were faster: look again, with the pin.
    TailAgain,
    EntryAgain,
    HelpAgain,
    /// There is no room any more.
    Recount,
    Unpin,
    UnlaneBack,
}

/// The object is in `id`, the position in `scratch`.
pub(crate) fn send(turn: &mut Turn, step: Send) -> Option<&'static str> {
    let Op::Send { proxy } = turn.op() else { unreachable!() };
    let late = turn.has(Mutation::StoredBeforePin);
    let unchecked = turn.has(Mutation::SenderUncountsLate);
    let early = turn.has(Mutation::TailBeforeFill);
    let (next, label) = match step {
        Send::Tail => {
            let tail = turn.world.ring.tail;
            if see(turn, tail) == Seen::Before {
                if turn.is_awaited(|op| matches!(op, Op::Receive { .. })) {
                    return None;
                }
                turn.next();
                return Some("send: nobody makes room");
            }
            turn.me().scratch = tail;
            (Send::Entry, "send: read tail")
        }
        Send::Entry | Send::EntryAgain => {
            let pinned = step == Send::EntryAgain;
            let position = turn.me().scratch;
            let next = match see(turn, position) {
                Seen::Vacant if pinned => Send::Fill,
                Seen::Vacant => Send::Lane,
                Seen::Filled(_) | Seen::Taken if pinned => Send::HelpAgain,
                Seen::Filled(_) | Seen::Taken => Send::Help,
                Seen::Before if pinned => Send::Recount,
                Seen::Before => Send::Tail,
            };
            (next, "send: read entry")
        }
        Send::Help | Send::HelpAgain => {
            advance(turn, |ring| &mut ring.tail);
            (if step == Send::Help { Send::Tail } else { Send::TailAgain }, "send: move tail on")
        }
        Send::Lane => {
            turn.announce();
            turn.me().proxies[proxy] = Id::NONE;
            (if late { Send::Uncount } else { Send::Pin }, "send: lane")
        }
        Send::Pin => {
            turn.pin();
            (
                if late {
                    Send::Advance
                } else if unchecked {
                    first_fill(early)
                } else {
                    Send::Uncount
                },
                "send: pin",
            )
        }
        Send::Uncount => {
            turn.uncount();
            (if unchecked { Send::Unlane } else { first_fill(early) }, "send: uncount")
        }
        Send::Fill => {
            let (capacity, position, id) = (turn.scene.capacity, turn.me().scratch, turn.me().id);
            let (place, round) = turn.world.ring.at(position, capacity);
            if *place == (Place { round, object: Id::NONE }) {
                place.object = id;
                let next = match turn.flaw {
                    Some(Mutation::StoredBeforePin) => Send::Pin,
                    Some(Mutation::TailBeforeFill) => Send::Unlane,
                    _ => Send::Advance,
                };
                (next, "send: fill")
            } else {
                (Send::TailAgain, "send: another was faster")
            }
        }
        Send::Advance => {
            advance(turn, |ring| &mut ring.tail);
            (
                if early {
                    Send::Fill
                } else if unchecked {
                    Send::Uncount
                } else {
                    Send::Unlane
                },
                "send: move tail on",
            )
        }
        Send::TailAgain => {
            turn.me().scratch = turn.world.ring.tail;
            (Send::EntryAgain, "send: read tail")
        }
        Send::Recount => {
            *turn.cell() += 1;
            (Send::Unpin, "send: count again")
        }
        Send::Unpin => {
            turn.unpin();
            (Send::UnlaneBack, "send: unpin again")
        }
        Send::UnlaneBack => {
            turn.unannounce();
            let id = turn.me().id;
            turn.me().proxies[proxy] = id;
            turn.me().scratch = 0;
            (Send::Tail, "send: clear lane, no room")
        }
        Send::Unlane => {
            turn.unannounce();
            turn.next();
            return Some("send: clear lane");
        }
    };
    turn.go(Point::Send(next));
    Some(label)
}

fn first_fill(early: bool) -> Send {
    if early { Send::Advance } else { Send::Fill }
}

/// Moves head or tail on from the position in hand, if it is still there.
fn advance(turn: &mut Turn, which: fn(&mut Ring) -> &mut u8) {
    let position = turn.me().scratch;
    let index = which(&mut turn.world.ring);
    if *index == position {
        *index += 1;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Receive {
    Head,
    Entry,
    Help,
    Hint,
    Count,
    Lane,
    Take,
    Advance,
    Unpin,
    Unlane,
    /// Another was faster.
    UnlaneLate,
}

/// The object is in `id`, the position in `scratch`.
pub(crate) fn receive(turn: &mut Turn, step: Receive) -> Option<&'static str> {
    let Op::Receive { proxy } = turn.op() else { unreachable!() };
    let late = turn.has(Mutation::ReceiverCountsLate);
    let early = turn.has(Mutation::UnpinBeforeTake);
    let (next, label) = match step {
        Receive::Head => {
            turn.me().id = Id::NONE;
            let head = turn.world.ring.head;
            if see(turn, head) == Seen::Vacant {
                if turn.is_awaited(|op| matches!(op, Op::Send { .. })) {
                    return None;
                }
                turn.next();
                return Some("receive: nothing comes");
            }
            turn.me().scratch = head;
            (Receive::Entry, "receive: read head")
        }
        Receive::Entry => {
            let position = turn.me().scratch;
            match see(turn, position) {
                Seen::Filled(id) => {
                    turn.me().id = id;
                    (if late { Receive::Lane } else { Receive::Hint }, "receive: read entry")
                }
                Seen::Taken => (Receive::Help, "receive: taken already"),
                Seen::Vacant | Seen::Before => (Receive::Head, "receive: not filled"),
            }
        }
        Receive::Help => {
            advance(turn, |ring| &mut ring.head);
            (Receive::Head, "receive: move head on")
        }
        Receive::Hint => {
            turn.hint();
            (Receive::Count, "receive: hint")
        }
        Receive::Count => {
            *turn.cell() += 1;
            (if late { Receive::Unlane } else { Receive::Lane }, "receive: count")
        }
        Receive::Lane => {
            turn.announce();
            (if early { Receive::Unpin } else { Receive::Take }, "receive: lane")
        }
        Receive::Take => {
            let any = turn.has(Mutation::TakesAny);
            let (capacity, position, id) = (turn.scene.capacity, turn.me().scratch, turn.me().id);
            let (place, round) = turn.world.ring.at(position, capacity);
            if any || *place == (Place { round, object: id }) {
                *place = Place { round: round + 1, object: Id::NONE };
                turn.me().proxies[proxy] = id;
                (Receive::Advance, "receive: take")
            } else {
                (Receive::UnlaneLate, "receive: another was faster")
            }
        }
        Receive::Advance => {
            advance(turn, |ring| &mut ring.head);
            (if early { Receive::Unlane } else { Receive::Unpin }, "receive: move head on")
        }
        Receive::Unpin => {
            turn.unpin();
            let next = match turn.flaw {
                Some(Mutation::UnpinBeforeTake) => Receive::Take,
                Some(Mutation::ReceiverCountsLate) => Receive::Hint,
                _ => Receive::Unlane,
            };
            (next, "receive: unpin")
        }
        Receive::UnlaneLate => {
            turn.unannounce();
            turn.me().scratch = 0;
            if late {
                turn.go(Point::Receive(Receive::Head));
            } else {
                turn.go(Point::Drop);
            }
            return Some("receive: clear lane, too late");
        }
        Receive::Unlane => {
            turn.unannounce();
            turn.keep();
            return Some("receive: clear lane");
        }
    };
    turn.go(Point::Receive(next));
    Some(label)
}

/// The broker empties a dead channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Empty {
    Next,
    Take,
    Unpin,
    Unlane,
}

/// The channel's slot is in `subject`, the entry in `cursor`.
pub(crate) fn empty(turn: &mut Turn, step: Empty) -> &'static str {
    let (next, label) = match step {
        Empty::Next => {
            let Some(entry) = turn.world.ring.places.iter().position(|place| place.object.is_some()) else {
                let channel = turn.world.desk.subject;
                turn.world.desk.emptying &= !(1 << channel);
                turn.me().id = Id { slot: channel, generation: 0 };
                turn.me().after = Point::Idle;
                return finish(turn, Finish::Memory);
            };
            turn.world.desk.cursor = entry as u8;
            turn.me().id = turn.world.ring.places[entry].object;
            turn.announce();
            (Empty::Take, "empty: lane")
        }
        Empty::Take => {
            let entry = usize::from(turn.world.desk.cursor);
            let place = &mut turn.world.ring.places[entry];
            *place = Place { round: place.round + 1, object: Id::NONE };
            (Empty::Unpin, "empty: take")
        }
        Empty::Unpin => {
            turn.unpin();
            (Empty::Unlane, "empty: unpin")
        }
        Empty::Unlane => {
            turn.unannounce();
            turn.check(Point::Empty(Empty::Next));
            return "empty: clear lane";
        }
    };
    turn.go(Point::Empty(next));
    label
}

/// Nobody gets what stands behind an entry that nobody fills.
pub(crate) fn is_stuck(world: &World, capacity: u8) -> bool {
    let mut ring = world.ring;
    let full = ring.places[..ENTRIES].iter().any(|place| place.object.is_some());
    let (place, round) = ring.at(ring.head, capacity);
    full && *place == Place { round, object: Id::NONE }
}
