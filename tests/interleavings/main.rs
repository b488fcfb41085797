//! The counting as it runs in production, in every order that threads and memory allow.
//!
//! `src/table/counting.rs` and `src/table/refs.rs` are compiled here once more, with loom's atomics behind the [`sync::atomic`] that they
//! name. loom runs a scene in every order of its threads (up to a number of preemptions) and lets every load return every value that the orderings
//! permit. [`world`] stands for the region and has the steps around the counting as `session`, `tickets`, `names` and `grants` do them.
//! [`holds`] says what must be true, [`caught`] that a mistake is noticed. So are the words of channels, [`channels`], `src/table/alarm.rs`, by which a broker is told of tickets in time, and `src/sync/event.rs`, by which processes wait for each other, with a [`sys::futex`] of
//! loom's parts: whoever sleeps for good stops the scene.
//!
//! `tests/model` checks more of the protocol, with kills, but in a memory without surprises; here are the surprises, without kills.
//!
//! loom lets two `SeqCst` fences synchronise, which the language does not promise. So every scene runs a second time with a fence that only
//! acquires and releases: objects may leak then, but nothing may be touched after its death. Where something rests on two fences of which one is the first, which the language does promise, it has no such run, and [`caught`] says so.
//!
//! What loom can't show: a load that sees a store which comes later in program order.

#[expect(dead_code, unreachable_pub, reason = "the whole file is compiled, the counting needs the names only")]
#[path = "../../src/error.rs"]
mod error;

#[path = "../../src/region"]
mod region {
    #[allow(dead_code, unreachable_pub, reason = "as in `error`")]
    pub(crate) mod address;

    pub(crate) use address::{Generation, ObjectId, SessionIndex, SlotIndex};
}

#[path = "../../src/table"]
mod table {
    pub(crate) mod alarm;
    #[expect(dead_code, reason = "nobody reads here, so there is no read guard")]
    pub(crate) mod counting;
    pub(crate) mod refs;
    #[expect(dead_code, reason = "nobody tells a generation from another here")]
    pub(crate) mod ring;
    #[expect(dead_code, reason = "nobody dies here")]
    pub(crate) mod seats;
}

#[path = "."]
mod sync {
    pub(crate) mod atomic;
    #[path = "../../src/sync/event.rs"]
    pub(crate) mod event;
    mod spin;

    pub(crate) use spin::Spin;
}

#[path = "."]
mod sys {
    pub(crate) mod futex;
}

mod alarms;
mod caught;
mod channels;
mod flaw;
mod holds;
mod scenes;
mod waits;
mod world;
