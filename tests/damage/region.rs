//! The words of a region, as somebody sees them who may write all of it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

pub(crate) const PAGE: u64 = 4096;

/// The file of a region, by which its words can be changed from outside, and where its tables lie.
pub(crate) struct Region {
    pub(crate) file: File,
    pub(crate) types: u64,
    pub(crate) sessions: u64,
    pub(crate) names: u64,
    pub(crate) tickets: u64,
    pub(crate) slots: u64,
    pub(crate) ledger: u64,
    pub(crate) row: u64,
    pub(crate) row_map: u64,
    pub(crate) heap: u64,
}

impl Region {
    /// The region of a broker to which this process is attached.
    pub(crate) fn of(name: &str) -> Self {
        let path = std::fs::read_dir("/proc/self/fd")
            .expect("descriptors")
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                std::fs::read_link(path).is_ok_and(|to| {
                    let to = to.to_string_lossy().into_owned();
                    to.contains(&format!("sharehold:{name}")) || to.ends_with(&format!("-{name}"))
                })
            })
            .expect("the region is open");
        let file = OpenOptions::new().read(true).write(true).open(path).expect("opened again");
        let number = |at: u64| u64::from(read_u32(&file, at));
        let pages = |bytes: u64| bytes.next_multiple_of(PAGE);
        let (objects, count) = (number(80), number(76));
        let types = PAGE;
        let sessions = types + pages(number(92) * 128);
        let names = sessions + pages(count * 256);
        let endings = names + pages(number(88) * 64);
        let tickets = endings + pages(number(88) * 152);
        let slots = tickets + pages(number(84) * 64);
        let ledger = slots + pages(objects * 64);
        let row_map = pages((pages(objects * 8) / PAGE).div_ceil(8));
        let row = row_map + pages(objects * 8);
        Self { types, sessions, names, tickets, slots, ledger, row, row_map, heap: ledger + row * count, file }
    }

    pub(crate) fn flip(&self, at: u64, bit: u32) {
        let word = read_u32(&self.file, at / 4 * 4) ^ 1 << bit;
        self.write(at / 4 * 4, word);
    }

    pub(crate) fn write(&self, at: u64, word: u32) {
        self.file.write_all_at(&word.to_le_bytes(), at).expect("written");
    }

    pub(crate) fn read(&self, at: u64) -> u32 {
        read_u32(&self.file, at)
    }

    pub(crate) fn slot(&self, id: sharehold::ObjectId) -> u64 {
        self.slots + (id.to_bits() & 0xffff_ffff) * 64
    }
}

fn read_u32(file: &File, at: u64) -> u32 {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at).expect("read");
    u32::from_le_bytes(bytes)
}

/// xorshift64*: a run can be repeated by its seed.
#[derive(Default)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % limit
    }
}
