//! Shared memory: a sealed memfd or a named segment, mapped whole.
#![expect(unsafe_code, reason = "mapping, reserving and giving back memory")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, SeekFrom};
use rustix::mm::Advice;
use shared_memory::{Shmem, ShmemConf, ShmemError};

use super::place;
use crate::error::{Error, ErrorKind, Result};

/// The unit in which memory is reserved and given back.
pub(crate) const PAGE: u64 = 4096;

/// A mapping of the whole of a shared file.
pub(crate) struct Memory {
    mapping: Mapping,
    file: File,
    len: u64,
    /// Whether it is mapped for writing too. Where it is not, every attempt to write ends the process.
    is_writable: bool,
}

enum Mapping {
    /// Mapped by its descriptor: a memfd, or any region that came over a socket.
    Descriptor(MmapRaw),
    /// A POSIX segment that this process made or opened by name, and removes if it made it.
    Segment(Shmem),
}

// SAFETY: the mapping stays where it is until the value is dropped; nothing in it is tied to a thread.
unsafe impl Send for Memory {}
// SAFETY: shared access hands out a pointer only; what is done through it is the business of `region`.
unsafe impl Sync for Memory {}

impl Memory {
    /// A new anonymous memfd: nothing is left of it when the last process that has it is gone.
    /// Mode 0600, sealed against shrinking, growing and further seals before anybody else gets it.
    pub(crate) fn memfd(name: &str, len: u64) -> Result<Self> {
        Self::of_descriptor(sealed_memfd(name, len)?, true)
    }

    /// Maps what another process sent: a sealed memfd, or a file that has a name, as a segment does. Any other could be cut off under the hands of whoever maps it.
    pub(crate) fn received(fd: OwnedFd, is_writable: bool) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let file = File::from(fd);
        let metadata = file.metadata().map_err(|error| Error::os("look at the region's file", error))?;
        if !is_sealed(&file) && (metadata.nlink() == 0 || !metadata.is_file()) {
            return Err(Error::new(ErrorKind::Refused, "the region's file is neither a sealed memfd nor a segment"));
        }
        Self::of_descriptor(file.into(), is_writable)
    }

    /// As [`Memory::received`], but nothing else than a memfd that can neither shrink nor grow, so that no touch of it can fail for the file's end.
    pub(crate) fn received_sealed(fd: OwnedFd) -> Result<Self> {
        if !is_sealed(&fd) {
            return Err(Error::new(ErrorKind::Refused, "what was handed back is not a sealed memfd"));
        }
        Self::of_descriptor(fd, true)
    }

    fn of_descriptor(fd: OwnedFd, is_writable: bool) -> Result<Self> {
        let file = File::from(fd);
        let len = file.metadata().map_err(|error| Error::os("look at the region's file", error))?.len();
        let size = usize::try_from(len)
            .ok()
            .filter(|size| *size > 0)
            .ok_or_else(|| Error::new(ErrorKind::Damaged, format!("the region's file has {len} bytes")))?;
        let mut options = MmapOptions::new();
        options.len(size).no_reserve_swap();
        let mapped = if is_writable { options.map_raw(&file) } else { options.map_raw_read_only(&file) };
        let mapping = mapped.map_err(|error| {
            Error::os(format!("map {len} bytes of shared memory"), error)
                .help("the address space may be limited: look at `ulimit -v`")
        })?;
        let memory = Self { mapping: Mapping::Descriptor(mapping), file, len, is_writable };
        memory.keep_out_of_core_dumps();
        Ok(memory)
    }

    /// A new named segment, which this process removes in the end. Fails with `AlreadyExists` in the source if the name is taken.
    pub(crate) fn create_segment(name: &str, len: u64) -> Result<Self> {
        let size = usize::try_from(len)
            .map_err(|_| Error::new(ErrorKind::InvalidArgument, format!("{len} bytes do not fit the address space")))?;
        let shmem = ShmemConf::new().os_id(name).size(size).create().map_err(|error| match error {
            ShmemError::MappingIdExists => {
                Error::os(format!("create segment {name}"), io::Error::from(io::ErrorKind::AlreadyExists))
            }
            other => Error::new(ErrorKind::Os, format!("cannot create segment {name}: {other}")).caused_by(other),
        })?;
        Self::of_segment(shmem, name)
    }

    /// Removes the segment when this mapping of it is dropped.
    pub(crate) fn own_segment(&mut self) {
        if let Mapping::Segment(shmem) = &mut self.mapping {
            shmem.set_owner(true);
        }
    }

    /// Gives the file its length again if somebody has cut it off: from there on it is zero. Returns where that was. A memfd is sealed against it.
    ///
    /// # Errors
    /// `Damaged` if the file stays cut off: what lies behind its end must not be touched any more.
    pub(crate) fn mend_length(&self) -> Result<Option<u64>> {
        let Mapping::Segment(_) = &self.mapping else { return Ok(None) };
        let lost = |error: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Damaged, format!("the segment was cut off and stays so: {error}"))
        };
        let len = self.file.metadata().map_err(|error| lost(&error))?.len();
        if len >= self.len {
            return Ok(None);
        }
        self.file.set_len(self.len).map_err(|error| lost(&error))?;
        Ok(Some(len))
    }

    /// Maps an existing segment of this user, without becoming its owner.
    pub(crate) fn open_segment(name: &str) -> Result<Self> {
        // First: what is not this user's is not mapped.
        if place::open_segment(name)?.is_none() {
            return Err(Error::new(ErrorKind::BrokerNotFound, format!("there is no segment {name}")));
        }
        // There, but nothing to map: it was cut off.
        let shmem = ShmemConf::new().os_id(name).open().map_err(|error| {
            Error::new(ErrorKind::Damaged, format!("cannot open segment {name}: {error}")).caused_by(error)
        })?;
        Self::of_segment(shmem, name)
    }

    fn of_segment(shmem: Shmem, name: &str) -> Result<Self> {
        let file = place::open_segment(name)?
            .ok_or_else(|| Error::new(ErrorKind::Damaged, format!("segment {name} was removed while it was opened")))?;
        let len = file.metadata().map_err(|error| Error::os(format!("look at segment {name}"), error))?.len();
        if len != shmem.len() as u64 {
            return Err(Error::new(ErrorKind::Damaged, format!("segment {name} changed its size while it was opened")));
        }
        let memory = Self { mapping: Mapping::Segment(shmem), file, len, is_writable: true };
        memory.keep_out_of_core_dumps();
        Ok(memory)
    }

    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        let pointer = match &self.mapping {
            Mapping::Descriptor(mapping) => mapping.as_mut_ptr(),
            Mapping::Segment(shmem) => shmem.as_ptr(),
        };
        NonNull::new(pointer).unwrap_or(NonNull::dangling())
    }

    /// The file behind the mapping, to be sent to others.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The same file, open for reading only: it can't be mapped for writing. Who may open the file itself, as its owner may through `/proc`, gets more.
    pub(crate) fn file_to_read(&self) -> Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file));
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::os("open the region for reading", error))
    }

    /// Makes sure that touching these bytes can't fail: a full file system or memory limit is an error here, never a SIGBUS later.
    /// The range is widened to whole pages and also mapped, so that the first touch is as fast as the second.
    pub(crate) fn reserve(&self, offset: u64, len: u64) -> Result<()> {
        let Some((start, size)) = self.pages(offset, len) else { return Ok(()) };
        let advice = if self.is_writable { Advice::LinuxPopulateWrite } else { Advice::LinuxPopulateRead };
        // SAFETY: the range lies inside the mapping; populating changes no byte.
        let populated = unsafe { rustix::mm::madvise(start, size, advice) };
        match populated {
            Ok(()) => Ok(()),
            // Linux before 5.14 lacks the advice.
            Err(rustix::io::Errno::INVAL) => {
                rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, offset, len)
                    .map_err(|error| no_memory(len, error))
            }
            Err(error) => Err(no_memory(len, error)),
        }
    }

    /// Gives the whole pages inside the range back to the system; they read as zero afterwards.
    pub(crate) fn give_back(&self, offset: u64, len: u64) {
        let start = offset.next_multiple_of(PAGE);
        let end = (offset + len) / PAGE * PAGE;
        if start < end && end <= self.len {
            let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            if let Err(error) = rustix::fs::fallocate(&self.file, flags, start, end - start) {
                tracing::warn!(%error, start, end, "memory could not be given back");
            }
        }
    }

    /// Bytes of memory that the region takes at this moment.
    pub(crate) fn resident(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        self.file.metadata().map_or(0, |metadata| metadata.blocks() * 512)
    }

    /// The parts of a range that have memory, in order; all of it where the file system can't tell.
    pub(crate) fn resident_in(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let seek = |from| rustix::fs::seek(&self.file, from);
        let mut found = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let start = match seek(SeekFrom::Data(at)) {
                Ok(start) => start,
                // No data behind this place.
                Err(rustix::io::Errno::NXIO) => break,
                Err(_) => at,
            };
            let end = seek(SeekFrom::Hole(start)).unwrap_or(range.end).min(range.end);
            if start >= end {
                break;
            }
            found.push(start..end);
            at = end;
        }
        found
    }

    /// Whether all pages of a range have memory, as the system says at this moment. Costs some 20 ns a page.
    pub(crate) fn is_backed(&self, offset: u64, len: u64) -> bool {
        let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(offset / PAGE * PAGE));
        hole.is_ok_and(|hole| offset.checked_add(len).is_some_and(|end| hole >= end))
    }

    fn pages(&self, offset: u64, len: u64) -> Option<(*mut std::ffi::c_void, usize)> {
        let start = offset / PAGE * PAGE;
        let end = offset.checked_add(len)?.checked_next_multiple_of(PAGE)?;
        if len == 0 || end > self.len.next_multiple_of(PAGE) {
            return None;
        }
        // SAFETY: `start` is inside the mapping, as `end` is.
        let pointer = unsafe { self.base().as_ptr().add(start as usize) };
        Some((pointer.cast(), (end - start) as usize))
    }

    /// Asks for huge pages from an offset on. Whether there are any is the system's business.
    pub(crate) fn ask_for_huge_pages(&self, from: u64) {
        let Some((start, size)) = self.pages(from, self.len.saturating_sub(from)) else { return };
        // SAFETY: the range lies inside the mapping; the advice changes no byte.
        let advised = unsafe { rustix::mm::madvise(start, size, Advice::LinuxHugepage) };
        if let Err(error) = advised {
            tracing::debug!(%error, "the region has no huge pages");
        }
    }

    fn keep_out_of_core_dumps(&self) {
        // SAFETY: the range is this whole mapping; the advice changes nothing but core dumps.
        let advised =
            unsafe { rustix::mm::madvise(self.base().as_ptr().cast(), self.len as usize, Advice::LinuxDontDump) };
        if let Err(error) = advised {
            tracing::debug!(%error, "the region stays in core dumps");
        }
    }
}

/// A memfd of so many bytes of zero. Mode 0600, sealed against shrinking, growing and further seals.
pub(super) fn sealed_memfd(name: &str, len: u64) -> Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|error| Error::os("create a memfd", error))?;
    // A memfd is born 0777: another uid that is handed it could reopen it through /proc.
    rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR).map_err(|error| Error::os("set the mode of a memfd", error))?;
    rustix::fs::ftruncate(&fd, len).map_err(|error| Error::os(format!("size a memfd to {len} bytes"), error))?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
        .map_err(|error| Error::os("seal a memfd", error))?;
    Ok(fd)
}

pub(super) fn is_sealed(file: impl AsFd) -> bool {
    rustix::fs::fcntl_get_seals(file)
        .is_ok_and(|seals| seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL))
}

fn no_memory(len: u64, error: rustix::io::Errno) -> Error {
    Error::new(ErrorKind::RegionFull, format!("the system has no memory for {len} more bytes: {error}"))
        .help("free objects, or make room in /dev/shm or under the memory limit")
        .caused_by(io::Error::from(error))
}
