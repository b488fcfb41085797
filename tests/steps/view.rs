//! The shared memory as the tracer sees it: whether a step has changed any of it.
#![expect(unsafe_code, reason = "maps the region, and reads what others write")]

use std::ops::Range;
use std::os::fd::AsRawFd;

use sharehold::ObjectId;

use crate::common::region::{PAGE, Region};
use crate::shared::Shared;

/// How much of the heap is looked at, from its start, where small objects lie, and from its end, where large ones do: all that these tests put there.
const SMALL: u64 = 2 * PAGE;
const LARGE: u64 = 3 * PAGE;

/// What has changed since it was last looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changed {
    pub(crate) region: bool,
    /// What the process that is looked at shares with others besides.
    pub(crate) elsewhere: bool,
}

impl Changed {
    pub(crate) fn is_any(self) -> bool {
        self.region || self.elsewhere
    }
}

/// A mapping of a region, and what stood in it when it was last looked at.
pub(crate) struct View {
    name: String,
    region: Region,
    base: *const u8,
    len: usize,
    ranges: Vec<Range<usize>>,
    seen: Vec<u8>,
    shared: Shared,
}

impl View {
    /// Of the region of a broker to which this process is attached.
    pub(crate) fn of(name: &str) -> Self {
        let region = Region::of(name);
        let ranges = ranges(&region);
        let len = ranges.last().expect("the heap").end;
        // SAFETY: a new mapping, of a file that is never cut off: memfds are sealed, and nobody here cuts a segment.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, region.file.as_raw_fd(), 0)
        };
        assert_ne!(base, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        let mut view = Self {
            name: name.to_owned(),
            base: base.cast(),
            len,
            region,
            ranges,
            seen: vec![0; len],
            shared: Shared::default(),
        };
        view.changed();
        view
    }

    /// Looks from now on at what this process shares, too: of what it has mapped by now.
    pub(crate) fn follow(&mut self, pid: u32) {
        self.shared = Shared::of(pid, &self.name);
    }

    /// What has changed since this was last asked.
    pub(crate) fn changed(&mut self) -> Changed {
        let mut changed = Changed { region: false, elsewhere: self.shared.has_changed() };
        for range in self.ranges.clone() {
            let seen = &mut self.seen[range.clone()];
            // SAFETY: inside the mapping.
            let now = unsafe { self.base.add(range.start) };
            // SAFETY: both are as long as the range. Others may write meanwhile: the C library compares and copies bytes, whatever they are.
            if unsafe { libc::memcmp(now.cast(), seen.as_ptr().cast(), seen.len()) } != 0 {
                // SAFETY: as above; the two do not overlap.
                unsafe { libc::memcpy(seen.as_mut_ptr().cast(), now.cast(), seen.len()) };
                changed.region = true;
            }
        }
        changed
    }

    /// How many sessions there are, as [`View::header`].
    pub(crate) fn sessions(&self) -> usize {
        let table = self.region.sessions as usize..self.region.names as usize;
        // The low half of the first word is zero in a row that is free.
        table.step_by(256).filter(|at| self.seen[*at..at + 4] != [0; 4]).count()
    }

    /// Adds a pin to an object that nothing stands for, as one leaves it that dies while it moves a reference.
    pub(crate) fn add_pin(&self, id: ObjectId) {
        let at = self.region.slot(id);
        // See `src/table/refs.rs`; the pins of such an object do not carry.
        self.region.write(at, self.region.read(at) + 4);
    }

    /// A word of the header, as it was when this was last asked for changes.
    pub(crate) fn header(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.seen[at..at + 4].try_into().expect("four bytes"))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the mapping is this view's own.
        unsafe { libc::munmap(self.base.cast_mut().cast(), self.len) };
    }
}

/// The bytes that mean anything, table by table. Pages that are not reserved yet are in them only where a test has few of them.
fn ranges(region: &Region) -> Vec<Range<usize>> {
    let tables =
        [region.types, region.sessions, region.names, region.endings, region.tickets, region.slots, region.ledger];
    let header = 0..512;
    let mut ranges = Vec::from([header]);
    ranges.extend(tables.windows(2).map(|table| table[0]..table[1]));
    // A row: the page map, then the cells. All cells are on one page here.
    let cells = region.objects * 8;
    assert!(cells <= PAGE);
    for row in (0..region.rows).map(|row| region.ledger + row * region.row) {
        ranges.extend([row..row + 8, row + region.row_map..row + region.row_map + cells]);
    }
    let end = region.heap + region.heap_len;
    ranges.extend([region.heap..region.heap + SMALL, end - LARGE..end]);
    ranges.into_iter().map(|range| range.start as usize..range.end as usize).collect()
}
