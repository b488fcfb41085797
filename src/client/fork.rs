//! A fork of this process: each of its sessions gets a twin that the child has, with the same counts. See "Fork" in `docs/protocol.md`.
//!
//! Before the fork the broker is asked for a session, and the own row is copied; afterwards the parent puts back what it has lifted, and the child takes the copy. The child has none of the threads that may have
//! held a lock at the fork, so it has new ones. What can't be prepared in time is inert in the child, with the error `Forked`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::attach::{Connections, SESSIONS, Sessions, State};
use crate::error::Result;
use crate::region::{Generation, SessionIndex};
use crate::session::Session;
use crate::session::fork::Lifted;
use crate::sys::fork;

/// How long a fork waits for a broker, and for each lock of this process.
const PATIENCE: Duration = Duration::from_millis(500);

/// One session before and after the fork.
struct Twin {
    session: Arc<Session>,
    connections: Arc<Connections>,
    /// Of the session that was prepared, if it could be.
    state: Option<Box<State>>,
    /// What the child has if it can't have that.
    none: Box<State>,
    lifted: Lifted,
}

/// What the forking thread has prepared.
#[derive(Default)]
struct Prepared {
    twins: Vec<Twin>,
    /// The child's sessions.
    sessions: Option<Box<Mutex<Sessions>>>,
    /// Whether this thread is the one that forks: another may be about to.
    is_alone: bool,
}

thread_local! {
    static PREPARED: RefCell<Prepared> = RefCell::default();
}

/// Whether a thread of this process is forking: one at a time is prepared for.
static FORKING: AtomicBool = AtomicBool::new(false);

/// Has forks of this process noticed from now on.
pub(super) fn watch_forks() -> Result<()> {
    static IS_WATCHING: AtomicBool = AtomicBool::new(false);
    if IS_WATCHING.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    fork::around(prepare, parent, child).inspect_err(|_| IS_WATCHING.store(false, Ordering::Release))
}

extern "C" fn prepare() {
    with_prepared(|prepared| {
        let until = Instant::now() + PATIENCE;
        while FORKING.swap(true, Ordering::Acquire) {
            if Instant::now() >= until {
                return tracing::warn!("another thread is forking: this child gets no session");
            }
            std::thread::yield_now();
        }
        prepared.is_alone = true;
        let Some(sessions) = SESSIONS.get().try_lock_for(PATIENCE) else {
            return tracing::warn!("another thread is connecting: this child gets no session");
        };
        let mut inherited = BTreeMap::new();
        for (place, (session, connections)) in sessions.iter() {
            let (Some(session), Some(connections)) = (session.upgrade(), connections.upgrade()) else { continue };
            if session.is_ours() {
                inherited.insert(place.clone(), (Arc::downgrade(&session), Arc::downgrade(&connections)));
                prepared.twins.push(Twin::of(session, connections));
            }
        }
        prepared.sessions = Some(Box::new(Mutex::new(inherited)));
    });
}

extern "C" fn parent() {
    with_prepared(|prepared| {
        for twin in &mut prepared.twins {
            twin.keep_in_child(false);
            twin.session.settle_row(&mut twin.lifted);
        }
        // Only now the broker may see that the child has ended.
        prepared.end();
    });
}

extern "C" fn child() {
    with_prepared(|prepared| {
        SESSIONS.renew(prepared.sessions.take().unwrap_or_default());
        for Twin { session, connections, state, none, .. } in prepared.twins.drain(..) {
            match state.filter(|state| session.become_child(state.session, state.generation)) {
                Some(state) => connections.become_child(state, true),
                None => connections.become_child(none, false),
            }
        }
        FORKING.store(false, Ordering::Release);
        prepared.end();
    });
}

/// Works on what this thread has prepared. A fork goes on whatever happens here.
fn with_prepared(work: impl FnOnce(&mut Prepared)) {
    let worked = catch_unwind(AssertUnwindSafe(|| PREPARED.try_with(|prepared| work(&mut prepared.borrow_mut()))));
    if !matches!(worked, Ok(Ok(()))) {
        tracing::error!("a fork was not prepared for");
    }
}

impl Prepared {
    fn end(&mut self) {
        let is_alone = std::mem::take(self).is_alone;
        if is_alone {
            FORKING.store(false, Ordering::Release);
        }
    }
}

impl Twin {
    fn of(session: Arc<Session>, connections: Arc<Connections>) -> Self {
        let mut lifted = Lifted::default();
        let is_counting = session.check_writes("be had by a forked child");
        let prepared = is_counting.and_then(|()| connections.prepare_child(PATIENCE)).map(Box::new);
        let copied = prepared.as_ref().map_or(Ok(()), |state| session.copy_row(state.session, &mut lifted));
        for error in prepared.as_ref().err().into_iter().chain(copied.as_ref().err()) {
            tracing::warn!(%error, broker = %session.broker_name(), "a child is forked without a session");
        }
        // Kept until after the fork also if the copy has failed: threads may be counting there.
        let none = Box::new(State::new(SessionIndex::BROKER, Generation(0), 0, None));
        let twin = Self { session, connections, state: prepared.ok(), none, lifted };
        twin.keep_in_child(true);
        twin
    }

    /// Leaves the connection of the prepared session open in the child.
    fn keep_in_child(&self, is_kept: bool) {
        if let Some(first) = self.state.as_ref().and_then(|state| state.stream()) {
            fork::keep_in_child(first.as_raw_fd(), is_kept);
        }
    }
}
