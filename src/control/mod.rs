//! The control channel: what is said over the socket, and how.
//!
//! [`authkey`] is what lets a client in, [`message`] has the numbers and layouts, [`connection`] the client's blocking end, [`create`] what both ends do to make an object, [`call`] the bodies of
//! calls, [`ring`] the shorter way that they take. The broker's end is its event loop.

pub(crate) mod authkey;
pub(crate) mod call;
pub(crate) mod connection;
pub(crate) mod create;
pub(crate) mod message;
pub(crate) mod ring;
mod slab;

pub(crate) use connection::Connection;
pub(crate) use create::{ControlChannel, PATIENCE};
