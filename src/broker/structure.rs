//! The structure lock, held for as long as a broker serves: nobody else may change sessions, grants or the directory.

use std::time::Duration;

use raw_sync::Timeout;
use raw_sync::locks::LockImpl;

use crate::error::{Error, ErrorKind, Result};
use crate::region::SessionIndex;
use crate::session::Session;
use crate::sync::robust::RobustMutex;
use crate::sync::{Owner, RobustLock};

/// Takes the lock, from a dead broker if need be.
pub(super) fn hold(session: &Session) -> Result<()> {
    let word = &session.region().header().structure;
    // At once, not after the slice that a waiter sleeps first. Nobody but a broker takes it, and this one has not yet: any other owner is damage.
    let is_over = |owner: &Owner| {
        owner.session() != SessionIndex::BROKER.0 || *owner == session.owner() || session.is_dead(*owner)
    };
    if let Some(owner) = RobustLock::new(word).owner().filter(is_over) {
        RobustLock::new(word).take_from(owner);
    }
    let mutex = RobustMutex::new(word, session.owner(), |owner| session.is_dead(owner));
    let guard = mutex.try_lock(Timeout::Val(Duration::from_secs(1))).map_err(|error| {
        Error::new(ErrorKind::BrokerExists, format!("another broker works on this region: {error}"))
    })?;
    // Held until `release`, or until the broker's death is noticed by the next one.
    std::mem::forget(guard);
    Ok(())
}

pub(super) fn release(session: &Session) {
    let mutex = RobustMutex::new(&session.region().header().structure, session.owner(), |_| false);
    if let Err(error) = mutex.release() {
        tracing::warn!(%error, "the structure lock could not be released");
    }
}
