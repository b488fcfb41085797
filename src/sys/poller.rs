//! Waits for many descriptors at once.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::error::{Error, Result};

/// What happened to the descriptor that was added under `key`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) key: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// An epoll instance.
pub(crate) struct Poller(OwnedFd);

/// Events that are taken at once.
const BATCH: usize = 64;

impl Poller {
    pub(crate) fn new() -> Result<Self> {
        epoll::create(epoll::CreateFlags::CLOEXEC).map(Self).map_err(|error| Error::os("create an epoll", error))
    }

    /// Watches for reading under `key`.
    pub(crate) fn add(&self, fd: impl AsFd, key: u64) -> Result<()> {
        epoll::add(&self.0, fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN)
            .map_err(|error| Error::os("watch a descriptor", error))
    }

    /// Watches also for writing, or no longer.
    pub(crate) fn watch_writing(&self, fd: impl AsFd, key: u64, writing: bool) -> Result<()> {
        let flags = if writing { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        epoll::modify(&self.0, fd, epoll::EventData::new_u64(key), flags)
            .map_err(|error| Error::os("watch a descriptor", error))
    }

    /// Watches, of what is added, only for the other end's closing.
    pub(crate) fn watch_closing(&self, fd: impl AsFd, key: u64) -> Result<()> {
        epoll::modify(&self.0, fd, epoll::EventData::new_u64(key), epoll::EventFlags::RDHUP)
            .map_err(|error| Error::os("watch a descriptor", error))
    }

    pub(crate) fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits until something is ready or the timeout is over; no timeout waits for ever.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<Vec<Ready>> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(&self.0, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::os("wait for events", error)),
        }
        Ok(events
            .iter()
            .map(|event| {
                let flags = event.flags;
                Ready {
                    key: event.data.u64(),
                    // A hang-up or an error is found by reading.
                    readable: flags.intersects(
                        epoll::EventFlags::IN
                            | epoll::EventFlags::HUP
                            | epoll::EventFlags::ERR
                            | epoll::EventFlags::RDHUP,
                    ),
                    writable: flags.contains(epoll::EventFlags::OUT),
                }
            })
            .collect())
    }
}
