//! A region of two slots and three sessions, and what sessions and the broker do in it.

use std::cell::Cell;
use std::rc::Rc;

use loom::cell::UnsafeCell;

use crate::flaw::{Flaw, Leaks};
use crate::region::{Generation, ObjectId, SessionIndex, SlotIndex};
use crate::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence, fence_after_change};
use crate::table::counting::{
    Checked, Counting, Counts, PROXY, SessionState, SlotWords, open_stack, release, retain, take_stack,
};
use crate::table::refs::{Refs, State};

pub(crate) const ONE: SessionIndex = SessionIndex(1);
pub(crate) const TWO: SessionIndex = SessionIndex(2);
const SESSIONS: usize = 3;
const SLOTS: usize = 2;

/// The generation of the session that owns a slab.
const OWNER: Generation = Generation(1);

/// What the broker leaves in memory that it takes back.
const CLEARED: u32 = 0;

/// The memory of an object. loom runs one thread at a time, so plain cells show the order in which things happened; whether that order is
/// guaranteed or was luck, `touched` tells.
struct Payload {
    touched: UnsafeCell<()>,
    /// The generation of the object that the memory belongs to.
    owner: Cell<u32>,
}

struct Slot {
    refs: AtomicU64,
    generation: AtomicU32,
    holders: AtomicU64,
    next: AtomicU32,
    /// The session of whose slab it is.
    owner: AtomicU16,
    payload: Payload,
    freed: Cell<u32>,
}

pub(crate) struct World {
    slots: [Slot; SLOTS],
    cells: [[AtomicU64; SLOTS]; SESSIONS],
    states: [AtomicU64; SESSIONS],
    /// Two for each session.
    lanes: [[AtomicU32; 2]; SESSIONS],
    returned: AtomicU32,
    /// What comes back to the slabs of each session.
    stacks: [AtomicU64; SESSIONS],
    /// Where a reference is stored: an object id, or zero.
    pub(crate) stored: AtomicU64,
}

impl World {
    /// The objects of the first generation, one in each slot that somebody holds. `held`: proxies by session and slot; `pins`: of the first slot.
    pub(crate) fn new(held: [[u64; SLOTS]; SESSIONS], pins: u32) -> Rc<Self> {
        let slot = |index: usize| {
            let pins = if index == 0 { pins } else { 0 };
            let is_held = pins != 0 || held.iter().any(|row| row[index] != 0);
            let hint = (0..SESSIONS).filter(|session| held[*session][index] != 0).fold(0, |hint, bit| hint | 1 << bit);
            let live = Refs(0).granted(ONE).live(pins);
            Slot {
                refs: AtomicU64::new(if is_held { live.0 } else { live.dead(ONE).free().0 }),
                generation: AtomicU32::new(1),
                // A slot that is free still has the bits of those that held it.
                holders: AtomicU64::new(if is_held { hint } else { 1 << ONE.0 | 1 << TWO.0 }),
                next: AtomicU32::new(0),
                owner: AtomicU16::new(0),
                payload: Payload { touched: UnsafeCell::new(()), owner: Cell::new(u32::from(is_held)) },
                freed: Cell::new(0),
            }
        };
        Rc::new(Self {
            slots: std::array::from_fn(slot),
            cells: held.map(|row| row.map(|proxies| AtomicU64::new(proxies.wrapping_mul(PROXY)))),
            states: std::array::from_fn(|_| AtomicU64::new(SessionState::Active as u64)),
            lanes: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU32::new(0))),
            returned: AtomicU32::new(0),
            stacks: std::array::from_fn(|_| AtomicU64::new(0)),
            stored: AtomicU64::new(first(0).to_bits()),
        })
    }

    /// As [`World::new`], and the first slot is of a slab of session 1.
    pub(crate) fn with_slab(held: [[u64; SLOTS]; SESSIONS]) -> Rc<Self> {
        let world = Self::new(held, 0);
        world.slots[0].owner.store(ONE.0, Ordering::Relaxed);
        world.slots[0].next.store(OWNER.0, Ordering::Relaxed);
        open_stack(&world.stacks[usize::from(ONE.0)], OWNER);
        world
    }

    fn at(&self, slot: SlotIndex) -> &Slot {
        &self.slots[slot.0 as usize]
    }

    fn words(&self, slot: SlotIndex) -> SlotWords<'_> {
        let slot = self.at(slot);
        SlotWords {
            refs: &slot.refs,
            generation: &slot.generation,
            holders: &slot.holders,
            next: &slot.next,
            owner: &slot.owner,
        }
    }

    /// As `audit`, of one slot. `stored` counts the references.
    pub(crate) fn audit(&self, slot: SlotIndex, looks_once: bool, stored: impl FnOnce() -> u32) {
        let words = self.words(slot);
        let before = Refs(words.refs.load(Ordering::Acquire));
        if !before.is_live() {
            return;
        }
        let is_moving = || self.lanes.as_flattened().iter().any(|lane| lane.load(Ordering::Acquire) == slot.0 + 1);
        let was_moving = is_moving();
        let counted = stored();
        if was_moving || !looks_once && is_moving() || counted == before.pins() {
            return;
        }
        let _ = words.refs.compare_exchange(before.0, before.live(counted).0, Ordering::AcqRel, Ordering::Relaxed);
        if Counting::new(self, SessionIndex::BROKER).check(slot, &self.lanes[0][0]) {
            self.take_back();
        }
    }

    fn write(&self, slot: SlotIndex, owner: u32) {
        let payload = &self.at(slot).payload;
        payload.touched.with_mut(|_| payload.owner.set(owner));
    }

    /// All threads have ended: nothing is held, and what was is freed, as often as it was an object.
    pub(crate) fn assert_freed(&self, slot: usize, objects: u32) {
        let slot = &self.slots[slot];
        assert!(slot.freed.get() <= objects, "freed twice");
        if Leaks::are_forbidden() {
            assert_eq!(slot.freed.get(), objects, "leaked");
        }
    }
}

/// What the broker does. It is one thread: a scene lets no two do this at once.
impl World {
    /// As `Grants::take_back`.
    pub(crate) fn take_back(&self) -> u32 {
        if self.returned.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let mut next = self.returned.swap(0, Ordering::AcqRel);
        let mut taken = 0;
        while let Some(index) = next.checked_sub(1).map(SlotIndex) {
            next = self.at(index).next.load(Ordering::Relaxed);
            self.free(index);
            taken += 1;
            assert!(taken <= SLOTS as u32, "a ring in the stack");
        }
        taken
    }

    /// As `Grants::free`.
    fn free(&self, index: SlotIndex) {
        let slot = self.at(index);
        let refs = Refs(slot.refs.load(Ordering::Acquire));
        assert!(matches!(refs.state(), State::Dead(_)), "a slot on the stack is {:?}", refs.state());
        self.write(index, CLEARED);
        slot.freed.set(slot.freed.get() + 1);
        slot.refs.store(refs.free().0, Ordering::Release);
    }

    /// As `Grants::create` and `write_slot`.
    fn grant(&self, index: SlotIndex, to: SessionIndex) -> (ObjectId, Refs) {
        let slot = self.at(index);
        let mut generation = slot.generation.load(Ordering::Relaxed);
        if !Flaw::KeepsGeneration.is_planted() {
            generation += 1;
        }
        slot.generation.store(generation, Ordering::Relaxed);
        slot.holders.store(1 << (to.0 % 64), Ordering::Relaxed);
        slot.next.store(0, Ordering::Relaxed);
        let refs = Refs(slot.refs.load(Ordering::Relaxed)).granted(to);
        slot.refs.store(refs.0, Ordering::Release);
        (ObjectId::new(index, Generation(generation)), refs)
    }

    /// As `names::remove`.
    pub(crate) fn remove_name(&self, id: ObjectId) {
        let (counting, words) = (Counting::new(self, SessionIndex::BROKER), self.words(id.slot()));
        let lane = &self.lanes[0][0];
        lane.store(id.slot().0 + 1, Ordering::Relaxed);
        counting.bump(&words, id);
        self.stored.store(0, Ordering::Release);
        fence(Ordering::SeqCst);
        counting.unpin(&words, id);
        lane.store(0, Ordering::Release);
        if counting.check(id.slot(), lane) {
            self.take_back();
        }
    }

    /// As `tickets::cancel`, of a ticket with one use.
    pub(crate) fn cancel_ticket(&self, id: ObjectId) {
        let (counting, words) = (Counting::new(self, SessionIndex::BROKER), self.words(id.slot()));
        let lane = &self.lanes[0][0];
        lane.store(id.slot().0 + 1, Ordering::Relaxed);
        counting.bump(&words, id);
        let cancelled = self.claim(id);
        if cancelled {
            counting.unpin(&words, id);
        }
        lane.store(0, Ordering::Release);
        if cancelled && counting.check(id.slot(), lane) {
            self.take_back();
        }
    }

    /// Takes the reference that is stored, if it still is.
    fn claim(&self, id: ObjectId) -> bool {
        self.stored.compare_exchange(id.to_bits(), 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// As `sweep::sweep` and `release_row`, of one slot.
    pub(crate) fn sweep(&self, dead: SessionIndex, slot: SlotIndex) {
        let (row, state) = (usize::from(dead.0), &self.states[usize::from(dead.0)]);
        state.store(SessionState::Dead as u64, Ordering::Release);
        self.cells[row][slot.0 as usize].store(0, Ordering::Release);
        if !Flaw::ForgetsCheck.is_planted() {
            Counting::new(self, SessionIndex::BROKER).check(slot, &self.lanes[0][0]);
        }
        self.take_back();
        state.store(SessionState::Free as u64, Ordering::Release);
    }

    /// As a broker that starts again does with a slot that is dead: one whose living winner shows no lane is on the stack already.
    pub(crate) fn is_left_to_be_taken(&self, slot: SlotIndex) -> bool {
        let refs = Refs(self.at(slot).refs.load(Ordering::Acquire));
        let State::Dead(winner) = refs.state() else { return false };
        self.lanes[usize::from(winner.0)].iter().all(|lane| lane.load(Ordering::Acquire) != slot.0 + 1)
    }
}

impl Counts for World {
    fn slot(&self, slot: SlotIndex) -> Option<SlotWords<'_>> {
        Some(self.words(slot))
    }

    fn cell(&self, session: SessionIndex, slot: SlotIndex) -> Option<&AtomicU64> {
        self.cells.get(usize::from(session.0))?.get(slot.0 as usize)
    }

    fn session_count(&self) -> u16 {
        SESSIONS as u16
    }

    fn session_state(&self, session: SessionIndex) -> Option<&AtomicU64> {
        self.states.get(usize::from(session.0))
    }

    fn returned(&self) -> &AtomicU32 {
        &self.returned
    }

    fn stack(&self, owner: SessionIndex) -> Option<&AtomicU64> {
        self.stacks.get(usize::from(owner.0))
    }
}

/// A thread of a session.
pub(crate) struct Session {
    world: Rc<World>,
    me: SessionIndex,
    lane: usize,
}

impl Session {
    pub(crate) fn new(world: &Rc<World>, me: SessionIndex) -> Self {
        Self { world: Rc::clone(world), me, lane: 0 }
    }

    /// Another thread of the same session.
    pub(crate) fn sibling(&self) -> Self {
        Self { world: Rc::clone(&self.world), me: self.me, lane: 1 }
    }

    fn cell(&self, slot: SlotIndex) -> &AtomicU64 {
        &self.world.cells[usize::from(self.me.0)][slot.0 as usize]
    }

    fn lane(&self) -> &AtomicU32 {
        &self.world.lanes[usize::from(self.me.0)][self.lane]
    }

    fn counting(&self) -> Counting<'_, World> {
        Counting::new(&self.world, self.me)
    }

    /// As `Hold::take`.
    pub(crate) fn take(&self, id: ObjectId) -> bool {
        let (counting, words) = (self.counting(), self.world.words(id.slot()));
        let taken = if Flaw::CountsLate.is_planted() {
            let taken = counting.bump(&words, id);
            counting.announce(&words, self.cell(id.slot()));
            taken
        } else {
            counting.announce(&words, self.cell(id.slot()));
            counting.bump(&words, id)
        };
        if !taken {
            self.give_up(id.slot());
        }
        taken
    }

    /// As `names::holder` and `Hold::take_pinned`. `None`: there is no name any more.
    pub(crate) fn look_up(&self) -> Option<ObjectId> {
        let found = self.world.stored.load(Ordering::Acquire);
        if found == 0 {
            return None;
        }
        let id = ObjectId::from_bits(found);
        let (counting, words) = (self.counting(), self.world.words(id.slot()));
        counting.announce(&words, self.cell(id.slot()));
        fence_after_change();
        let stands = self.world.stored.load(Ordering::Acquire) == found;
        if stands {
            assert!(counting.is_live(&words, id), "a pinned object is dead");
        } else {
            self.give_up(id.slot());
        }
        stands.then_some(id)
    }

    /// As `Hold::redeem` and `tickets::redeem_last`, of a ticket with one use.
    pub(crate) fn redeem(&self, id: ObjectId) -> bool {
        let (counting, words) = (self.counting(), self.world.words(id.slot()));
        counting.announce(&words, self.cell(id.slot()));
        self.lane().store(id.slot().0 + 1, Ordering::Relaxed);
        let taken = self.world.claim(id);
        if taken {
            assert!(counting.is_live(&words, id), "a pinned object is dead");
            counting.unpin(&words, id);
        }
        self.lane().store(0, Ordering::Release);
        if !taken {
            self.give_up(id.slot());
        }
        taken
    }

    /// As `Hold::store`.
    pub(crate) fn send(&self, id: ObjectId, publish: impl FnOnce() -> bool) -> bool {
        let (counting, words) = (self.counting(), self.world.words(id.slot()));
        self.lane().store(id.slot().0 + 1, Ordering::Relaxed);
        assert!(counting.pin(&words, id), "it is held");
        release(self.cell(id.slot()));
        let stored = publish();
        if !stored {
            counting.announce(&words, self.cell(id.slot()));
            counting.unpin(&words, id);
        }
        self.lane().store(0, Ordering::Release);
        stored
    }

    /// As `Hold::remove`.
    pub(crate) fn receive(&self, id: ObjectId, claim: impl FnOnce() -> bool) -> bool {
        let (counting, words) = (self.counting(), self.world.words(id.slot()));
        counting.announce(&words, self.cell(id.slot()));
        self.lane().store(id.slot().0 + 1, Ordering::Relaxed);
        let taken = claim();
        if taken {
            assert!(counting.unpin(&words, id), "a pin is missing");
        }
        self.lane().store(0, Ordering::Release);
        if !taken {
            self.give_up(id.slot());
        }
        taken
    }

    /// Pins of an object that is alive.
    pub(crate) fn pins_of(&self, slot: SlotIndex) -> Option<u32> {
        let refs = Refs(self.world.at(slot).refs.load(Ordering::Acquire));
        refs.is_live().then(|| refs.pins())
    }

    /// Changes the payload, as one that nobody else has.
    pub(crate) fn write(&self, id: ObjectId) {
        self.world.write(id.slot(), id.generation().0);
    }

    /// An attempt to take has failed.
    fn give_up(&self, slot: SlotIndex) {
        if Flaw::ForgetsCheck.is_planted() {
            release(self.cell(slot));
        } else {
            self.let_go(slot);
        }
    }

    /// As `Hold::drop`. The winner is followed by the broker at once: nothing else may have made the payload free to be touched.
    pub(crate) fn let_go(&self, slot: SlotIndex) {
        if self.kill(slot) {
            self.world.take_back();
        }
    }

    /// The same while there is another thread for the broker.
    pub(crate) fn kill(&self, slot: SlotIndex) -> bool {
        if !release(self.cell(slot)) {
            return false;
        }
        if Flaw::ClearsEarly.is_planted() {
            self.world.write(slot, CLEARED);
        }
        self.counting().check(slot, self.lane())
    }

    /// As `Hold::clone`.
    pub(crate) fn clone_proxy(&self, slot: SlotIndex) {
        retain(self.cell(slot));
    }

    /// Reads what only a holder may read.
    pub(crate) fn read(&self, id: ObjectId) {
        let payload = &self.world.at(id.slot()).payload;
        payload.touched.with(|_| assert_eq!(payload.owner.get(), id.generation().0, "not the payload of this object"));
    }

    /// Makes an object where one has been.
    pub(crate) fn create(&self, slot: SlotIndex) -> ObjectId {
        let (id, granted) = self.world.grant(slot, self.me);
        let words = self.world.words(slot);
        self.counting().announce(&words, self.cell(slot));
        assert!(self.counting().claim(&words, granted), "nobody withdraws a grant here");
        self.world.write(slot, id.generation().0);
        id
    }

    /// As `Session::check_own`, after a drop: makes anew what it kills.
    pub(crate) fn let_go_own(&self, slot: SlotIndex) -> Option<(ObjectId, Refs)> {
        if !release(self.cell(slot)) {
            return None;
        }
        match self.counting().check_own(slot, OWNER) {
            Checked::Killed(dead) => Some(self.make_anew(slot, dead)),
            _ => None,
        }
    }

    /// As `Session::take_home`, of the one slot.
    #[expect(clippy::expect_used, reason = "a test that can't go on fails")]
    pub(crate) fn take_home(&self) -> Option<(ObjectId, Refs)> {
        let slot = SlotIndex(take_stack(&self.world.stacks[usize::from(self.me.0)]).checked_sub(1)?);
        let dead = self.counting().take_home(&self.world.words(slot)).expect("nobody else takes it");
        Some(self.make_anew(slot, dead))
    }

    /// As `Session::make_anew`.
    fn make_anew(&self, slot: SlotIndex, dead: Refs) -> (ObjectId, Refs) {
        let words = self.world.words(slot);
        self.world.write(slot, CLEARED);
        let generation = words.generation.load(Ordering::Relaxed) + u32::from(!Flaw::KeepsGeneration.is_planted());
        let renew = || words.generation.store(generation, Ordering::Relaxed);
        let granted = self.counting().grant_anew(&words, dead, OWNER, renew);
        (ObjectId::new(slot, Generation(generation)), granted)
    }

    /// Creates from what was made anew.
    pub(crate) fn create_from(&self, (id, granted): (ObjectId, Refs)) {
        let words = self.world.words(id.slot());
        self.counting().announce(&words, self.cell(id.slot()));
        assert!(self.counting().claim(&words, granted), "nobody withdraws a grant here");
        self.world.write(id.slot(), id.generation().0);
    }

    pub(crate) fn is_free(&self, slot: SlotIndex) -> bool {
        Refs(self.world.at(slot).refs.load(Ordering::Acquire)).state() == State::Free
    }
}

/// The object of the first generation in a slot.
pub(crate) fn first(slot: u32) -> ObjectId {
    ObjectId::new(SlotIndex(slot), Generation(1))
}
