//! The types of objects: a name and a fingerprint, so that two processes that mean different things find out.

use crate::error::{Error, ErrorKind, Result};
use crate::region::Region;
use crate::region::layout::{TYPE_NAME_BYTES, TypeEntry};
use crate::region::region::{read_text, write_text};
use crate::sync::atomic::Ordering;

/// A type, as one process knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeRecord {
    pub(crate) name: String,
    pub(crate) fingerprint: u64,
    /// Bytes of one element.
    pub(crate) size: u64,
    pub(crate) align: u32,
}

impl TypeRecord {
    /// Reads a type of the region.
    pub(crate) fn read(region: &Region, index: u32) -> Option<Self> {
        // Acquire: pairs with the release in `intern`.
        if index >= region.header().types_used.load(Ordering::Acquire) {
            return None;
        }
        let entry = region.type_entry(index)?;
        Some(Self {
            name: read_text(&entry.name, entry.name_len.load(Ordering::Relaxed) as usize),
            fingerprint: entry.fingerprint.load(Ordering::Relaxed),
            size: entry.size.load(Ordering::Relaxed),
            align: entry.align.load(Ordering::Relaxed),
        })
    }

    /// The number of this type, entering it if it is new. Broker only.
    pub(crate) fn intern(&self, region: &Region) -> Result<u32> {
        let used = &region.header().types_used;
        let count = used.load(Ordering::Relaxed).min(region.capacities().types);
        if let Some(known) = (0..count).find(|index| {
            region.type_entry(*index).is_some_and(|entry| entry.fingerprint.load(Ordering::Relaxed) == self.fingerprint)
        }) {
            return Ok(known);
        }
        let Some(entry) = region.type_entry(count) else {
            return Err(Error::new(ErrorKind::TableFull, format!("all {count} types are in use"))
                .help("start the broker with more types"));
        };
        self.write(entry);
        used.store(count + 1, Ordering::Release);
        Ok(count)
    }

    fn write(&self, entry: &TypeEntry) {
        let end = self.name.floor_char_boundary(TYPE_NAME_BYTES);
        write_text(&entry.name, &self.name[..end]);
        entry.name_len.store(end as u32, Ordering::Relaxed);
        entry.size.store(self.size, Ordering::Relaxed);
        entry.align.store(self.align, Ordering::Relaxed);
        entry.fingerprint.store(self.fingerprint, Ordering::Relaxed);
    }
}
