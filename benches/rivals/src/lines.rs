//! A few words of memory that two processes share, each on a cache line of its own: what floors are made of.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

/// Two lines of 64 bytes: processors fetch them in pairs.
#[repr(C, align(128))]
pub struct Line {
    pub word: AtomicU64,
    pub futex: AtomicU32,
}

const LINES: usize = 8;

pub struct Lines {
    map: MmapRaw,
    file: File,
}

impl Lines {
    pub fn new() -> Self {
        let file = memfd_create("rivals", MemfdFlags::CLOEXEC).expect("a memfd");
        ftruncate(&file, (LINES * size_of::<Line>()) as u64).expect("so long");
        Self::map(file.into())
    }

    /// As another process names it: [`Lines::place`].
    pub fn open(place: &str) -> Self {
        Self::map(File::options().read(true).write(true).open(place).expect("it lives as long as this process"))
    }

    fn map(file: File) -> Self {
        let map = MmapOptions::new().len(LINES * size_of::<Line>()).map_raw(&file).expect("mapped");
        Self { map, file }
    }

    /// What another process opens while this one lives.
    pub fn place(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    pub fn line(&self, n: usize) -> &Line {
        assert!(n < LINES);
        // SAFETY: inside of the mapping, which is aligned to pages and lives as long as `self`; any bytes are atomics, and all processes treat them so.
        unsafe { &*self.map.as_mut_ptr().cast::<Line>().add(n) }
    }

    pub fn start(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }
}
