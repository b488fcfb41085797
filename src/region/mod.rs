//! The mapped memory: what lies where, and the one checked way to look at it.
//!
//! [`layout`] gives the byte map, [`address`] the numbers that point into it, [`Region`] the mapping itself, [`presence`] which of its pages may be touched,
//! [`constants`] what the header says for ever.

pub(crate) mod address;
pub(crate) mod constants;
pub(crate) mod layout;
mod presence;
#[expect(clippy::module_inception, reason = "the file is named after its noun")]
pub(crate) mod region;

pub use address::ObjectId;
pub(crate) use address::{Generation, Offset, SessionIndex, SlotIndex};
pub(crate) use presence::Presence;
pub use region::Backing;
pub(crate) use region::{Region, Rights};
