//! The words of a region, as somebody sees them who may write all of it. Where they lie is said here once more, by hand: see "The byte map" in `docs/design.md`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

pub const PAGE: u64 = 4096;

/// The file of a region, by which its words can be changed from outside, and where its tables lie.
pub struct Region {
    pub file: File,
    pub types: u64,
    pub sessions: u64,
    pub names: u64,
    pub endings: u64,
    pub tickets: u64,
    pub slots: u64,
    pub ledger: u64,
    pub row: u64,
    pub row_map: u64,
    pub heap: u64,
    /// How many rows there are, how many slots, and how large the heap is.
    pub rows: u64,
    pub objects: u64,
    pub heap_len: u64,
}

impl Region {
    /// The region of a broker to which this process is attached.
    pub fn of(name: &str) -> Self {
        let path = std::fs::read_dir("/proc/self/fd")
            .expect("descriptors")
            .flatten()
            .map(|entry| entry.path())
            .find(|path| std::fs::read_link(path).is_ok_and(|to| is_region(&to.to_string_lossy(), name)))
            .expect("the region is open");
        let file = OpenOptions::new().read(true).write(true).open(path).expect("opened again");
        let number = |at: u64| u64::from(read_u32(&file, at));
        let pages = |bytes: u64| bytes.next_multiple_of(PAGE);
        let (objects, rows) = (number(80), number(76));
        let types = PAGE;
        let sessions = types + pages(number(92) * 128);
        let names = sessions + pages(rows * 256);
        let endings = names + pages(number(88) * 64);
        let tickets = endings + pages(number(88) * 152);
        let slots = tickets + pages(number(84) * 64);
        let ledger = slots + pages(objects * 64);
        let row_map = pages((pages(objects * 8) / PAGE).div_ceil(8));
        let row = row_map + pages(objects * 8);
        let (heap, heap_len) = (ledger + row * rows, number(96) | number(100) << 32);
        Self {
            file,
            types,
            sessions,
            names,
            endings,
            tickets,
            slots,
            ledger,
            row,
            row_map,
            heap,
            rows,
            objects,
            heap_len,
        }
    }

    pub fn flip(&self, at: u64, bit: u32) {
        let word = read_u32(&self.file, at / 4 * 4) ^ 1 << bit;
        self.write(at / 4 * 4, word);
    }

    pub fn write(&self, at: u64, word: u32) {
        self.file.write_all_at(&word.to_le_bytes(), at).expect("written");
    }

    pub fn read(&self, at: u64) -> u32 {
        read_u32(&self.file, at)
    }

    /// Where the slot of an object is.
    pub fn slot(&self, id: sharehold::ObjectId) -> u64 {
        self.slots + (id.to_bits() & 0xffff_ffff) * 64
    }
}

fn read_u32(file: &File, at: u64) -> u32 {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at).expect("read");
    u32::from_le_bytes(bytes)
}

/// Whether a file is the region of a broker.
pub fn is_region(path: &str, broker: &str) -> bool {
    path.contains(&format!("sharehold:{broker} ")) || path.ends_with(&format!("-{broker}"))
}
