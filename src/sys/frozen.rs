//! Bytes that nobody can change any more: a memfd that the kernel has sealed against writing, whoever has it.
#![expect(unsafe_code, reason = "a mapping of what can't be written is a slice")]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{Mmap, MmapOptions};
use rustix::fs::{MemfdFlags, Mode, SealFlags};

use crate::error::{Error, ErrorKind, Result};

/// Every seal that keeps the bytes as they are.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// Frozen bytes, mapped for reading, and the file that they are in.
pub(crate) struct Frozen {
    /// Nothing can't be mapped.
    mapped: Option<Mmap>,
    file: File,
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Frozen {
    /// Makes a memfd with these bytes, and seals it.
    pub(crate) fn write(name: &str, bytes: &[u8]) -> Result<OwnedFd> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|error| Error::os("create a memfd", error))?;
        rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)
            .map_err(|error| Error::os("set the mode of a memfd", error))?;
        let mut file = File::from(fd);
        // By a system call, which tells when there is no memory.
        file.write_all(bytes).map_err(|error| {
            Error::new(
                ErrorKind::RegionFull,
                format!("the system has no memory for {} frozen bytes: {error}", bytes.len()),
            )
            .caused_by(error)
        })?;
        rustix::fs::fcntl_add_seals(&file, SEALS).map_err(|error| Error::os("seal a memfd", error))?;
        Ok(file.into())
    }

    /// Whether a descriptor is of so many bytes that nobody can change. Returns the number of the file, cut: it tells it from others, as far as it goes.
    ///
    /// # Errors
    /// `Refused` if it is not.
    pub(crate) fn check(fd: impl AsFd, len: u64) -> Result<u32> {
        let seals = rustix::fs::fcntl_get_seals(&fd).unwrap_or(SealFlags::empty());
        let file = rustix::fs::fstat(&fd).map_err(|error| Error::os("look at frozen bytes", error))?;
        let found = file.st_size;
        if seals.contains(SEALS) && u64::try_from(found) == Ok(len) {
            return Ok(file.st_ino as u32);
        }
        Err(Error::new(
            ErrorKind::Refused,
            format!("what was sent is not {len} frozen bytes: it has {found} and the seals {seals:?}"),
        ))
    }

    /// Maps what another process has sent.
    ///
    /// # Errors
    /// `Refused` if somebody could change it.
    pub(crate) fn map(fd: OwnedFd, len: u64) -> Result<Self> {
        Self::check(&fd, len)?;
        let file = File::from(fd);
        if len == 0 {
            return Ok(Self { mapped: None, file });
        }
        // SAFETY: sealed, as checked: the bytes neither change nor go away as long as they are mapped.
        let mapped = unsafe { MmapOptions::new().map(&file) };
        let mapped = mapped.map_err(|error| Error::os(format!("map {len} frozen bytes"), error))?;
        Ok(Self { mapped: Some(mapped), file })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.mapped.as_deref().unwrap_or_default()
    }

    /// For a broker that has lost it.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frozen_can_not_be_written_and_what_can_is_not_taken_for_frozen() {
        let fd = Frozen::write("test", b"frozen").expect("frozen");
        let mut file = File::from(fd.try_clone().expect("a copy"));
        assert!(file.write_all(b"x").is_err() && file.set_len(3).is_err() && file.set_len(30).is_err());
        // SAFETY: it is refused.
        assert!(unsafe { MmapOptions::new().map_mut(&file) }.is_err());
        assert_eq!(Frozen::map(fd.try_clone().expect("a copy"), 6).expect("mapped").bytes(), b"frozen");
        assert!(Frozen::map(fd, 7).is_err());
        for seals in [SealFlags::empty(), SEALS - SealFlags::WRITE, SEALS - SealFlags::SHRINK] {
            let fd = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).expect("a memfd");
            rustix::fs::ftruncate(&fd, 6).expect("sized");
            rustix::fs::fcntl_add_seals(&fd, seals).expect("sealed");
            assert_eq!(Frozen::map(fd, 6).map(drop).expect_err("not frozen").kind(), ErrorKind::Refused);
        }
    }
}
