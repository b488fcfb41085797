//! The words of the header that nobody changes while a broker serves.

use super::Region;
use super::layout::Header;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The constant words, as the broker has written them.
pub(crate) struct Constants {
    long: Vec<u64>,
    short: Vec<u32>,
}

fn long(header: &Header) -> impl Iterator<Item = &AtomicU64> {
    [&header.magic, &header.fingerprint, &header.region_id, &header.broker_start, &header.created_at, &header.heap]
        .into_iter()
        .chain(&header.ticket_key)
        .chain(&header.name)
}

fn short(header: &Header) -> [&AtomicU32; 10] {
    [
        &header.version,
        &header.epoch,
        &header.broker_pid,
        &header.broker_state,
        &header.sessions,
        &header.objects,
        &header.tickets,
        &header.names,
        &header.types,
        &header.huge_pages,
    ]
}

impl Constants {
    /// Notes the words of a region that is ready to serve.
    pub(crate) fn of(region: &Region) -> Self {
        let header = region.header();
        // Relaxed, here and below: only this broker writes them.
        Self {
            long: long(header).map(|word| word.load(Ordering::Relaxed)).collect(),
            short: short(header).iter().map(|word| word.load(Ordering::Relaxed)).collect(),
        }
    }

    /// Writes them again. Returns how many were other than they were noted.
    pub(crate) fn mend(&self, region: &Region) -> usize {
        let header = region.header();
        let long =
            long(header).zip(&self.long).filter(|(word, noted)| word.swap(**noted, Ordering::Relaxed) != **noted);
        let short = short(header).into_iter().zip(&self.short);
        long.count() + short.filter(|(word, noted)| word.swap(**noted, Ordering::Relaxed) != **noted).count()
    }
}
