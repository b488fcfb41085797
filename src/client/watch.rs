//! The thread that notices the end of a session's broker and looks for its successor, so that the region finds its way back also while nobody asks for anything.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::attach::Connections;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::socket;

/// How long the first and the later waits between two looks for a new broker are.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Starts the thread. It ends with the session, or when a new broker does not take the session back.
pub(super) fn start(connections: &Arc<Connections>) -> Result<()> {
    let connections = Arc::downgrade(connections);
    std::thread::Builder::new()
        .name("sharehold-watch".into())
        .stack_size(256 << 10)
        .spawn(move || while watch(&connections).is_some() {})
        .map(drop)
        .map_err(|error| Error::os("start a thread", error))
}

/// Waits for the end of the connection, then for a broker that takes the session back. `None`: there is nothing more to wait for.
fn watch(connections: &Weak<Connections>) -> Option<()> {
    let stream = connections.upgrade()?.first_stream()?;
    socket::wait_hung_up(&stream);
    drop(stream);
    let mut pause = FIRST_PAUSE;
    loop {
        let connections = connections.upgrade()?;
        // None once the session has left.
        connections.first_stream()?;
        match connections.reconnect() {
            Ok(()) => return Some(()),
            Err(error) if is_final(error.kind()) => {
                tracing::warn!(%error, "the new broker does not take this session back");
                return None;
            }
            // There is none yet, or it was the old one: a process that is killed closes its sockets one by one.
            Err(error) => tracing::trace!(%error, "no broker yet"),
        }
        drop(connections);
        std::thread::sleep(pause);
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// Whether it is of no use to ask again. One that must wait before its authkey is looked at does.
fn is_final(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Refused | ErrorKind::LayoutMismatch | ErrorKind::WrongAuthkey)
}
