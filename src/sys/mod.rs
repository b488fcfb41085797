//! What is specific to Linux: memory, futexes, processes, sockets, signals, places in the file system.

pub(crate) mod claim;
pub(crate) mod clock;
pub(crate) mod fork;
pub(crate) mod found;
pub(crate) mod frozen;
pub(crate) mod futex;
pub(crate) mod memory;
pub(crate) mod pages;
pub(crate) mod place;
pub(crate) mod poller;
pub(crate) mod process;
pub(crate) mod signals;
pub(crate) mod socket;
