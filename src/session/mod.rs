//! This process's place in a region: its row of the ledger, its lanes, and the counted references it holds.

mod files;
pub(crate) mod fork;
pub(crate) mod hold;
pub(crate) mod reads;
mod row;
#[expect(clippy::module_inception, reason = "the file is named after its noun")]
pub(crate) mod session;
pub(crate) mod slabs;
mod takings;
mod tokens;

pub(crate) use files::Files;
pub(crate) use hold::Hold;
pub(crate) use session::{Ask, KeptLane, Link, Session};
