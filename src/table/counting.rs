//! The counting protocol, step by step. Words and rules: `docs/protocol.md`.
//!
//! Orderings: every change of `refs` is a read-modify-write with AcqRel, so all of them form one release sequence. Whoever reads `refs`
//! (Acquire) after a taker's bump sees that taker's count; a swap from a value read before the bump fails. Two droppers must not both see the
//! other's old count: each has a full fence between its own decrement and its look at the others.

use crate::region::{Generation, ObjectId, SessionIndex, SlotIndex};
use crate::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence, fence_after_change};
use crate::table::refs::{MOST_PINS, Refs, State};

/// One proxy in a ledger cell: it is counted twice, the second time in the last 16 bits, where what does not fit falls off the word. A cell whose two counts differ was damaged.
pub(crate) const PROXY: u64 = 1 | 1 << SECOND_AT;
const SECOND_AT: u32 = 48;
/// One read guard in a ledger cell.
pub(crate) const READER: u64 = 1 << 32;
/// The low half of a cell: proxies.
pub(crate) const PROXIES: u64 = READER - 1;
/// The third quarter of a cell: read guards.
pub(crate) const READERS: u64 = (1 << SECOND_AT) - READER;
/// A cell that has reached this stays above it: the object lives until its session ends. A quarter of what fits, so that no race of threads overflows.
pub(crate) const SATURATED: u64 = 1 << 30;
/// Set in a cell while its process forks: such a cell is not zero, a drop there is never the last, and a clone sees that it has to count for the child too (R41).
pub(super) const LIFTED: u64 = 1 << 31;

/// The low half of `session.state`; the high half is the session's generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum SessionState {
    Free = 0,
    Active = 1,
    /// Its process is gone; its row is being swept.
    Dead = 2,
}

impl SessionState {
    pub(crate) fn of_word(word: u64) -> Self {
        match word as u32 {
            1 => Self::Active,
            // Whatever else stands there: counts of the row are believed until they are swept.
            2.. => Self::Dead,
            0 => Self::Free,
        }
    }
}

/// The words of a slot that counting needs.
pub(crate) struct SlotWords<'t> {
    pub(crate) refs: &'t AtomicU64,
    pub(crate) generation: &'t AtomicU32,
    pub(crate) holders: &'t AtomicU64,
    pub(crate) next: &'t AtomicU32,
    pub(crate) owner: &'t AtomicU16,
}

/// Where the shared words are: the region, or a model of it.
pub(crate) trait Counts {
    fn slot(&self, slot: SlotIndex) -> Option<SlotWords<'_>>;
    /// `None` if nothing was ever counted there.
    fn cell(&self, session: SessionIndex, slot: SlotIndex) -> Option<&AtomicU64>;
    fn session_count(&self) -> u16;
    fn session_state(&self, session: SessionIndex) -> Option<&AtomicU64>;
    fn returned(&self) -> &AtomicU32;
    /// The stack of what goes back to the slabs of a session. `None` while all goes to the broker.
    fn stack(&self, owner: SessionIndex) -> Option<&AtomicU64>;
    /// Clears the payload of an object that may still be taken up: against R7, for a test that must find it.
    #[cfg(feature = "planted-bug")]
    fn clear_payload(&self, _slot: SlotIndex) {}
}

/// How many proxies a cell counts.
pub(crate) fn proxies(cell: u64) -> u32 {
    (cell & (PROXIES & !LIFTED)) as u32
}

/// How many read guards.
pub(crate) fn readers(cell: u64) -> u32 {
    ((cell & READERS) / READER) as u32
}

/// Whether both counts of the proxies say the same: each change of a cell is of both.
#[inline]
pub(crate) fn is_consistent(cell: u64) -> bool {
    cell as u16 == (cell >> SECOND_AT) as u16
}

/// Adds a proxy to a cell that has one already: the whole of a clone. Returns whether the cell is lifted.
#[inline]
pub(crate) fn retain(cell: &AtomicU64) -> bool {
    // Relaxed: the proxy that is cloned keeps the object alive, nothing is published.
    let before = cell.fetch_add(PROXY, Ordering::Relaxed);
    before & PROXIES >= SATURATED - 1 && has_risen(cell, before)
}

/// Takes a proxy from a cell: the whole of a drop that is not the last. Returns whether it was the last of this session.
#[inline]
pub(crate) fn release(cell: &AtomicU64) -> bool {
    // Release: what was done through the proxy comes before whatever the one that sees zero does.
    let before = cell.fetch_sub(PROXY, Ordering::Release);
    if before & SATURATED != 0 || before & PROXIES == 0 {
        // Nothing is taken from a saturated cell, nor from one that has nothing.
        cell.fetch_add(PROXY, Ordering::Relaxed);
        return false;
    }
    before & PROXIES == 1
}

/// The way above [`SATURATED`] is longer than threads that are just releasing can go back, and is gone once.
const MARGIN: u64 = 1 << 20;

/// After an addition that reached the limit or was made above it. Returns whether the cell is lifted.
#[cold]
fn has_risen(cell: &AtomicU64, before: u64) -> bool {
    match u64::from(proxies(before)).cmp(&(SATURATED - 1)) {
        std::cmp::Ordering::Less => {}
        std::cmp::Ordering::Equal => _ = cell.fetch_add(MARGIN.wrapping_mul(PROXY), Ordering::Relaxed),
        std::cmp::Ordering::Greater => _ = cell.fetch_sub(PROXY, Ordering::Relaxed),
    }
    // Pairs with the release in `lift`: the fork that is under way is seen.
    fence(Ordering::Acquire);
    before & LIFTED != 0
}

/// Lifts a cell for the time of a fork, unless it is zero. Returns what it counts.
pub(crate) fn lift(cell: &AtomicU64) -> Option<u64> {
    // SeqCst: pairs with `announce`. Whoever counts later in a cell that is zero here finds the fork.
    if cell.load(Ordering::SeqCst) & PROXIES == 0 {
        return None;
    }
    Some(proxies(cell.fetch_add(LIFTED, Ordering::SeqCst)).into())
}

/// Puts a lifted cell back. Returns whether nothing is left in it.
pub(crate) fn settle(cell: &AtomicU64) -> bool {
    // AcqRel: as the last drop of those that were not the last because the cell was lifted.
    cell.fetch_sub(LIFTED, Ordering::AcqRel) & PROXIES == LIFTED
}

/// The protocol as one session executes it.
pub(crate) struct Counting<'t, C> {
    table: &'t C,
    me: SessionIndex,
}

impl<'t, C: Counts> Counting<'t, C> {
    #[inline]
    pub(crate) fn new(table: &'t C, me: SessionIndex) -> Self {
        Self { table, me }
    }

    /// First half of taking: sets the hint, then counts, before `refs` is looked at. Returns whether the session had no proxy before, as far as the cell can tell.
    /// `cell` is the own cell, reserved.
    #[inline]
    pub(crate) fn announce(&self, words: &SlotWords<'_>, cell: &AtomicU64) -> bool {
        let bit = 1 << (self.me.0 % 64);
        // Relaxed: the bump that follows releases both. The bit of a live object is never cleared, so a set one need not be set again.
        if words.holders.load(Ordering::Relaxed) & bit == 0 {
            words.holders.fetch_or(bit, Ordering::Relaxed);
        }
        // SeqCst: pairs with `lift`, for whoever looks afterwards whether its process forks (R42).
        let before = cell.fetch_add(PROXY, Ordering::SeqCst);
        if before & PROXIES >= SATURATED - 1 {
            has_risen(cell, before);
        }
        before & PROXIES == 0 || !is_consistent(before)
    }

    /// Counts for this session, which nobody has yet, what another one holds meanwhile (R40). Counts nothing if the object is gone.
    pub(crate) fn count(&self, words: &SlotWords<'_>, cell: &AtomicU64, id: ObjectId, count: u64) {
        // Relaxed: the bump that follows releases both.
        words.holders.fetch_or(1 << (self.me.0 % 64), Ordering::Relaxed);
        cell.fetch_add(count.wrapping_mul(PROXY), Ordering::Relaxed);
        if !self.bump(words, id) {
            cell.fetch_sub(count.wrapping_mul(PROXY), Ordering::Relaxed);
        }
    }

    /// Second half of taking what stands somewhere with a pin, which keeps it as it is: whether it is live and of this generation, as it is unless somebody has written what is not his.
    #[inline]
    pub(crate) fn is_live(&self, words: &SlotWords<'_>, id: ObjectId) -> bool {
        Refs(words.refs.load(Ordering::Acquire)).is_live()
            && words.generation.load(Ordering::Relaxed) == id.generation().0
    }

    /// Second half of taking: moves the epoch if the object is live and of this generation.
    #[inline]
    pub(crate) fn bump(&self, words: &SlotWords<'_>, id: ObjectId) -> bool {
        self.change(words, id, |refs| Some(refs.bumped())).is_some()
    }

    /// Adds a pin, unless the object is gone or can't have more. The lane is set.
    #[inline]
    pub(crate) fn pin(&self, words: &SlotWords<'_>, id: ObjectId) -> bool {
        self.change(words, id, |refs| (refs.pins() < MOST_PINS).then(|| refs.live(refs.pins() + 1))).is_some()
    }

    /// Takes a pin away, after its reference was removed. The lane is set.
    #[inline]
    pub(crate) fn unpin(&self, words: &SlotWords<'_>, id: ObjectId) -> bool {
        self.change(words, id, |refs| refs.pins().checked_sub(1).map(|pins| refs.live(pins))).is_some()
    }

    /// Swaps `refs` of a live object of this generation.
    #[inline]
    fn change(&self, words: &SlotWords<'_>, id: ObjectId, to: impl Fn(Refs) -> Option<Refs>) -> Option<()> {
        let mut now = words.refs.load(Ordering::Acquire);
        loop {
            if !Refs(now).is_live() {
                return None;
            }
            // Read after `refs`: a slot changes its generation only while it is free, and that moves the epoch, so the swap below fails.
            if words.generation.load(Ordering::Acquire) != id.generation().0 {
                return None;
            }
            let next = to(Refs(now))?;
            match words.refs.compare_exchange(now, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(()),
                Err(moved) => now = moved,
            }
        }
    }

    /// Claims a grant, after [`Counting::announce`]: the count is set before the object is live. `granted` is the word that the broker told.
    pub(crate) fn claim(&self, words: &SlotWords<'_>, granted: Refs) -> bool {
        words.refs.compare_exchange(granted.0, granted.live(0).0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// After a count or pin has gone: kills the object if nobody holds it any more. `lane` is free, and free again afterwards.
    /// Returns whether this session killed it.
    pub(crate) fn check(&self, slot: SlotIndex, lane: &AtomicU32) -> bool {
        loop {
            // Pairs with the same fence of every other session that gave something up: of two, one sees both gone.
            fence(Ordering::SeqCst);
            let Some((words, before)) = self.unheld(slot) else { return false };
            // The AcqRel swap releases the lane: nobody sees a dead slot without it.
            lane.store(slot.0 + 1, Ordering::Relaxed);
            let killed = self.kill(&words, before).is_some();
            if killed {
                self.give_back(&words, slot);
            }
            // Release: a sweeper that sees an idle lane sees the slot on the stack.
            lane.store(0, Ordering::Release);
            if killed {
                return true;
            }
        }
    }

    /// As [`Counting::check`], for a slot that may be of a slab of this session, which is of this generation: then it needs no lane (R72), and the caller brings it back.
    pub(crate) fn check_own(&self, slot: SlotIndex, me: Generation) -> Checked {
        loop {
            // As in `check`. What has gone has gone by a change of the own cell.
            fence_after_change();
            let Some((words, before)) = self.unheld(slot) else { return Checked::Alive };
            // Read after `refs`: while an object lives these stay as they are, and the swap tells whether it was this one.
            if words.owner.load(Ordering::Relaxed) != self.me.0 || words.next.load(Ordering::Relaxed) != me.0 {
                return Checked::Foreign;
            }
            if let Some(dead) = self.kill(&words, before) {
                return Checked::Killed(dead);
            }
        }
    }

    /// After a change of the own cell: whether the object lives and nobody holds it, so that it is to be checked.
    pub(crate) fn is_unheld(&self, slot: SlotIndex) -> bool {
        fence_after_change();
        self.unheld(slot).is_some()
    }

    /// `refs` of an object that lives and that nobody holds, for one that has passed a full fence since it gave something up.
    #[inline]
    fn unheld(&self, slot: SlotIndex) -> Option<(SlotWords<'t>, Refs)> {
        let words = self.table.slot(slot)?;
        let before = Refs(words.refs.load(Ordering::Acquire));
        if !before.is_live() || before.pins() != 0 || self.is_held(&words, slot) {
            return None;
        }
        #[cfg(feature = "planted-bug")]
        self.table.clear_payload(slot);
        Some((words, before))
    }

    /// Kills an object, unless something has moved since `refs` was read.
    fn kill(&self, words: &SlotWords<'_>, before: Refs) -> Option<Refs> {
        let dead = before.dead(self.me);
        words.refs.compare_exchange(before.0, dead.0, Ordering::AcqRel, Ordering::Relaxed).is_ok().then_some(dead)
    }

    /// Whether any session has a count. Reads the rows that the hint names, and no others.
    fn is_held(&self, words: &SlotWords<'_>, slot: SlotIndex) -> bool {
        let hint = words.holders.load(Ordering::Acquire);
        SessionIndex::any_hinted(hint, self.table.session_count(), |session| {
            let attached = self
                .table
                .session_state(session)
                .is_some_and(|state| SessionState::of_word(state.load(Ordering::Acquire)) != SessionState::Free);
            // Acquire: pairs with the release of the last drop there.
            attached && self.table.cell(session, slot).is_some_and(|cell| cell.load(Ordering::Acquire) != 0)
        })
    }

    /// Brings a dead slot, which a lane names, on its way: to the slab that it is of, or to the broker.
    fn give_back(&self, words: &SlotWords<'_>, slot: SlotIndex) {
        let owner = SessionIndex(words.owner.load(Ordering::Relaxed));
        // What the broker has killed it has in hand (R71).
        let goes_home = owner != SessionIndex::BROKER && self.me != SessionIndex::BROKER;
        let stack = goes_home.then(|| self.table.stack(owner)).flatten();
        if stack.is_none_or(|stack| !push_home(stack, words, slot)) {
            self.return_to_broker(words, slot);
        }
    }

    /// Pushes a dead slot on the stack of returned ones. Only winners push and only the broker takes, always all of it.
    pub(crate) fn return_to_broker(&self, words: &SlotWords<'_>, slot: SlotIndex) {
        let returned = self.table.returned();
        let mut head = returned.load(Ordering::Relaxed);
        loop {
            words.next.store(head, Ordering::Relaxed);
            // Release: whoever takes the stack sees the link.
            match returned.compare_exchange(head, slot.0 + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Makes a slot of a slab of this session its own, which another has killed (R74). `None` if the broker has it.
    pub(crate) fn take_home(&self, words: &SlotWords<'_>) -> Option<Refs> {
        let before = Refs(words.refs.load(Ordering::Acquire));
        let is_returned = matches!(before.state(), State::Dead(winner) if winner != SessionIndex::BROKER);
        is_returned.then(|| self.kill(words, before)).flatten()
    }

    /// Grants a dead slot of this session to it again, after `renew` has written what is new of it (R73).
    pub(crate) fn grant_anew(&self, words: &SlotWords<'_>, dead: Refs, me: Generation, renew: impl FnOnce()) -> Refs {
        renew();
        // Relaxed: the release of `refs` publishes them.
        words.holders.store(1 << (self.me.0 % 64), Ordering::Relaxed);
        words.next.store(me.0, Ordering::Relaxed);
        let granted = dead.granted(self.me);
        // Release: as the broker's grant. A slot that is dead, and won by its owner, is nobody else's.
        words.refs.store(granted.0, Ordering::Release);
        granted
    }
}

/// What became of a slot of which the session gave up the last count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Somebody holds it, or it is dead already.
    Alive,
    /// It is not of the session's own slabs.
    Foreign,
    /// It is dead, with these `refs`, and the session's.
    Killed(Refs),
}

/// Opens the stack of a session for what comes back to its slabs.
pub(crate) fn open_stack(stack: &AtomicU64, owner: Generation) {
    stack.store(stack_word(owner.0, 0), Ordering::Release);
}

/// Closes it. Returns its head: slot + 1, or 0.
pub(crate) fn close_stack(stack: &AtomicU64) -> u32 {
    // Acquire: pairs with the pushes.
    stack.swap(0, Ordering::AcqRel) as u32
}

/// Whether it is open for slabs of this generation of the session.
pub(crate) fn is_open(stack: &AtomicU64, owner: Generation) -> bool {
    owner.0 != 0 && stack.load(Ordering::Relaxed) >> 32 == u64::from(owner.0)
}

/// Takes all that is on a stack, which stays as open as it is. Returns its head.
pub(crate) fn take_stack(stack: &AtomicU64) -> u32 {
    let mut now = stack.load(Ordering::Relaxed);
    while now as u32 != 0 {
        // Acquire: pairs with the pushes.
        match stack.compare_exchange(now, now & !u64::from(u32::MAX), Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return now as u32,
            Err(moved) => now = moved,
        }
    }
    0
}

/// Pushes a dead slot, which a lane names, on the stack of its owner, if that is open for the generation that the slot names (R71).
fn push_home(stack: &AtomicU64, words: &SlotWords<'_>, slot: SlotIndex) -> bool {
    let owner = words.next.load(Ordering::Relaxed);
    let mut now = stack.load(Ordering::Relaxed);
    while owner != 0 && now >> 32 == u64::from(owner) {
        words.next.store(now as u32, Ordering::Relaxed);
        // Release: whoever takes the stack sees the link.
        match stack.compare_exchange(now, stack_word(owner, slot.0 + 1), Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(moved) => now = moved,
        }
    }
    false
}

fn stack_word(owner: u32, head: u32) -> u64 {
    u64::from(owner) << 32 | u64::from(head)
}
