//! What the broker's other threads want from the event loop.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

use super::peer::{Asked, Connection};
use crate::control::message::Request;
use crate::error::{Error, ErrorKind, Result};

/// Something to do for the loop.
#[expect(clippy::large_enum_variant, reason = "there are few at a time, and they are moved twice")]
pub(super) enum Errand {
    /// A thread gives a connection back.
    Back { key: u64, connection: Connection, left: Left },
    /// A method asks for something that only the loop does.
    Ask { request: Request, body: Vec<u8>, answer: Sender<Result<Vec<u8>>> },
    /// A ticket expires at this time of the boot clock.
    Deadline(u64),
}

/// Why a thread has left its connection.
pub(super) enum Left {
    /// Nothing was asked for a while.
    Idle,
    /// Something was asked that only the loop answers.
    Asked(Asked),
    /// It is to be closed; the text says what the client did wrong, if it did.
    Closed(Option<String>),
}

pub(super) struct Mailbox {
    errands: Mutex<Vec<Errand>>,
    bell: OwnedFd,
    /// Whether the loop has been called since it last looked.
    rung: AtomicBool,
}

impl Mailbox {
    pub(super) fn new() -> Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::os("make an event descriptor", error))?;
        Ok(Self { errands: Mutex::default(), bell, rung: AtomicBool::new(false) })
    }

    /// Readable when the loop is to look.
    pub(super) fn bell(&self) -> impl AsFd {
        &self.bell
    }

    /// Has the loop look for what has died.
    pub(super) fn ring(&self) {
        // AcqRel: what was done before the ring is seen by the loop that resets it.
        if !self.rung.swap(true, Ordering::AcqRel) {
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    pub(super) fn send(&self, errand: Errand) {
        self.errands.lock().push(errand);
        self.ring();
    }

    /// Asks the loop and waits.
    pub(super) fn ask(&self, request: Request, body: &[u8], patience: Duration) -> Result<Vec<u8>> {
        let (answer, answered) = channel();
        self.send(Errand::Ask { request, body: body.to_vec(), answer });
        answered
            .recv_timeout(patience)
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::BrokerGone, "the broker is ending and does not answer")))
    }

    /// All that is to be done. For the loop.
    pub(super) fn take(&self) -> Vec<Errand> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.bell, &mut count);
        // Before the errands are taken: one that comes after this rings again.
        self.rung.swap(false, Ordering::AcqRel);
        std::mem::take(&mut *self.errands.lock())
    }
}
