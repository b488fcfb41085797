//! Tickets: a session issues one, others redeem it, the broker expires it.

use crate::call;
use crate::mutation::Mutation;
use crate::process::{Op, Point, Turn};
use crate::taker;
use crate::world::{Entry, Id, Post};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Issue {
    Lane,
    Build,
    Pin,
    Fields,
    Live,
    Unlane,
}

pub(crate) fn issue(turn: &mut Turn, step: Issue) -> &'static str {
    let (ticket, uses, post) = match turn.op() {
        Op::Issue { ticket, uses, post, .. } => (ticket, uses, post),
        _ => call::terms(turn),
    };
    let (next, label) = match step {
        Issue::Lane => {
            turn.announce();
            (Issue::Build, "issue: lane")
        }
        Issue::Build => {
            let session = turn.me().session;
            let unpinned = turn.has(Mutation::TicketBeforePin);
            let entry = &mut turn.world.tickets[ticket].entry;
            if *entry == Entry::Free {
                *entry = Entry::Building(session);
                (if unpinned { Issue::Fields } else { Issue::Pin }, "issue: build")
            } else {
                turn.me().id = Id::NONE;
                (Issue::Unlane, "issue: entry is taken")
            }
        }
        Issue::Pin => {
            turn.pin();
            let last = turn.has(Mutation::TicketBeforePin);
            (if last { Issue::Unlane } else { Issue::Fields }, "issue: pin")
        }
        Issue::Fields => {
            turn.world.tickets[ticket].object = turn.me().id;
            (Issue::Live, "issue: write fields")
        }
        Issue::Live => {
            turn.world.tickets[ticket].entry = Entry::Live(uses);
            // The serial that the message will name.
            turn.me().scratch = turn.world.tickets[ticket].serial;
            let unpinned = turn.has(Mutation::TicketBeforePin);
            (if unpinned { Issue::Pin } else { Issue::Unlane }, "issue: live")
        }
        Issue::Unlane => {
            turn.unannounce();
            let me = *turn.me();
            if me.id.is_some() {
                turn.world.posts[post] = Post { ticket: ticket as u8, serial: me.scratch, object: me.id };
            }
            match turn.op() {
                Op::Serve { .. } => call::issued(turn, post),
                _ => turn.next(),
            }
            return "issue: clear lane, send";
        }
    };
    turn.go(Point::Issue(next));
    label
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Redeem {
    /// Waiting for the message.
    Receive,
    /// Takes a use that is not the last: nothing is removed.
    Use,
    Lane,
    Claim,
    Unpin,
    Unlane,
    Gone,
}

pub(crate) fn redeem(turn: &mut Turn, step: Redeem) -> Option<&'static str> {
    let Op::Redeem { post, proxy } = turn.op() else { unreachable!() };
    let Post { ticket, serial, object } = turn.world.posts[post];
    Some(match step {
        Redeem::Receive => {
            if object.is_some() {
                // The message is no shared word: taking it is a part of the next step.
                turn.me().id = object;
                let first = taker::Step::first(turn);
                return Some(taker::step(turn, first));
            }
            if turn.is_expected(post) {
                return None;
            }
            turn.next();
            "redeem: nothing comes"
        }
        Redeem::Use => {
            let entry = &mut turn.world.tickets[usize::from(ticket)];
            let known = entry.serial == serial || turn.flaw == Some(Mutation::SerialIgnored);
            match entry.entry {
                Entry::Live(1) if known => turn.go(Point::Redeem(Redeem::Lane)),
                Entry::Live(uses) if known => {
                    entry.entry = Entry::Live(uses - 1);
                    had(turn);
                }
                _ => refused(turn),
            }
            "redeem: take one of several uses"
        }
        Redeem::Lane => {
            turn.announce();
            let early = turn.has(Mutation::UnpinBeforeClaim);
            turn.go(Point::Redeem(if early { Redeem::Unpin } else { Redeem::Claim }));
            "redeem: lane"
        }
        Redeem::Claim => {
            let entry = &mut turn.world.tickets[usize::from(ticket)];
            let known = entry.serial == serial || turn.flaw == Some(Mutation::SerialIgnored);
            let Entry::Live(uses) = entry.entry else {
                turn.go(Point::Redeem(Redeem::Gone));
                return Some("redeem: spent");
            };
            if !known {
                turn.go(Point::Redeem(Redeem::Gone));
                return Some("redeem: another ticket");
            }
            let last = uses == 1;
            if last {
                entry.entry = Entry::Free;
                entry.serial += 1;
            } else {
                entry.entry = Entry::Live(uses - 1);
            }
            if !turn.has(Mutation::RedeemerCountsLate) {
                turn.me().proxies[proxy] = object;
            }
            turn.go(Point::Redeem(match turn.flaw {
                _ if !last => Redeem::Unlane,
                Some(Mutation::UnpinBeforeClaim | Mutation::RedeemerClearsLaneFirst) => Redeem::Unlane,
                _ => Redeem::Unpin,
            }));
            turn.me().scratch = u8::from(last);
            "redeem: claim"
        }
        Redeem::Unpin => {
            turn.unpin();
            match turn.flaw {
                Some(Mutation::UnpinBeforeClaim) => turn.go(Point::Redeem(Redeem::Claim)),
                Some(Mutation::RedeemerClearsLaneFirst) => turn.next(),
                _ => turn.go(Point::Redeem(Redeem::Unlane)),
            }
            "redeem: unpin"
        }
        Redeem::Unlane => {
            turn.unannounce();
            if turn.has(Mutation::RedeemerClearsLaneFirst) && turn.me().scratch == 1 {
                turn.go(Point::Redeem(Redeem::Unpin));
            } else {
                had(turn);
            }
            "redeem: clear lane"
        }
        Redeem::Gone => {
            turn.unannounce();
            refused(turn);
            "redeem: clear lane, gone"
        }
    })
}

/// A use was taken.
fn had(turn: &mut Turn) {
    if turn.has(Mutation::RedeemerCountsLate) {
        turn.go(Point::Taker(taker::Step::Count));
    } else {
        taker::taken(turn);
    }
}

/// There was none.
fn refused(turn: &mut Turn) {
    if turn.has(Mutation::RedeemerCountsLate) {
        turn.next();
    } else {
        turn.go(Point::Drop);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Expire {
    Lane,
    Bump,
    Remove,
    Unpin,
    Unlane,
}

/// The broker has the ticket's number in `subject`, its serial in `scratch`.
pub(crate) fn expire(turn: &mut Turn, step: Expire) -> &'static str {
    let subject = usize::from(turn.world.desk.subject);
    let (next, label) = match step {
        Expire::Lane => {
            turn.announce();
            let bump = !turn.has(Mutation::RemoverKeepsEpoch);
            (if bump { Expire::Bump } else { Expire::Remove }, "expire: lane")
        }
        Expire::Bump => {
            let id = turn.me().id;
            if turn.world.is_live(id) {
                turn.bump();
                (Expire::Remove, "expire: bump")
            } else {
                (Expire::Unlane, "expire: object is gone")
            }
        }
        Expire::Remove => {
            let serial = turn.me().scratch;
            let ticket = &mut turn.world.tickets[subject];
            if ticket.serial == serial && matches!(ticket.entry, Entry::Live(_)) {
                ticket.entry = Entry::Free;
                ticket.serial += 1;
                (Expire::Unpin, "expire: remove")
            } else {
                (Expire::Unlane, "expire: spent")
            }
        }
        Expire::Unpin => {
            turn.unpin();
            (Expire::Unlane, "expire: unpin")
        }
        Expire::Unlane => {
            turn.unannounce();
            turn.world.desk.subject = 0;
            turn.check(Point::Idle);
            return "expire: clear lane";
        }
    };
    turn.go(Point::Expire(next));
    label
}
