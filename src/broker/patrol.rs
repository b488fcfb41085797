//! Compares the region with the books. What the broker alone writes is mended; a slot that contradicts the books is taken out of use; a session whose lanes or row make no
//! sense is ended. Each is said in the log and to `sharehold check`.

use std::time::{Duration, Instant};

use super::host::Host;
use super::server::Server;
use crate::control::message::{self, AuditDone, Damage, LONGEST_BODY};
use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::{CELLS_A_PAGE, WALKING};
use crate::region::{Region, SessionIndex, SlotIndex};
use crate::sync::atomic::Ordering;
use crate::table::audit::{Audited, audit, slots_in_lanes};

/// How soon a slot is audited again that a living process was working on; each further time takes twice as long, up to a limit, since a process may be stopped.
const AUDIT_AGAIN: Duration = Duration::from_millis(20);
const AUDIT_AGAIN_AT_LAST: Duration = Duration::from_secs(1);
/// How soon lost slots are looked for again.
const PATROL_AGAIN: Duration = Duration::from_secs(1);
/// Findings that are kept: the first tell most.
const MOST_FINDINGS: usize = 64;

impl Server {
    /// Looks at everything.
    pub(super) fn patrol(&mut self) {
        self.mend_header();
        let known: Vec<SessionIndex> = self.sessions.keys().copied().collect();
        for index in known {
            // A child that is about to be forked writes into its entry itself.
            let known = self.sessions.get(&index).filter(|attached| attached.pidfd.is_some());
            if known.is_some_and(|attached| attached.entry.mend(&self.region, index)) {
                self.found(format!("the entry of session {} was damaged and is mended", index.0));
            }
        }
        self.host.books().examine();
        let slots = self.host.books().slots();
        let senseless: Vec<SessionIndex> =
            self.sessions.keys().filter(|index| !makes_sense(&self.region, **index, slots)).copied().collect();
        for index in senseless {
            self.found(format!("session {} is ended: what it says about its own work makes no sense", index.0));
            self.end_session(index, "it makes no sense");
        }
        self.host.recover();
    }

    /// Notices that a named segment was cut off, which nobody can be kept from who may write it, before the loop touches it again. What had bytes behind the cut is out of use;
    /// without its tables the broker can't go on.
    ///
    /// # Errors
    /// `Damaged` if the region is lost.
    pub(super) fn mend_length(&mut self) -> Result<()> {
        let Some(at) = self.region.mend_length()? else { return Ok(()) };
        if at < self.region.map().heap {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("the segment was cut off to {at} bytes, in the middle of its tables"),
            )
            .help("start the broker again, with an empty region"));
        }
        let lost = self.host.books().lose_bytes(at);
        self.found(format!("the segment was cut off to {at} bytes: {lost} objects are lost"));
        Ok(())
    }

    /// The words of the header that never change are the same as ever.
    pub(super) fn mend_header(&mut self) {
        let mended = self.constants.mend(&self.region);
        if mended > 0 {
            self.found(format!("{mended} words of the header were damaged and are mended"));
        }
    }

    fn found(&mut self, what: String) {
        tracing::error!(what, "damage");
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(what);
        }
    }

    pub(super) fn audit_all(&mut self) -> AuditDone {
        self.host.take_back();
        self.patrol();
        let used = self.host.books().slots();
        let slots: Vec<SlotIndex> = (0..used).map(SlotIndex).collect();
        let audited = self.audit(&slots);
        AuditDone { repaired: audited.repaired, freed: audited.freed, busy: audited.busy.len() as u32, reserved: 0 }
    }

    /// Audits slots; those that somebody is working on are looked at again soon.
    pub(super) fn audit(&mut self, slots: &[SlotIndex]) -> Audited {
        let audited = self.session.with_lane(|lane| audit(&self.region, slots, || self.host.books().channels(), lane));
        self.host.take_back();
        self.look_again(&audited.busy);
        audited
    }

    /// Has slots audited again that somebody is working on.
    pub(super) fn look_again(&mut self, busy: &[SlotIndex]) {
        self.due.extend(busy);
        if !busy.is_empty() && self.due_at.is_none() {
            self.due_at = Some((Instant::now() + AUDIT_AGAIN, AUDIT_AGAIN));
        }
    }

    pub(super) fn audit_due(&mut self) {
        let Some((_, after)) = self.due_at.take_if(|(at, _)| *at <= Instant::now()) else { return };
        let due: Vec<SlotIndex> = std::mem::take(&mut self.due).into_iter().collect();
        self.audit(&due);
        if let Some((at, next)) = &mut self.due_at {
            *next = (2 * after).min(AUDIT_AGAIN_AT_LAST);
            *at = Instant::now() + *next;
        }
    }

    /// When dead slots are to be looked for, since a part of the stack of returned ones is lost.
    pub(super) fn lost_at(&self) -> Option<Instant> {
        let again = || self.patrolled.map_or_else(Instant::now, |last| last + PATROL_AGAIN);
        self.host.books().has_lost().then(again)
    }

    pub(super) fn look_for_lost(&mut self) {
        if self.lost_at().is_some_and(|at| at <= Instant::now()) {
            self.patrol();
            self.patrolled = Some(Instant::now());
        }
    }

    /// Looks at everything, and tells what was found since the start.
    pub(super) fn examine(&mut self) -> Result<Vec<u8>> {
        self.patrol();
        let mut findings = self.findings.clone();
        findings.extend(self.host.books().findings().take(MOST_FINDINGS));
        let mut room = LONGEST_BODY / 2;
        findings.retain(|finding| {
            room = room.saturating_sub(finding.len() + 16);
            room > 0
        });
        message::archive(&Damage { findings })
    }
}

/// Whether lanes and page map of a session name only what has been granted at some time.
fn makes_sense(region: &Region, index: SessionIndex, slots: u32) -> bool {
    let Some(entry) = region.session(index) else { return true };
    let pages = u64::from(slots).div_ceil(CELLS_A_PAGE);
    let beyond = |word: u64| u64::MAX.checked_shl(pages.saturating_sub(word * 64).min(64) as u32).unwrap_or(0);
    let is_known = |lane: u32| lane <= slots || lane == WALKING;
    entry.lanes.iter().all(|lane| is_known(lane.load(Ordering::Acquire)))
        && (0..region.row_map_words()).all(|word| {
            region.row_map_word(index, word).is_none_or(|bits| bits.load(Ordering::Acquire) & beyond(word) == 0)
        })
}

impl Host {
    /// Frees dead slots that nobody brings back: a part of a stack of returned ones is lost, or a winner has died who may have pushed his slot on that of another session (R75).
    ///
    /// A winner names its slot in a lane until it is on the stack. So what was dead before the lanes were read and is in none of them was on the stack; what is on it now is taken back
    /// as ever; and what is still the same afterwards is on nobody's way.
    pub(super) fn recover(&self) {
        // A collector sets back to live what it has killed: while one is at work, nothing dead is surely dead.
        let Some(_alone) = self.try_collecting() else { return };
        let dead = self.books().dead();
        let moving = slots_in_lanes(self.region());
        self.take_back();
        let mut books = self.books();
        books.take_stacks();
        for (index, refs) in dead {
            if moving.contains(&index) {
                // Nobody knows whether the lane is its winner's: looked at again.
                books.note_lost();
            } else if !self.is_killed(index) {
                books.free_lost(index, refs);
            }
        }
        drop(books);
        self.take_back();
    }
}
