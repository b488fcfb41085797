//! The broker's allocator. Its books are in private memory, where no client can damage them.

pub(crate) mod extents;

pub(crate) use extents::{Extent, Extents, GRAIN};
