//! A counted reference: the part of a proxy that keeps its object alive.
#![expect(
    unsafe_code,
    reason = "a hold is copied with one atomic instruction, so it can't carry a counted pointer to its session"
)]

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use super::{KeptLane, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::region::{ObjectId, SlotIndex};
use crate::sync::atomic::{AtomicU64, Ordering, fence_after_change};
use crate::table::SlotWords;
use crate::table::counting::{is_consistent, release, retain};
use crate::table::refs::Refs;
use crate::table::tickets::{self, Refused, Terms, TicketPlace};

/// One proxy's worth of an object.
///
/// All holds of a process on one object together own one strong count of the session: it is taken when the ledger cell leaves zero and given
/// back when it returns there. So clone and drop are one atomic instruction on the cell.
pub(crate) struct Hold {
    session: NonNull<Session>,
    id: ObjectId,
}

// SAFETY: a session and a cell may be used from any thread, and a hold has no state of its own.
unsafe impl Send for Hold {}
// SAFETY: as above.
unsafe impl Sync for Hold {}

impl Hold {
    /// Counts in the own cell before anything is known about the object. Dropping the hold is how an attempt that fails is undone.
    #[inline]
    fn announce(session: &Arc<Session>, id: ObjectId) -> Result<(Self, SlotWords<'_>)> {
        session.check_ours()?;
        // Looked at first: an id that never named an object is not worth a reserved page.
        let words = session.region().slot_words(id)?;
        Ok((Self::announce_in(session, id, &words)?, words))
    }

    /// The same where the slot is known, in the process of the session.
    #[inline]
    fn announce_in(session: &Arc<Session>, id: ObjectId, words: &SlotWords<'_>) -> Result<Self> {
        let cell = session.own_cell(id.slot())?;
        if session.counting().announce(words, cell) {
            session.let_cell_own(id.slot());
        }
        Ok(Self { session: NonNull::from(&**session), id })
    }

    /// Claims an object that the broker has granted with this very word. `None`: the grant was withdrawn.
    pub(crate) fn claim(session: &Arc<Session>, id: ObjectId, granted: Refs) -> Result<Option<Self>> {
        let (hold, words) = Self::announce(session, id)?;
        let claimed = session.counting().claim(&words, granted);
        Ok(hold.if_taken(claimed))
    }

    /// Has the broker count, for a session that only reads.
    fn ask(session: &Arc<Session>, id: ObjectId, ticket: Option<TicketPlace>) -> Result<Option<Self>> {
        session.check_ours()?;
        session.region().slot_words(id)?;
        let Some(cell) = session.take(id, ticket) else { return Ok(None) };
        cell?;
        Ok(Some(Self { session: NonNull::from(&**session), id }))
    }

    /// Takes a reference to what somebody else holds, if anybody does. `None`: the object is gone.
    pub(crate) fn take(session: &Arc<Session>, id: ObjectId) -> Result<Option<Self>> {
        if session.only_reads() {
            return match Self::ask(session, id, None) {
                Err(error) if error.kind() == ErrorKind::Gone => Ok(None),
                taken => taken,
            };
        }
        let (hold, words) = Self::announce(session, id)?;
        let taken = session.counting().bump(&words, id);
        Ok(hold.if_taken(taken))
    }

    /// Takes a reference that stands somewhere with a pin, and stays there if `stands` says so after it is counted (R110). `None`: it does not stand there any more, or the object is gone.
    #[inline]
    pub(crate) fn take_pinned(
        session: &Arc<Session>,
        id: ObjectId,
        stands: impl FnOnce() -> bool,
    ) -> Result<Option<Self>> {
        if session.only_reads() {
            return Self::take(session, id);
        }
        let (hold, words) = Self::announce(session, id)?;
        // Pairs with the fence of the one that removes it before it gives the pin back: the count is seen there, or its removal here.
        fence_after_change();
        let taken = stands() && session.counting().is_live(&words, id);
        Ok(hold.if_taken(taken))
    }

    /// The hold of an attempt that has succeeded.
    #[inline]
    fn if_taken(self, taken: bool) -> Option<Self> {
        taken.then(|| {
            // Last, so that nobody has the proxy before a child that is being forked has it counted (R42).
            self.session().count_late(self.id);
            self
        })
    }

    /// Takes one use of a ticket.
    #[inline]
    pub(crate) fn redeem(session: &Arc<Session>, place: TicketPlace, id: ObjectId) -> Result<Result<Self, Refused>> {
        if session.only_reads() {
            return match Self::ask(session, id, Some(place)) {
                Ok(hold) => Ok(hold.ok_or(Refused::Gone)),
                Err(error) if error.kind() == ErrorKind::Gone => Ok(Err(Refused::Gone)),
                Err(error) if error.kind() == ErrorKind::TicketSpent => Ok(Err(Refused::Spent)),
                Err(error) => Err(error),
            };
        }
        let (region, me) = (session.region(), session.index());
        let (hold, words) = Self::announce(session, id)?;
        let redeemed = tickets::redeem(region, me, &words, place, id)
            .unwrap_or_else(|| session.with_lane(|lane| tickets::redeem_last(region, me, &words, lane, place, id)));
        Ok(redeemed.map(|()| {
            session.count_late(id);
            hold
        }))
    }

    /// Issues a ticket for the object.
    pub(crate) fn issue(&self, terms: Terms, sign: impl FnOnce(TicketPlace) -> u64) -> Result<TicketPlace> {
        let session = self.session();
        session.check_writes("issue tickets")?;
        session.with_lane(|lane| {
            tickets::issue(session.region(), session.index(), lane, self.id, terms, &session.ticket_hint, sign)
        })
    }

    /// Moves the reference to where `publish` stores it, with a pin instead of the count. `Ok(false)`: it stored nothing, and this hold counts as before.
    /// After `Ok(true)` it counts nothing any more, and must be forgotten. The caller keeps the session, and has seen that it is this process's.
    #[inline]
    pub(crate) fn store(&self, lane: Option<&KeptLane>, publish: impl FnOnce() -> bool) -> Result<bool> {
        let session = self.session();
        let words = session.region().slot_words(self.id)?;
        let counting = session.counting();
        session.with_lane_kept(lane, |lane| {
            // Relaxed: the swap that adds the pin releases the lane.
            lane.store(self.slot().0 + 1, Ordering::Relaxed);
            let is_pinned = counting.pin(&words, self.id);
            let is_stored = is_pinned && {
                // Before anybody can take it (R92).
                let was_last = release(self.cell());
                let is_stored = publish();
                if !is_stored {
                    self.count_again(was_last, counting.announce(&words, self.cell()));
                    counting.unpin(&words, self.id);
                } else if was_last {
                    self.give_back_session();
                }
                is_stored
            };
            // Release: an audit that sees the lane idle sees the reference.
            lane.store(0, Ordering::Release);
            if is_pinned {
                return Ok(is_stored);
            }
            Err(self.unpinnable())
        })
    }

    #[cold]
    fn unpinnable(&self) -> Error {
        Error::new(ErrorKind::TableFull, format!("object {} is gone or has too many references", self.id))
    }

    /// After the count of an attempt was taken back: whether the cell owns the session has to fit what others have done meanwhile.
    fn count_again(&self, was_last: bool, is_first: bool) {
        match (was_last, is_first) {
            (true, false) => self.give_back_session(),
            (false, true) => self.session_arc().let_cell_own(self.slot()),
            _ => {}
        }
    }

    /// The cell has given up its count of the session, which others keep.
    #[inline]
    fn give_back_session(&self) {
        if self.session().tokens.give_back(self.slot()) {
            // SAFETY: the count that the cell owned; the pointer came from an `Arc`.
            unsafe { Arc::decrement_strong_count(self.session.as_ptr()) };
        }
    }

    /// Takes a reference that stands somewhere with a pin, if `claim` removes it. The slot's words are `words`; the session is this process's.
    #[inline]
    pub(crate) fn remove(
        session: &Arc<Session>,
        lane: Option<&KeptLane>,
        id: ObjectId,
        words: &SlotWords<'_>,
        claim: impl FnOnce() -> bool,
    ) -> Result<Option<Self>> {
        let hold = Self::announce_in(session, id, words)?;
        let taken = session.with_lane_kept(lane, |lane| {
            // Relaxed: the swap that claims releases the lane.
            lane.store(id.slot().0 + 1, Ordering::Relaxed);
            let taken = claim();
            if taken {
                session.counting().unpin(words, id);
            }
            // Release: an audit that sees the lane idle sees the reference and its pin gone together.
            lane.store(0, Ordering::Release);
            taken
        });
        Ok(hold.if_taken(taken))
    }

    #[inline]
    pub(crate) fn session(&self) -> &Session {
        // SAFETY: the cell is not zero while this hold lives, and a cell that is not zero owns a strong count of the session.
        unsafe { self.session.as_ref() }
    }

    /// A counted pointer to the session, for those who take further references with it.
    pub(crate) fn session_arc(&self) -> Arc<Session> {
        // SAFETY: the pointer came from an `Arc`, of which the cell owns a strong count while this hold lives.
        unsafe { Arc::increment_strong_count(self.session.as_ptr()) };
        // SAFETY: owns the count that was just added.
        unsafe { Arc::from_raw(self.session.as_ptr()) }
    }

    /// A pointer to the session that does not keep it.
    pub(crate) fn session_weak(&self) -> Weak<Session> {
        self.in_session(Arc::downgrade)
    }

    /// Works with the session as one that others can share, without a count of its own.
    pub(crate) fn in_session<R>(&self, work: impl FnOnce(&Arc<Session>) -> R) -> R {
        // SAFETY: as in `session_arc`. The cell's count stays the cell's, since this is never dropped.
        let session = ManuallyDrop::new(unsafe { Arc::from_raw(self.session.as_ptr()) });
        work(&session)
    }

    #[inline]
    pub(crate) fn cell(&self) -> &AtomicU64 {
        let cell = self.session().row.place(self.id.slot());
        // SAFETY: `announce` or `ask` has got the cell of this slot, which is in the region that the session keeps mapped, or the session's own; the row of a forked child has the same pages.
        unsafe { &*cell }
    }

    pub(crate) fn id(&self) -> ObjectId {
        self.id
    }

    pub(crate) fn slot(&self) -> SlotIndex {
        self.id.slot()
    }
}

impl Clone for Hold {
    #[inline]
    fn clone(&self) -> Self {
        if self.session().is_ours() && retain(self.cell()) {
            self.session().count_late(self.id);
        }
        Self { session: self.session, id: self.id }
    }
}

impl Drop for Hold {
    #[inline]
    fn drop(&mut self) {
        if self.session().is_ours() && release(self.cell()) {
            self.last();
        }
    }
}

impl Hold {
    /// The cell has returned to zero.
    fn last(&self) {
        // What was damaged, or swept because the broker has ended the session, may be zero too early: then there are other holds, and the session must outlive them.
        // Acquire: pairs with the sweep, which marks the session before it empties the cells.
        let is_whole = is_consistent(self.cell().load(Ordering::Acquire)) && self.session().is_counting();
        if !is_whole || !self.session().tokens.give_back(self.slot()) {
            tracing::error!(object = %self.id, "the count of this process's proxies is damaged, or its session has ended");
            return self.session().check(self.id);
        }
        // SAFETY: takes back the strong count that the cell owned; the session lives at least until `session` is dropped.
        let session = unsafe { Arc::from_raw(self.session.as_ptr()) };
        session.check(self.id);
    }

    /// As the drop of the last proxy of an object, after its cell has returned to zero without one.
    pub(super) fn end_last(session: &Arc<Session>, id: ObjectId) {
        // It counts nothing any more, so it is not dropped as one that does.
        ManuallyDrop::new(Self { session: NonNull::from(&**session), id }).last();
    }
}
