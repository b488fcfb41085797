//! The types of objects: a name and a fingerprint, so that two processes that mean different things find out.

use std::collections::HashMap;

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

    fn write(&self, entry: &TypeEntry) {
        write_text(&entry.name, &self.name);
        entry.name_len.store(self.name.len() as u32, Ordering::Relaxed);
        entry.size.store(self.size, Ordering::Relaxed);
        entry.align.store(self.align, Ordering::Relaxed);
        entry.fingerprint.store(self.fingerprint, Ordering::Relaxed);
    }
}

/// The types of a region, as its broker privately knows them. A type stays until its place is needed and no object has it.
pub(crate) struct Types {
    records: Vec<TypeRecord>,
    by_fingerprint: HashMap<u64, u32>,
    /// Objects of each.
    uses: Vec<u32>,
}

impl Types {
    /// The types that a region has already. Whether objects have them is said with [`Types::begin_use`].
    pub(crate) fn of(region: &Region) -> Self {
        let records: Vec<TypeRecord> = (0..).map_while(|index| TypeRecord::read(region, index)).collect();
        let by_fingerprint = (0..).zip(&records).map(|(index, record)| (record.fingerprint, index)).collect();
        Self { uses: vec![0; records.len()], records, by_fingerprint }
    }

    /// The number of a type, which is entered if it is new.
    pub(crate) fn intern(&mut self, region: &Region, mut record: TypeRecord) -> Result<u32> {
        if let Some(index) = self.by_fingerprint.get(&record.fingerprint) {
            return Ok(*index);
        }
        // As it can be read again, whoever has sent it.
        let end = record.name.find('\0').unwrap_or(record.name.len()).min(TYPE_NAME_BYTES);
        record.name.truncate(record.name.floor_char_boundary(end));
        let count = self.records.len() as u32;
        let index = if count < region.capacities().types {
            count
        } else {
            self.uses.iter().position(|uses| *uses == 0).map(|index| index as u32).ok_or_else(|| {
                Error::new(ErrorKind::TableFull, format!("all {count} types are in use"))
                    .help("free all objects of a type, or start the broker with more types")
            })?
        };
        let entry = region
            .type_entry(index)
            .ok_or_else(|| Error::new(ErrorKind::Damaged, format!("there is no type {index}")))?;
        record.write(entry);
        self.by_fingerprint.insert(record.fingerprint, index);
        if index == count {
            self.records.push(record);
            self.uses.push(0);
            region.header().types_used.store(count + 1, Ordering::Release);
        } else {
            let before = std::mem::replace(&mut self.records[index as usize], record);
            self.by_fingerprint.remove(&before.fingerprint);
        }
        Ok(index)
    }

    pub(crate) fn begin_use(&mut self, index: u32) {
        if let Some(uses) = self.uses.get_mut(index as usize) {
            *uses += 1;
        }
    }

    pub(crate) fn end_use(&mut self, index: u32) {
        if let Some(uses) = self.uses.get_mut(index as usize) {
            *uses = uses.saturating_sub(1);
        }
    }

    /// Writes what is known again where the region says something else. Returns how many types that were.
    pub(crate) fn mend(&self, region: &Region) -> u32 {
        region.header().types_used.store(self.records.len() as u32, Ordering::Release);
        let mut mended = 0;
        for (index, record) in (0..).zip(&self.records) {
            if TypeRecord::read(region, index).as_ref() != Some(record)
                && let Some(entry) = region.type_entry(index)
            {
                record.write(entry);
                mended += 1;
            }
        }
        mended
    }
}
