//! Those who have an end of a channel: their seats, and the word that says that there are none.

use crate::explorer::{Model, Move};
use crate::mutation::Mutation;

const CLIENTS: usize = 3;
const BROKER: usize = CLIENTS;
const NAMES: [&str; CLIENTS + 1] = ["A", "B", "C", "broker"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Point {
    /// Take the seat.
    Open,
    /// Then move the state.
    Mark,
    /// Give the seat up.
    Vacate,
    /// Settle: read the state, all seats, swap the state.
    Read,
    Look,
    Swap,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Actor {
    alive: bool,
    point: Point,
    /// The state is as it was read. (Its epoch only ever grows, so an older value never comes again.)
    fresh: bool,
    cursor: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    none: bool,
    had: bool,
    seats: [bool; CLIENTS],
    actors: [Actor; CLIENTS + 1],
    /// The dead client that the broker sweeps, + 1.
    subject: u8,
    kills: u8,
}

/// Three that open an end and close it.
pub(crate) struct Seats {
    pub(crate) kills: u8,
    pub(crate) flaw: Option<Mutation>,
}

impl World {
    /// The state becomes another word.
    fn change(&mut self, none: bool) {
        self.none = none;
        self.actors.iter_mut().for_each(|actor| actor.fresh = false);
    }

    fn done(&mut self, number: usize) {
        let point = Point::End;
        self.actors[number] = Actor { point, fresh: false, cursor: 0, ..self.actors[number] };
        if number == BROKER {
            self.subject = 0;
        }
    }
}

impl Seats {
    fn has(&self, flaw: Mutation) -> bool {
        self.flaw == Some(flaw)
    }

    fn step(&self, world: &mut World, number: usize) -> &'static str {
        let (next, label) = match world.actors[number].point {
            Point::Open => {
                world.seats[number] = true;
                (Point::Mark, "open: take a seat")
            }
            Point::Mark => {
                world.had = true;
                if world.none || !self.has(Mutation::OpenerKeepsEpoch) {
                    world.change(false);
                }
                (Point::Vacate, "open: move the state")
            }
            Point::Vacate => {
                let seat = if number == BROKER { usize::from(world.subject) - 1 } else { number };
                let was_taken = std::mem::replace(&mut world.seats[seat], false);
                if number == BROKER && !was_taken && self.has(Mutation::SweepSettlesNothing) {
                    world.done(number);
                    return "sweep: no seat";
                }
                (Point::Read, "close: give the seat up")
            }
            Point::Read => {
                let actor = &mut world.actors[number];
                (actor.fresh, actor.cursor) = (true, 0);
                if !world.had || world.none {
                    world.done(number);
                    return "settle: said already, or nobody has come";
                }
                (Point::Look, "settle: read the state")
            }
            Point::Look => {
                let seat = usize::from(world.actors[number].cursor);
                if world.seats[seat] {
                    world.done(number);
                    return "settle: somebody is there";
                }
                world.actors[number].cursor += 1;
                (if seat + 1 == CLIENTS { Point::Swap } else { Point::Look }, "settle: an empty seat")
            }
            Point::Swap if world.actors[number].fresh || self.has(Mutation::SettlesAnyState) => {
                world.change(true);
                world.done(number);
                return "settle: there are none";
            }
            Point::Swap => (Point::Read, "settle: the state has changed"),
            Point::End => unreachable!("it has no steps"),
        };
        world.actors[number].point = next;
        label
    }
}

impl Model for Seats {
    type State = World;

    fn start(&self) -> World {
        let client = Actor { alive: true, point: Point::Open, fresh: false, cursor: 0 };
        let broker = Actor { point: Point::End, ..client };
        let actors = [client, client, client, broker];
        World { none: false, had: false, seats: [false; CLIENTS], actors, subject: 0, kills: self.kills }
    }

    fn moves(&self, world: &World, out: &mut Vec<Move<World>>) {
        for (number, actor) in world.actors.iter().enumerate() {
            let mut state = world.clone();
            if actor.alive && actor.point != Point::End {
                let what = self.step(&mut state, number);
                out.push(Move { who: NAMES[number], what, required: true, state });
            } else if !actor.alive && actor.point != Point::End && world.subject == 0 {
                // Its point says that it has yet to be swept.
                state.actors[number].point = Point::End;
                state.subject = number as u8 + 1;
                state.actors[BROKER].point = Point::Vacate;
                out.push(Move { who: "broker", what: "sweep: begin", required: true, state });
            }
        }
        let living = |number: &usize| world.actors[*number].alive && world.actors[*number].point != Point::End;
        for number in (0..CLIENTS).filter(living).filter(|_| world.kills != 0) {
            let mut state = world.clone();
            state.kills -= 1;
            state.actors[number].alive = false;
            out.push(Move { who: "kill", what: NAMES[number], required: false, state });
        }
        if world.subject != 0 && world.kills != 0 {
            // The next one sweeps from the start.
            let mut state = world.clone();
            state.kills -= 1;
            state.actors[usize::from(world.subject) - 1].point = Point::Vacate;
            state.done(BROKER);
            out.push(Move { who: "kill", what: "broker", required: false, state });
        }
    }

    fn broken(&self, world: &World) -> Option<&'static str> {
        // Once the state was moved, whoever has a seat is there.
        let is_there = |number: usize| world.actors[number].alive && world.actors[number].point == Point::Vacate;
        (world.none && (0..CLIENTS).any(is_there)).then_some("one that is there is said to be gone")
    }

    fn unfinished(&self, world: &World) -> Option<&'static str> {
        let is_used = world.seats.contains(&true);
        (world.had && world.none == is_used).then_some("the state says something else than the seats")
    }

    fn describe(&self, world: &World) -> String {
        format!("none {} had {} seats {:?}", world.none, world.had, world.seats)
    }
}
