//! Slabs that were asked for before they are needed: the answer waits in the socket until somebody reads it.

use std::collections::HashMap;

use super::attach::Connections;
use crate::control::message::Request;
use crate::control::{Connection, PATIENCE};
use crate::object::scope;

/// For each shelf the connection over which was asked, and the number of the request.
pub(super) type Orders = HashMap<(u64, u16), (Box<Connection>, u64)>;

impl Connections {
    /// See [`ControlChannel::order`](crate::control::ControlChannel::order). A connection is not opened for it: that would be waiting.
    pub(super) fn order_slab(&self, shelf: (u64, u16), body: &[u8]) -> bool {
        let Some(mut connection) = self.state().idle.lock().pop() else { return false };
        match connection.send(Request::Slab, &[body]) {
            Ok(request) => {
                self.state().orders.lock().insert(shelf, (connection, request));
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a slab could not be asked for");
                false
            }
        }
    }

    /// See [`ControlChannel::delivered`](crate::control::ControlChannel::delivered).
    pub(super) fn delivered_slab(&self, shelf: (u64, u16)) -> Option<Vec<u8>> {
        let (mut connection, request) = self.state().orders.lock().remove(&shelf)?;
        let patience = scope::current().left().into_iter().chain([PATIENCE]).min();
        // After an error nobody knows what comes next: the broker takes back what it has granted when the connection closes.
        let answer = connection.reply(Request::Slab, request, patience);
        let answer = answer.inspect_err(|error| tracing::debug!(%error, "no slab came")).ok()?.to_vec();
        self.state().idle.lock().push(connection);
        Some(answer)
    }
}
