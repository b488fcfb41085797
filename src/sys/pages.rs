//! A few pages that two processes share and no third one can reach: a sealed memfd, whose descriptor goes once over a socket and is then closed at both ends.
#![expect(unsafe_code, reason = "a mapping is looked at as words")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU32;

use memmap2::{MmapOptions, MmapRaw};

use super::memory::{PAGE, is_sealed, sealed_memfd};
use crate::error::{Error, ErrorKind, Result};

/// Mapped pages, of which the peer may change every byte at any time.
pub(crate) struct Pages(MmapRaw);

impl Pages {
    /// New pages, all zero, and the descriptor for the peer. There is memory for all of them.
    pub(crate) fn create(name: &str, len: u64) -> Result<(Self, OwnedFd)> {
        let len = len.next_multiple_of(PAGE);
        let fd = sealed_memfd(name, len)?;
        // Here, where it is an error: later it would be a SIGBUS.
        rustix::fs::fallocate(&fd, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len)
            .map_err(|error| Error::os(format!("reserve {len} bytes"), error))?;
        let file = File::from(fd);
        Ok((Self::map(&file, len)?, file.into()))
    }

    /// The pages that the peer has made.
    ///
    /// # Errors
    /// `Refused` if they are of another length, or could be cut off.
    pub(crate) fn received(fd: OwnedFd, len: u64) -> Result<Self> {
        let len = len.next_multiple_of(PAGE);
        let file = File::from(fd);
        let found = file.metadata().map_err(|error| Error::os("look at what was sent", error))?.len();
        if found != len || !is_sealed(&file) {
            return Err(Error::new(ErrorKind::Refused, format!("what was sent is not {len} sealed bytes")));
        }
        Self::map(&file, len)
    }

    fn map(file: &File, len: u64) -> Result<Self> {
        let mapped = MmapOptions::new().len(len as usize).map_raw(file);
        mapped.map(Self).map_err(|error| Error::os(format!("map {len} bytes"), error))
    }

    /// All of it.
    pub(crate) fn words(&self) -> &[AtomicU32] {
        // SAFETY: mapped for reading and writing as long as `self` lives, on a page's boundary, of this length, which can't change; nobody looks at it but by atomics.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() / size_of::<AtomicU32>()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn both_see_the_same_words_and_what_could_be_cut_off_is_refused() {
        let (mine, fd) = Pages::create("test", 5000).expect("pages");
        let copy = fd.try_clone().expect("a copy");
        let theirs = Pages::received(fd, 5000).expect("the same pages");
        assert_eq!(theirs.words().len(), 2048);
        mine.words()[2047].store(7, Ordering::Relaxed);
        assert_eq!(theirs.words()[2047].load(Ordering::Relaxed), 7);
        assert_eq!(Pages::received(copy, 9000).map(drop).expect_err("another length").kind(), ErrorKind::Refused);
        let open = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::ALLOW_SEALING).expect("a memfd");
        rustix::fs::ftruncate(&open, 8192).expect("sized");
        assert_eq!(Pages::received(open, 5000).map(drop).expect_err("not sealed").kind(), ErrorKind::Refused);
    }
}
