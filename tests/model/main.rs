//! An exhaustive model of the counting protocol (`docs/protocol.md`).
//!
//! A [`scene`] gives three client threads, each with a short program, and the broker a few slots. The
//! [`explorer`] walks every order of their micro-steps, breadth first: each access of a shared word is a step
//! of its own, and before any step any process, the broker too, may be killed. A killed broker starts again.
//! [`promise`] says what must be true in every state (a proxy sees its own object's bytes, there are no fewer
//! pins than stored references, a slot is returned once) and once nothing has to happen any more (nothing has
//! leaked, nobody waits). A violation comes with the shortest way to it.
//!
//! Each [`mutation`] breaks one rule. It must be [caught] in some scene; else the rule is not needed, and
//! [`holds`] says why.
//!
//! What is modelled: `refs`, generations, hints, cells, lanes, tickets, a name, weak proxies, session numbers, the
//! returned stack with its links, memory and what is in it, messages to the broker; and as a smaller model of its
//! own ([`lock`], [`guard`]) the robust lock, the read guards of an array and the two copies of a value.
//!
//! Objects may be [hosted](hosting): then they hold others, in the broker's row, and what they hold changes under their
//! locks only. Two more threads of the broker work beside its loop. One executes the [calls](call) of a client, which
//! store a reference in an object or take one out, and goes on when the client is killed. The other [collects](collect)
//! cycles, once at any moment and once at the end; after that nothing that cannot be reached may be left.
//!
//! What is sent through a [channel] is held by its entry until somebody has taken it; who has its ends is a model of its own ([`seats`]).
//!
//! A client may [fork]: its row is copied while another thread of it goes on, and the child, which has all that both have at that moment, lives on the copy.
//!
//! [`slab`] is a smaller model of its own, too: slots that their owner makes anew.
//! The call [ring] is a model of its own too: a client, a thread of the broker and its loop, with a memory and a socket between them.
//!
//! What is not: weak memory (memory is sequentially consistent here, so fences do nothing), numbers that wrap
//! round, sleeping and waking, and a process that writes where it has no business. A client's request to the
//! broker and the message that carries a ticket are no shared words: they arrive whole or not at all. Of hosted
//! objects: methods that run together or call each other, a second collector, a slot that is used again, and a client
//! that gives up waiting for an answer: what it drops then, the sweep drops for one that is killed.
//!
//! One scene by hand, with its size, or one mistake, with its trace:
//!
//! ```text
//! cargo test --test model holds::handover -- --nocapture
//! cargo test --test model caught::leak_when_a_restart_does_not_check -- --nocapture
//! ```

mod audit;
mod broker;
mod call;
mod caught;
mod channel;
mod check;
mod collect;
mod create;
mod explorer;
mod fork;
mod guard;
mod holds;
mod hosting;
mod lock;
mod mutation;
mod name;
mod process;
mod promise;
mod protocol;
mod restart;
mod ring;
mod scene;
mod scenes;
mod seats;
mod slab;
mod slab_broker;
mod sweep;
mod taker;
mod ticket;
mod world;
