//! References that end at their time: tickets with a deadline, and those in the replies of a dead broker.

use std::time::Instant;

use super::server::Server;
use crate::object::transit::Written;
use crate::region::SessionIndex;
use crate::sys::clock;
use crate::table::tickets;

impl Server {
    /// Notes when a ticket expires. Many more times than there can be tickets are not kept: those of the tickets that there are, are.
    pub(super) fn note_deadline(&mut self, at: u64) {
        self.deadlines.insert(at);
        if self.deadlines.len() > 2 * self.region.capacities().tickets as usize {
            self.deadlines.clear();
            self.note_deadlines();
        }
    }

    pub(super) fn expire_tickets(&mut self) {
        if self.deadlines.first().is_none_or(|first| *first >= clock::boot_nanos()) {
            return;
        }
        let now = clock::boot_nanos();
        self.deadlines.retain(|at| *at >= now);
        let expired: Vec<_> =
            tickets::live(&self.region).filter(|ticket| ticket.deadline != 0 && ticket.deadline < now).collect();
        for ticket in expired {
            let cancelled =
                self.session.with_lane(|lane| tickets::cancel(&self.region, SessionIndex::BROKER, lane, &ticket));
            tracing::debug!(object = %ticket.object, cancelled, "a ticket has expired");
        }
        self.host.take_back();
    }

    pub(super) fn note_deadlines(&mut self) {
        self.deadlines.extend(tickets::live(&self.region).map(|ticket| ticket.deadline).filter(|at| *at != 0));
    }

    pub(super) fn expire_replies(&mut self) {
        if let Some((_, replies)) = self.replies.take_if(|(until, _)| *until <= Instant::now()) {
            Written::cancel(&replies, &self.session);
            self.host.take_back();
        }
    }
}
