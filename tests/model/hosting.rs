//! Hosted objects: what they hold, their locks, and which of them can be reached.

use crate::call::Call;
use crate::collect::Collector;
use crate::world::{Entry, SLOTS, World};

/// What the broker keeps of hosted objects in its own memory. A set of objects is a bit by slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Hosting {
    pub(crate) hosted: u8,
    /// Those that have their contents.
    pub(crate) whole: u8,
    /// By slot: what it holds, each object once. Each is a count in the broker's row.
    pub(crate) contents: [u8; SLOTS],
    pub(crate) locked: u8,
    /// Dead ones whose contents are still to be dropped.
    pub(crate) buried: u8,
    pub(crate) call: Call,
    pub(crate) collector: Collector,
}

impl Hosting {
    /// The dead objects that no thread of the broker is working on any more.
    pub(crate) fn droppable(&self) -> u8 {
        let called = u8::from(self.call.running) << self.call.container;
        if self.collector.running { 0 } else { self.buried & !called }
    }
}

impl World {
    /// The objects of which somebody outside has a reference, and what they lead to. A broker thread that has one in hand
    /// is outside; a dead session is not.
    pub(crate) fn reachable(&self) -> u8 {
        let proxies = self.actors.iter().flat_map(|actor| actor.proxies);
        let tickets = self.tickets.iter().filter(|ticket| matches!(ticket.entry, Entry::Live(_)));
        let outside = proxies.chain(tickets.map(|ticket| ticket.object)).chain([self.name]);
        let roots = outside.filter(|id| id.is_some()).fold(0, |roots, id| roots | 1 << id.slot);
        reach(&self.hosting.contents, roots)
    }
}

/// What these contents lead to.
pub(crate) fn reach(contents: &[u8; SLOTS], from: u8) -> u8 {
    let mut reached = from;
    loop {
        let more = objects(reached).fold(reached, |more, slot| more | contents[usize::from(slot)]);
        if more == reached {
            return reached;
        }
        reached = more;
    }
}

/// The slots of a set.
pub(crate) fn objects(set: u8) -> impl Iterator<Item = u8> {
    (0..SLOTS as u8).filter(move |slot| set & 1 << slot != 0)
}
