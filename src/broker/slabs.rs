//! The slabs of sessions, as the broker has them: granted in one reply, left to their owners, and taken back when those end or when somebody finds no room.
//!
//! The rules R70 to R76 are in `docs/protocol.md`.

use super::facts::look;
use super::grants::{Grantee, Grants, Pending, is_full};
use super::server::Server;
use crate::control::message::{self, Create, Granted, OrderSlab, SLAB_SLOTS};
use crate::error::{Error, ErrorKind, Result};
use crate::heap::Extents;
use crate::object::Kind;
use crate::region::layout::{PAGE, Slot};
use crate::region::{Region, SessionIndex};
use crate::sync::atomic::Ordering;
use crate::table::counting::{SessionState, close_stack, is_open, open_stack, take_stack};
use crate::table::refs::{Refs, State};
use crate::table::sessions;

/// Most bytes of a slab.
const SLAB_BYTES: u64 = 256 << 10;
/// A slab takes at most this part of the slots, and of the bytes, that are free.
const SHARE: u64 = 8;
/// Fewer are not worth a list.
const FEWEST: u64 = 2;

impl Grants {
    /// Grants as many slots of one shape as are asked for and the room allows: none if that is scarce.
    pub(super) fn create_slab(
        &mut self,
        create: &Create,
        count: u32,
        owner: SessionIndex,
    ) -> Result<Vec<(Granted, Pending)>> {
        self.take_back();
        let footprint = Extents::footprint(create.len).filter(|_| create.len > 0).unwrap_or(0);
        if footprint >= PAGE {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{} bytes are too many for a slab", create.len),
            ));
        }
        let room = |bytes: u64| bytes.checked_div(footprint).unwrap_or(u64::MAX);
        let most = u64::from(count.min(SLAB_SLOTS as u32)).min(room(SLAB_BYTES));
        let count = most.min(self.spare_slots() / SHARE).min(room(self.heap.free_bytes() / SHARE));
        let region = std::sync::Arc::clone(&self.region);
        let Some(entry) = region.session(owner).filter(|_| count >= FEWEST) else { return Ok(Vec::new()) };
        let generation = sessions::generation(entry.state.load(Ordering::Relaxed));
        if !is_open(&entry.returned, generation) {
            open_stack(&entry.returned, generation);
        }
        let to = Grantee { session: owner, owner: Some(generation) };
        let mut slab = Vec::with_capacity(count as usize);
        while (slab.len() as u64) < count {
            match self.create_for(create, to) {
                Ok(granted) => slab.push(granted),
                // What there is will do; if there is none, a single object is asked for and refused.
                Err(error) if is_full(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(slab)
    }

    /// Takes back what sessions have of their slabs and do not use. Returns whether that was anything.
    pub(super) fn reclaim(&mut self) -> bool {
        if self.facts.in_slabs() == 0 {
            return false;
        }
        let before = self.facts.in_slabs();
        self.take_stacks();
        for index in self.facts.slabs(None) {
            let refs = self.region.slot(index).map(|slot| Refs(slot.refs.load(Ordering::Acquire)));
            if let Some(refs) = refs.filter(|refs| matches!(refs.state(), State::Granted(_))) {
                self.withdraw(Pending::new(index, refs));
            }
        }
        self.facts.in_slabs() < before
    }

    /// Frees what is on its way back to slabs of any session.
    pub(super) fn take_stacks(&mut self) {
        let region = std::sync::Arc::clone(&self.region);
        for index in (1..region.capacities().sessions as u16).map(SessionIndex) {
            let head = region.session(index).map_or(0, |entry| take_stack(&entry.returned));
            self.free_stack(head, Some(index));
        }
    }

    /// Closes the stack of a session that has ended, and frees what is on it.
    pub(super) fn close_stack(&mut self, dead: SessionIndex) {
        let head = self.region.session(dead).map_or(0, |entry| close_stack(&entry.returned));
        self.free_stack(head, Some(dead));
    }

    /// Ends the slabs of a session whose stack is closed. `is_gone`: so is its process; else only what nobody uses is taken back.
    pub(super) fn end_slabs(&mut self, dead: SessionIndex, is_gone: bool) {
        let region = std::sync::Arc::clone(&self.region);
        for index in self.facts.slabs(Some(dead)) {
            let Some(slot) = region.slot(index) else { continue };
            let refs = Refs(slot.refs.load(Ordering::Acquire));
            match refs.state() {
                State::Granted(_) => self.withdraw(Pending::new(index, refs)),
                _ if !is_gone => {}
                State::Dead(winner) if winner == dead => _ = self.free(index),
                state => {
                    // Who kills it finds the stack closed. Who has killed it may have pushed it before.
                    self.facts.disown(index, slot);
                    if matches!(state, State::Dead(_)) {
                        self.note_lost();
                    }
                }
            }
        }
    }

    /// Bytes that sessions have in their slabs and do not use.
    pub(super) fn idle_bytes(&self) -> u64 {
        let is_idle = |slot: &Slot| !Refs(slot.refs.load(Ordering::Acquire)).is_live();
        let idle = self.facts.slabs(None).into_iter().filter(|index| self.region.slot(*index).is_some_and(is_idle));
        idle.map(|index| self.bytes_of(index)).sum()
    }
}

impl Server {
    /// Grants a slab to the session of a connection, which has it when its next message comes.
    pub(super) fn grant_slab(&mut self, key: u64, body: &[u8], session: SessionIndex) -> Result<Vec<u8>> {
        let OrderSlab { create, count } = message::unarchive(body)?;
        if matches!(Kind::from_number(create.kind), Some(Kind::Hosted | Kind::Frozen | Kind::Channel)) {
            return Err(Error::new(ErrorKind::InvalidArgument, "only values, arrays and archives come in slabs"));
        }
        let slab = self.host.grant_slab(&create, count, session)?;
        let (granted, pending): (Vec<Granted>, Vec<Pending>) = slab.into_iter().unzip();
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.slab = pending;
        }
        Ok(bytemuck::cast_slice(&granted).to_vec())
    }
}

/// Whether a slot is of a slab of a session that has outlived the broker, or has yet to be swept: only what is neither its owner's nor on its stack is to be finished.
pub(super) fn has_owner(region: &Region, slot: &Slot) -> bool {
    let owner = SessionIndex(slot.owner.load(Ordering::Relaxed));
    let Some(entry) = region.session(owner).filter(|_| owner != SessionIndex::BROKER) else { return false };
    let state = entry.state.load(Ordering::Acquire);
    let generation = sessions::generation(state);
    // In one piece: one who kills it after it was seen alive puts a link there. Whoever makes it anew, again and again, is its owner.
    let named = look(slot, |slot| slot.next.load(Ordering::Relaxed));
    SessionState::of_word(state) != SessionState::Free
        && is_open(&entry.returned, generation)
        && named.is_none_or(|(next, refs)| matches!(refs.state(), State::Dead(_)) || next == generation.0)
}
