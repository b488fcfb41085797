//! The region of a broker that has died is taken over: what the dead one was doing is unknown, only the shared words remain.
//!
//! The order is that of `docs/protocol.md`, "A broker that starts again". Each step may be repeated, so a broker that dies here is followed by one that begins anew.
//! Clients work on meanwhile: they clone, drop, kill and return.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::grants::Grants;
use super::host::Host;
use super::mailbox::Mailbox;
use super::sweep::{give_on, sweep, tell_writer, vacate};
use crate::class::ClassTable;
use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::BrokerState;
use crate::region::{Backing, Region, Rights, SessionIndex, SlotIndex};
use crate::session::Session;
use crate::sync::Owner;
use crate::sync::atomic::Ordering;
use crate::sys::memory::Memory;
use crate::sys::{place, process};
use crate::table::audit::{Audited, audit};
use crate::table::counting::SessionState;
use crate::table::sessions::SessionRecord;
use crate::table::tickets::LiveTicket;
use crate::table::{names, sessions, tickets};

/// What a broker works with: new, or taken over from a dead one.
pub(super) struct Estate {
    pub(super) session: Arc<Session>,
    pub(super) host: Arc<Host>,
    /// The sessions whose processes live.
    pub(super) living: Vec<Living>,
    /// Slots to be audited again.
    pub(super) busy: Vec<SlotIndex>,
    /// References in replies of the dead broker: whoever has read such a reply redeems them soon, nobody else ever will.
    pub(super) replies: Vec<LiveTicket>,
}

/// A session whose process has outlived the broker.
pub(super) struct Living {
    pub(super) index: SessionIndex,
    pub(super) pid: u32,
    /// `None` for a child that is just being forked.
    pub(super) pidfd: Option<OwnedFd>,
    /// The session of its parent in that case.
    pub(super) parent: Option<SessionIndex>,
}

/// The segment that a dead broker of this name has left, if its objects may still be alive. One that is of no use is removed. The name is claimed, so no living
/// broker has it.
pub(super) fn abandoned_segment(name: &str, wanted: Backing) -> Result<Option<Region>> {
    let segment = place::segment_name(name);
    match place::open_segment(&segment) {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(None),
        // Whoever has put something else there keeps nobody from having a broker that needs no segment.
        Err(error) if wanted == Backing::Memfd => {
            tracing::warn!(%error, "what stands where a segment would be is left alone");
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let opened = Memory::open_segment(&segment)
        .and_then(Region::open)
        .and_then(|region| is_adoptable(&region, name).map(|()| region));
    match opened {
        Ok(mut region) => {
            region.own_segment();
            Ok(Some(region))
        }
        Err(error) => {
            tracing::warn!(segment, %error, "what a dead broker has left can't be taken over and is removed");
            place::remove_segment(&segment)?;
            Ok(None)
        }
    }
}

/// Whether a region is one that a dead broker of this name has left in the middle of its work.
pub(super) fn is_adoptable(region: &Region, name: &str) -> Result<()> {
    let refused = |what: String| Err(Error::new(ErrorKind::Refused, what));
    let header = region.header();
    if region.broker_name() != name {
        return refused(format!("the region is of a broker named '{}'", region.broker_name()));
    }
    if header.broker_state.load(Ordering::Acquire) == BrokerState::Stopped as u32 {
        return refused("its broker has ended in order".into());
    }
    let (pid, start) = (header.broker_pid.load(Ordering::Relaxed), header.broker_start.load(Ordering::Relaxed));
    if process::is_alive(pid, start) {
        return refused(format!("its broker, process {pid}, is alive"));
    }
    Ok(())
}

impl Estate {
    /// A region that nobody has used yet.
    pub(super) fn found(region: Arc<Region>, classes: &[Arc<ClassTable>], mailbox: Arc<Mailbox>) -> Result<Self> {
        let session = enter(&region)?;
        let host = Host::new(Arc::clone(&session), Grants::new(region), classes, mailbox)?;
        Ok(Self { session, host, living: Vec::new(), busy: Vec::new(), replies: Vec::new() })
    }

    /// The region of a dead broker.
    pub(super) fn take_over(region: Arc<Region>, classes: &[Arc<ClassTable>], mailbox: Arc<Mailbox>) -> Result<Self> {
        region.announce_broker();
        let session = enter(&region)?;
        let inherited = counts(&region);
        names::abandon(&region);
        tickets::abandon(&region, SessionIndex::BROKER);
        let host = Host::new(Arc::clone(&session), Grants::of_slots(Arc::clone(&region)), classes, mailbox)?;
        finish_slots(&host);
        clear_lanes(&region);
        let living = part_sessions(&host);
        host.restore();
        release(&session, &inherited);
        let replies = tickets::live(&region).filter(|ticket| ticket.in_reply).collect();
        let slots: Vec<SlotIndex> = (0..host.books().slots()).map(SlotIndex).collect();
        let audited = session.with_lane(|lane| audit(&region, &slots, || host.books().channels(), lane));
        host.take_back();
        let Audited { repaired, freed, busy } = audited;
        tracing::info!(
            objects = slots.len(),
            sessions = living.len(),
            repaired,
            freed,
            "took over the region of a dead broker"
        );
        Ok(Self { session, host, living, busy, replies })
    }
}

/// Enters this process as the broker of a region.
fn enter(region: &Arc<Region>) -> Result<Arc<Session>> {
    let entry = region
        .session(SessionIndex::BROKER)
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "a region has at least two sessions"))?;
    region.reserve_row(SessionIndex::BROKER)?;
    let (pid, uid) = (std::process::id(), rustix::process::geteuid().as_raw());
    let generation = sessions::enter(region, SessionIndex::BROKER, entry, pid, uid, Rights::All);
    let session = Session::new(Arc::clone(region), SessionIndex::BROKER, generation, Rights::All)?;
    super::structure::hold(&session)?;
    Ok(session)
}

/// What the dead broker's row says: the references of the objects that it hosted, and of the methods that it was executing.
fn counts(region: &Region) -> Vec<(SlotIndex, u64)> {
    let cells = region.reserved_cells(SessionIndex::BROKER);
    cells
        .filter_map(|(slot, cell)| Some((slot, cell.load(Ordering::Acquire))).filter(|(_, count)| *count != 0))
        .collect()
}

/// Frees what was granted and not claimed, and what is dead and on nobody's way to the broker. The slabs of those who live are left to them.
fn finish_slots(host: &Host) {
    let region = host.region();
    host.take_back();
    let is_returned = |winner: SessionIndex, slot| {
        winner != SessionIndex::BROKER
            && sessions::read(region, winner)
                .is_some_and(|record| record.state == SessionState::Active && record.lives())
            && sessions::names(region, winner, slot)
    };
    let mut books = host.books();
    for slot in (0..books.slots()).map(SlotIndex) {
        if books.settle(slot, |winner| is_returned(winner, slot)) {
            // Or the lane is another thread's, and the dead broker had taken the slot off the stack: then nobody returns it.
            books.note_lost();
        }
    }
    drop(books);
    // Once more, before anything is granted: what was finished may have been on the stack too.
    host.take_back();
}

fn clear_lanes(region: &Region) {
    if let Some(entry) = region.session(SessionIndex::BROKER) {
        for lane in &entry.lanes {
            lane.store(0, Ordering::Release);
        }
    }
}

/// Ends the sessions whose processes are gone, and finds out about the others.
fn part_sessions(host: &Host) -> Vec<Living> {
    let region = host.region();
    let mut living = Vec::new();
    for record in sessions::attached(region).filter(|record| record.index != SessionIndex::BROKER) {
        // The descriptor first: if the process is the right one afterwards, the descriptor is of the right one too.
        let pidfd = process::pidfd(record.pid).ok();
        match pidfd.filter(|_| record.state == SessionState::Active && record.lives()) {
            Some(pidfd) => {
                living.push(Living { index: record.index, pid: record.pid, pidfd: Some(pidfd), parent: None });
            }
            // Its parent may be counting there, and the child may claim it at any moment.
            None if let Some(parent) = parent_of(region, &record) => {
                living.push(Living { index: record.index, pid: 0, pidfd: None, parent: Some(parent) });
            }
            // What it was moving is audited with all the rest.
            None => drop(sweep(host, record.index, true)),
        }
    }
    living
}

/// The session of the living process that is about to fork the one that an entry is of.
fn parent_of(region: &Region, record: &SessionRecord) -> Option<SessionIndex> {
    let entry = region.session(record.index).filter(|_| record.state == SessionState::Active && record.pid == 0)?;
    let parent = SessionIndex(u16::try_from(entry.parent.load(Ordering::Relaxed).checked_sub(1)?).ok()?);
    let lives = sessions::read(region, parent)
        .is_some_and(|parent| parent.pid != 0 && parent.state == SessionState::Active && parent.lives());
    // Withdrawn by the same swap that it is claimed by: of one whose parent is gone nobody counts there.
    (lives || sessions::withdraw(entry).is_err()).then_some(parent)
}

/// Gives up what the dead broker held. What restored objects hold is counted beside it by now, and stays.
fn release(session: &Arc<Session>, inherited: &[(SlotIndex, u64)]) {
    let region = session.region();
    let me = session.owner();
    for (slot, count) in inherited {
        let (Some(cell), Some(words)) = (region.cell(SessionIndex::BROKER, *slot), region.slot(*slot)) else {
            continue;
        };
        // Of any broker before: one that died while it took over may have left those of its predecessor.
        let is_dead = |owner: Owner| owner.session() == SessionIndex::BROKER.0 && owner != me;
        give_on(words, is_dead);
        vacate(region, *slot, is_dead);
        // Release: as the drop of a proxy. Only this thread changes the row.
        if cell.fetch_sub(*count, Ordering::Release) != *count {
            // The cell had a count when the first proxy was taken, so nobody took the session's for it.
            session.let_cell_own(*slot);
        }
        tell_writer(words, *count);
    }
}
