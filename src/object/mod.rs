//! What users hold: proxies of values, arrays, archives, frozen and hosted objects, tickets to send them, and channels to hand them over.
//!
//! [`schema`] says which types may lie in the region, [`payload`] is the only file that turns bytes of it into references, [`transit`] sends
//! references through calls.

pub(crate) mod archive;
pub(crate) mod array;
pub(crate) mod channel;
pub(crate) mod datum;
pub(crate) mod frozen;
pub(crate) mod guard;
pub(crate) mod payload;
pub(crate) mod proxy;
pub(crate) mod queue;
pub(crate) mod raw_value;
pub(crate) mod schema;
pub(crate) mod scope;
pub(crate) mod ticket;
pub(crate) mod transit;
pub(crate) mod value;

pub use archive::{Archivable, Archive};
pub use array::Array;
pub use channel::{Channel, Receiver, SendError, Sender};
pub use datum::Datum;
pub use frozen::Frozen;
pub use guard::{ReadGuard, WriteGuard};
pub use proxy::{Kind, Object, Proxy, Weak};
pub use raw_value::RawValue;
pub use schema::{Schema, Shareable};
pub use scope::{CallScope, Canceller};
pub use ticket::{Ticket, TicketOptions};
pub use value::Value;
