//! The shared memory as the tracer sees it: whether a step has changed any of it.
#![expect(unsafe_code, reason = "maps the region, and reads what others write")]

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use sharehold::ObjectId;

use crate::shared::{Shared, is_region};

const PAGE: usize = 4096;
/// How much of the heap is looked at, from its start, where small objects lie, and from its end, where large ones do: all that these tests put there.
const SMALL: usize = 2 * PAGE;
const LARGE: usize = 3 * PAGE;

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
    base: *const u8,
    len: usize,
    ranges: Vec<Range<usize>>,
    sessions: Range<usize>,
    slots: Range<usize>,
    file: File,
    seen: Vec<u8>,
    shared: Shared,
}

impl View {
    /// Of the region of a broker to which this process is attached.
    pub(crate) fn of(name: &str) -> Self {
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
        let path = descriptors
            .map(|entry| entry.path())
            .find(|path| std::fs::read_link(path).is_ok_and(|to| is_region(&to.to_string_lossy(), name)));
        let file =
            OpenOptions::new().read(true).write(true).open(path.expect("the region is open")).expect("opened again");
        let ranges = ranges(&file);
        let len = ranges.last().expect("the heap").end;
        // SAFETY: a new mapping, of a file that is never cut off: memfds are sealed, and nobody here cuts a segment.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(base, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        let mut view = Self {
            name: name.to_owned(),
            base: base.cast(),
            len,
            sessions: ranges[2].clone(),
            slots: ranges[5].clone(),
            ranges,
            file,
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
        let table = self.sessions.clone();
        // The low half of the first word is zero in a row that is free.
        table.step_by(256).filter(|at| self.seen[*at..at + 4] != [0; 4]).count()
    }

    /// Adds a pin to an object that nothing stands for, as one leaves it that dies while it moves a reference.
    pub(crate) fn add_pin(&self, id: ObjectId) {
        let at = self.slots.start as u64 + (id.to_bits() & 0xffff_ffff) * 64;
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, at).expect("a slot");
        // See `src/table/refs.rs`.
        self.file.write_all_at(&(u64::from_le_bytes(word) + 4).to_le_bytes(), at).expect("written");
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

/// The bytes that mean anything, table by table: see "The byte map" in `docs/design.md`. Pages that are not reserved yet are in them only where a test has few of them.
fn ranges(file: &File) -> Vec<Range<usize>> {
    let number = |at: u64| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, at).expect("a header");
        u32::from_le_bytes(bytes) as usize
    };
    let heap = number(96);
    let (sessions, objects, tickets, names, types) = (number(76), number(80), number(84), number(88), number(92));
    let header = 0..512;
    let mut ranges = Vec::from([header]);
    let mut at = PAGE;
    for (count, size) in [(types, 128), (sessions, 256), (names, 256), (tickets, 64), (objects, 64)] {
        ranges.push(at..at + count * size);
        at += (count * size).next_multiple_of(PAGE);
    }
    // A row: the page map, then the cells. All cells are on one page here.
    assert!(objects * 8 <= PAGE);
    for _ in 0..sessions {
        ranges.extend([at..at + 8, at + PAGE..at + PAGE + objects * 8]);
        at += 2 * PAGE;
    }
    ranges.extend([at..at + SMALL, at + heap - LARGE..at + heap]);
    ranges
}
