//! References that end at their time: tickets with a deadline, and those in the replies of a dead broker.

use std::time::Instant;

use super::server::Server;
use crate::object::transit::Written;
use crate::region::SessionIndex;
use crate::sys::clock;
use crate::table::alarm::{Alarm, NEVER};
use crate::table::tickets;

/// The least between two looks at all tickets, so that nobody's deadlines keep the broker busy.
const REST: u64 = 10_000_000;

impl Server {
    /// Looks at the tickets at this time of the boot clock, if not before.
    pub(super) fn look_at_tickets(&mut self, at: u64) {
        let at = at.max(self.looked + REST);
        if at < self.alarm {
            self.alarm = at;
            Alarm::new(&self.region.header().alarm).set(at);
        }
    }

    /// Ends the tickets whose time is over. Their issuers tell of a deadline only if the next look comes too late for it, so each look sees when the next one is due.
    pub(super) fn expire_tickets(&mut self) {
        let now = clock::boot_nanos();
        if self.alarm > now {
            return;
        }
        (self.alarm, self.looked) = (NEVER, now);
        Alarm::new(&self.region.header().alarm).begin_look();
        let (mut expired, mut next) = (Vec::new(), NEVER);
        for ticket in tickets::live(&self.region).filter(|ticket| ticket.deadline != 0) {
            if ticket.deadline < now {
                expired.push(ticket);
            } else {
                next = next.min(ticket.deadline.saturating_add(1));
            }
        }
        for ticket in expired {
            let cancelled =
                self.session.with_lane(|lane| tickets::cancel(&self.region, SessionIndex::BROKER, lane, &ticket));
            tracing::debug!(object = %ticket.object, cancelled, "a ticket has expired");
        }
        self.look_at_tickets(next);
        self.host.take_back();
    }

    pub(super) fn expire_replies(&mut self) {
        if let Some((_, replies)) = self.replies.take_if(|(until, _)| *until <= Instant::now()) {
            Written::cancel(&replies, &self.session);
            self.host.take_back();
        }
    }
}
