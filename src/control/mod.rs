//! The control channel: what is said over the socket, and how.
//!
//! [`message`] has the numbers and layouts, [`connection`] the client's blocking end. The broker's end is its event loop.

pub(crate) mod connection;
pub(crate) mod message;

pub(crate) use connection::Connection;
