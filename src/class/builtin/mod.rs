//! The classes that every broker has: containers of [`Datum`](crate::Datum)s.

#![expect(unsafe_code, reason = "the attribute puts classes into a list that the linker makes")]

mod dict;
mod list;
mod namespace;

pub use dict::{Dict, Key};
pub use list::List;
pub use namespace::Namespace;

use super::table::{Class, ClassTable};

/// Their tables.
pub(crate) fn tables() -> [ClassTable; 3] {
    [list::Elements::table(), dict::Entries::table(), namespace::Attributes::table()]
}
