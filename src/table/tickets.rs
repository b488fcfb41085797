//! Tickets: references in transit, which no process holds.
//!
//! | bits of `word` | meaning |
//! |---|---|
//! | 0..8 | state: 0 free, 1 building, 2 live |
//! | 8..32 | live: uses left; building: the session that builds |
//! | 32..64 | serial: one more whenever the entry becomes free |

use super::counting::{Counting, Counts, SlotWords};
use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::TicketEntry;
use crate::region::{ObjectId, Offset, Region, SessionIndex, SlotIndex};
use crate::sync::atomic::{AtomicU32, Ordering};

/// The most uses a ticket can have.
pub(crate) const MOST_USES: u32 = (1 << 24) - 1;
/// Entries that are reserved at once.
const RESERVED_AT_ONCE: u32 = 1024;

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Building(SessionIndex),
    Live { uses: u32 },
}

impl Word {
    fn new(serial: u32, value: u32, state: u64) -> Self {
        Self(u64::from(serial) << 32 | u64::from(value & MOST_USES) << 8 | state)
    }

    fn serial(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn state(self) -> State {
        let value = (self.0 >> 8) as u32 & MOST_USES;
        match self.0 as u8 {
            1 => State::Building(SessionIndex(value as u16)),
            2 if value > 0 => State::Live { uses: value },
            _ => State::Free,
        }
    }

    fn building(self, by: SessionIndex) -> Self {
        Self::new(self.serial(), u32::from(by.0), 1)
    }

    fn live(self, uses: u32) -> Self {
        Self::new(self.serial(), uses, 2)
    }

    fn free(self) -> Self {
        Self::new(self.serial().wrapping_add(1), 0, 0)
    }
}

/// A place in the ticket table, and which ticket of that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TicketPlace {
    pub(crate) index: u32,
    pub(crate) serial: u32,
}

/// What a new ticket is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) uses: u32,
    /// See [`TicketEntry::deadline`].
    pub(crate) deadline: u64,
    /// Pid of the issuer.
    pub(crate) issuer: u32,
    /// See [`TicketEntry::in_reply`].
    pub(crate) in_reply: bool,
}

/// What a ticket that can be redeemed still has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveTicket {
    pub(crate) place: TicketPlace,
    pub(crate) object: ObjectId,
    pub(crate) uses: u32,
    pub(crate) deadline: u64,
    pub(crate) issuer: u32,
    pub(crate) in_reply: bool,
}

/// Why a redemption got nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The object is not alive, or of another generation.
    Gone,
    /// All uses are taken, or the ticket was cancelled.
    Spent,
}

/// Issues a ticket for an object that the session holds. `sign` gives what the ticket's text is signed with, or 0. `hint` is where to look first, and is set to the entry that was taken: a
/// ticket that is redeemed before the next is issued is used again while its memory is warm.
pub(crate) fn issue(
    region: &Region,
    me: SessionIndex,
    lane: &AtomicU32,
    id: ObjectId,
    terms: Terms,
    hint: &AtomicU32,
    sign: impl FnOnce(TicketPlace) -> u64,
) -> Result<TicketPlace> {
    let counting = Counting::new(region, me);
    let words = region.slot_words(id)?;
    // Relaxed: the swap that adds the pin releases the lane.
    lane.store(id.slot().0 + 1, Ordering::Relaxed);
    let issued = claim_entry(region, me, hint).and_then(|(index, entry, word)| {
        if !counting.pin(&words, id) {
            entry.word.store(word.free().0, Ordering::Release);
            return Err(Error::new(ErrorKind::TableFull, format!("object {id} is gone or has too many references")));
        }
        entry.object.store(id.to_bits(), Ordering::Relaxed);
        entry.deadline.store(terms.deadline, Ordering::Relaxed);
        entry.issuer.store(terms.issuer, Ordering::Relaxed);
        entry.in_reply.store(u32::from(terms.in_reply), Ordering::Relaxed);
        let place = TicketPlace { index, serial: word.serial() };
        entry.hash.store(sign(place), Ordering::Relaxed);
        // Release: whoever sees the ticket live sees its fields. Nobody else changes the word of an entry that is being built.
        entry.word.store(word.live(terms.uses).0, Ordering::Release);
        Ok(place)
    });
    // Release: an audit that sees the lane idle sees the ticket.
    lane.store(0, Ordering::Release);
    issued
}

/// Makes a free entry one that `me` builds.
fn claim_entry<'r>(region: &'r Region, me: SessionIndex, hint: &AtomicU32) -> Result<(u32, &'r TicketEntry, Word)> {
    let count = region.capacities().tickets;
    let start = hint.load(Ordering::Relaxed);
    let mut no_memory = None;
    for step in 0..count {
        let index = (start.wrapping_add(step)) % count;
        if index >= region.tickets_ready() {
            // Without memory for more, those that have it are still good.
            if no_memory.is_none() {
                no_memory = extend(region, index).err();
            }
            // There may be memory for some, but not up to here.
            if index >= region.tickets_ready() {
                continue;
            }
        }
        let Some(entry) = region.ticket(index) else { continue };
        let word = Word(entry.word.load(Ordering::Relaxed));
        let building = word.building(me);
        // AcqRel: acquires what the last user of the entry did.
        if word.state() == State::Free
            && entry.word.compare_exchange(word.0, building.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            hint.store(index, Ordering::Relaxed);
            return Ok((index, entry, building));
        }
    }
    Err(no_memory.unwrap_or_else(|| {
        Error::new(ErrorKind::TableFull, format!("all {count} tickets are in use"))
            .help("redeem tickets, give them deadlines, or start the broker with more")
    }))
}

/// Reserves the entries up to and with `index`.
fn extend(region: &Region, index: u32) -> Result<()> {
    let ready = &region.header().tickets_ready;
    let until = (index + 1).next_multiple_of(RESERVED_AT_ONCE).min(region.capacities().tickets);
    let from = ready.load(Ordering::Acquire).min(until);
    let size = size_of::<TicketEntry>() as u64;
    let offset = Offset(region.map().tickets + u64::from(from) * size);
    let reserved = region.reserve_ahead(offset, u64::from(until - from) * size)?;
    ready.fetch_max(from + (reserved / size) as u32, Ordering::AcqRel);
    Ok(())
}

/// Whether a ticket that is signed with this hash, and says all this, was issued here: its entry has the same. If not, it may still have been: the entry may be another ticket's by now.
#[inline]
pub(crate) fn is_signed(region: &Region, place: TicketPlace, object: ObjectId, deadline: u64, hash: u64) -> bool {
    ticket_entry(region, place).is_some_and(|entry| {
        // Acquire: whoever sees the serial sees the fields.
        let word = Word(entry.word.load(Ordering::Acquire));
        hash != 0
            && entry.hash.load(Ordering::Relaxed) == hash
            && entry.object.load(Ordering::Relaxed) == object.to_bits()
            && entry.deadline.load(Ordering::Relaxed) == deadline
            && word.serial() == place.serial
            && matches!(word.state(), State::Live { .. })
    })
}

/// Takes one use of a ticket that keeps others, after [`Counting::announce`]: nothing is removed, so no lane is needed. If it is refused, the caller takes its count back.
/// `None`: there is one use left, see [`redeem_last`].
#[inline]
pub(crate) fn redeem(
    region: &Region,
    me: SessionIndex,
    words: &SlotWords<'_>,
    place: TicketPlace,
    id: ObjectId,
) -> Option<Result<(), Refused>> {
    let Some(entry) = ticket_entry(region, place) else { return Some(Err(Refused::Spent)) };
    let claimed = claim_use(entry, place, id, 2)?;
    Some(claimed.and_then(|_| is_pinned(region, me, words, id)))
}

/// Takes one use of a ticket, also the last one, after [`Counting::announce`]. If it is refused, the caller takes its count back.
pub(crate) fn redeem_last(
    region: &Region,
    me: SessionIndex,
    words: &SlotWords<'_>,
    lane: &AtomicU32,
    place: TicketPlace,
    id: ObjectId,
) -> Result<(), Refused> {
    let entry = ticket_entry(region, place).ok_or(Refused::Spent)?;
    // Relaxed: the swap that claims releases the lane.
    lane.store(id.slot().0 + 1, Ordering::Relaxed);
    let claimed = claim_use(entry, place, id, 1).unwrap_or(Err(Refused::Spent)).and_then(|uses| {
        is_pinned(region, me, words, id)?;
        if uses == 1 {
            Counting::new(region, me).unpin(words, id);
        }
        Ok(())
    });
    // Release: an audit that sees the lane idle sees the reference and its pin gone together.
    lane.store(0, Ordering::Release);
    claimed
}

/// While a ticket is live its pin keeps the object, unless somebody has written what is not his.
#[inline]
fn is_pinned(region: &Region, me: SessionIndex, words: &SlotWords<'_>, id: ObjectId) -> Result<(), Refused> {
    if Counting::new(region, me).is_live(words, id) { Ok(()) } else { Err(Refused::Gone) }
}

/// Takes one use, if there are `least` left; tells how many there were. `None`: there are fewer, but some.
#[inline]
fn claim_use(entry: &TicketEntry, place: TicketPlace, id: ObjectId, least: u32) -> Option<Result<u32, Refused>> {
    let mut now = entry.word.load(Ordering::Acquire);
    loop {
        let word = Word(now);
        let State::Live { uses } = word.state() else { return Some(Err(Refused::Spent)) };
        if word.serial() != place.serial || entry.object.load(Ordering::Relaxed) != id.to_bits() {
            return Some(Err(Refused::Spent));
        }
        if uses < least {
            return None;
        }
        let next = if uses == 1 { word.free() } else { word.live(uses - 1) };
        // AcqRel: the count that was announced comes before, for whoever takes the last use and gives the pin back.
        match entry.word.compare_exchange(now, next.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(Ok(uses)),
            Err(moved) => now = moved,
        }
    }
}

/// Whether a ticket can still be redeemed. A look that costs nothing: it may be redeemed the next moment.
pub(crate) fn is_live(region: &Region, ticket: &LiveTicket) -> bool {
    ticket_entry(region, ticket.place).is_some_and(|entry| {
        let word = Word(entry.word.load(Ordering::Acquire));
        word.serial() == ticket.place.serial && matches!(word.state(), State::Live { .. })
    })
}

/// Takes all uses that a ticket has left. Returns whether there were any.
pub(crate) fn cancel(region: &Region, me: SessionIndex, lane: &AtomicU32, ticket: &LiveTicket) -> bool {
    let counting = Counting::new(region, me);
    let id = ticket.object;
    let (Ok(words), Some(entry)) = (region.slot_words(id), ticket_entry(region, ticket.place)) else { return false };
    lane.store(id.slot().0 + 1, Ordering::Relaxed);
    counting.bump(&words, id);
    let mut now = entry.word.load(Ordering::Acquire);
    let cancelled = loop {
        let word = Word(now);
        if word.serial() != ticket.place.serial || !matches!(word.state(), State::Live { .. }) {
            break false;
        }
        match entry.word.compare_exchange(now, word.free().0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => break true,
            Err(moved) => now = moved,
        }
    };
    if cancelled {
        counting.unpin(&words, id);
    }
    lane.store(0, Ordering::Release);
    if cancelled {
        counting.check(id.slot(), lane);
    }
    cancelled
}

#[inline]
fn ticket_entry(region: &Region, place: TicketPlace) -> Option<&TicketEntry> {
    // An entry that no issuer ever reached is not touched: its memory is not reserved.
    (place.index < region.tickets_ready()).then(|| region.ticket(place.index))?
}

/// All tickets that can be redeemed.
pub(crate) fn live(region: &Region) -> impl Iterator<Item = LiveTicket> {
    let ready = region.tickets_ready();
    (0..ready).filter_map(|index| read(region, index))
}

fn read(region: &Region, index: u32) -> Option<LiveTicket> {
    let entry = region.ticket(index)?;
    let word = Word(entry.word.load(Ordering::Acquire));
    let State::Live { uses } = word.state() else { return None };
    Some(LiveTicket {
        place: TicketPlace { index, serial: word.serial() },
        object: ObjectId::from_bits(entry.object.load(Ordering::Relaxed)),
        uses,
        deadline: entry.deadline.load(Ordering::Relaxed),
        issuer: entry.issuer.load(Ordering::Relaxed),
        in_reply: entry.in_reply.load(Ordering::Relaxed) != 0,
    })
}

/// Frees the entries that a dead session was building.
pub(crate) fn abandon(region: &Region, dead: SessionIndex) {
    let ready = region.tickets_ready();
    for entry in (0..ready).filter_map(|index| region.ticket(index)) {
        let word = Word(entry.word.load(Ordering::Acquire));
        if word.state() == State::Building(dead) {
            entry.word.store(word.free().0, Ordering::Release);
        }
    }
}

/// Entries that are being built, and by whom.
pub(crate) fn building(region: &Region) -> impl Iterator<Item = (u32, SessionIndex)> {
    let ready = region.tickets_ready();
    (0..ready).filter_map(|index| match Word(region.ticket(index)?.word.load(Ordering::Acquire)).state() {
        State::Building(by) => Some((index, by)),
        _ => None,
    })
}

impl Region {
    /// The counting words of the slot that an id names.
    #[inline]
    pub(crate) fn slot_words(&self, id: ObjectId) -> Result<SlotWords<'_>> {
        self.used_slot(id.slot()).ok_or_else(|| gone(id))
    }

    /// The counting words of a slot that was granted before. An id may come from anywhere: one that never was has no memory yet and must not be touched.
    #[inline]
    pub(crate) fn used_slot(&self, index: SlotIndex) -> Option<SlotWords<'_>> {
        (index.0 < self.slots_used()).then(|| Counts::slot(self, index))?
    }
}

/// The error for an object that is not alive.
#[cold]
pub(crate) fn gone(id: ObjectId) -> Error {
    Error::new(ErrorKind::Gone, format!("object {id} is gone"))
        .help("an object lives as long as somebody holds it: keep a proxy, a ticket or a name")
}
