//! What sessions hold that only read: they can't count in their rows, so the broker does it for them, when they ask.

use std::collections::HashMap;

use super::attached::Attached;
use super::server::Server;
use crate::control::message::{self, GiveBack, Take};
use crate::error::{Error, ErrorKind, Result};
use crate::region::{ObjectId, SessionIndex, SlotIndex};
use crate::sync::atomic::Ordering;
use crate::table::counting::{self, Counting, PROXY, SATURATED};
use crate::table::tickets::{self, Refused, TicketPlace};

/// Whether a session has the region mapped for reading.
pub(super) fn only_reads(sessions: &HashMap<SessionIndex, Attached>, index: SessionIndex) -> bool {
    sessions.get(&index).is_some_and(|attached| attached.entry.only_reads())
}

/// The error for one that asks for more.
pub(super) fn refused() -> Error {
    Error::new(ErrorKind::ReadOnly, "this session only reads").help("connect without read_only")
}

impl Server {
    /// Counts a reference for a session, and takes the use of a ticket. All before the reply. (R60)
    pub(super) fn lend(&mut self, to: SessionIndex, body: &[u8]) -> Result<Vec<u8>> {
        self.check_reads(to)?;
        let take: Take = message::fixed(body)?;
        let id = ObjectId::from_bits(take.object);
        let words = self.region.slot_words(id)?;
        if !self.region.cell_is_reserved(to, id.slot()) {
            self.region.reserve_cell(to, id.slot())?;
        }
        let cell = self.region.cell(to, id.slot()).ok_or_else(|| tickets::gone(id))?;
        let counting = Counting::new(&*self.region, to);
        counting.announce(&words, cell);
        let taken = if take.has_ticket == 0 {
            counting.bump(&words, id).then_some(()).ok_or(Refused::Gone)
        } else {
            let place = TicketPlace { index: take.index, serial: take.serial };
            self.session.with_lane(|lane| tickets::redeem_last(&self.region, to, &words, lane, place, id))
        };
        taken.map(|()| Vec::new()).map_err(|refused| {
            self.count_down(to, id.slot(), 1);
            match refused {
                Refused::Gone => tickets::gone(id),
                Refused::Spent => Error::new(ErrorKind::TicketSpent, "all uses of the ticket are taken"),
            }
        })
    }

    /// Gives back what was counted for a session.
    pub(super) fn take_in(&mut self, from: SessionIndex, body: &[u8]) -> Result<Vec<u8>> {
        self.check_reads(from)?;
        let back: GiveBack = message::fixed(body)?;
        let id = ObjectId::from_bits(back.object);
        if self.region.id_of(id.slot()) == Some(id) {
            self.count_down(from, id.slot(), back.count);
        }
        Ok(Vec::new())
    }

    /// An error for a session that only reads.
    pub(super) fn check_changes(&self, index: SessionIndex) -> Result<()> {
        if only_reads(&self.sessions, index) { Err(refused()) } else { Ok(()) }
    }

    fn check_reads(&self, index: SessionIndex) -> Result<()> {
        let what = "this session counts its references itself";
        only_reads(&self.sessions, index).then_some(()).ok_or_else(|| message::protocol(what))
    }

    /// Only this thread changes the row of a session that only reads.
    fn count_down(&self, session: SessionIndex, slot: SlotIndex, count: u64) {
        let cell = self.region.cell(session, slot).filter(|_| self.region.cell_is_reserved(session, slot));
        let Some(cell) = cell else { return };
        let before = u64::from(counting::proxies(cell.load(Ordering::Relaxed)));
        if before >= SATURATED {
            return;
        }
        let count = count.min(before);
        // Release: as the drop of a proxy.
        cell.fetch_sub(count.wrapping_mul(PROXY), Ordering::Release);
        if count == before {
            let counting = self.session.counting();
            self.session.with_lane(|lane| counting.check(slot, lane));
            self.host.take_back();
        }
    }
}
