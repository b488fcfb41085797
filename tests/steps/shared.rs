//! What a process shares with others outside of the region: whatever it has mapped shared and may write. In this library these are the call rings; what else there may be one day is seen, too.
#![expect(unsafe_code, reason = "reads the memory of another process")]

use std::io;
use std::ops::Range;

use crate::common::region::is_region;

/// The mappings of a process, and what stood in them when they were last looked at.
#[derive(Default)]
pub(crate) struct Shared {
    pid: u32,
    mappings: Vec<Mapping>,
}

struct Mapping {
    start: usize,
    seen: Vec<u8>,
}

impl Shared {
    /// Of a process that this one traces.
    pub(crate) fn of(pid: u32, region: &str) -> Self {
        let others = shared_files(pid).filter(|file| !is_region(&file.path, region));
        let mappings =
            others.map(|file| Mapping { start: file.place.start, seen: vec![0; file.place.len()] }).collect();
        let mut shared = Self { pid, mappings };
        shared.has_changed();
        shared
    }

    /// Whether anything has changed since this was last asked. What is not mapped any more has not.
    pub(crate) fn has_changed(&mut self) -> bool {
        let mut changed = false;
        let mut now = Vec::new();
        self.mappings.retain_mut(|mapping| {
            now.resize(mapping.seen.len(), 0);
            let is_there = read(self.pid, mapping.start, &mut now);
            if is_there && now != mapping.seen {
                std::mem::swap(&mut now, &mut mapping.seen);
                changed = true;
            }
            is_there
        });
        changed
    }
}

/// A mapping that is shared, and that the process may write: see proc_pid_maps(5).
pub(crate) struct SharedFile {
    pub(crate) place: Range<usize>,
    /// Tells files apart.
    pub(crate) inode: u64,
    path: String,
}

/// The call rings that a process has.
pub(crate) fn rings(pid: u32) -> impl Iterator<Item = SharedFile> {
    shared_files(pid).filter(|file| file.path.contains("sharehold-ring"))
}

fn shared_files(pid: u32) -> impl Iterator<Item = SharedFile> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines().filter_map(parse).collect::<Vec<_>>().into_iter()
}

fn parse(line: &str) -> Option<SharedFile> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let mode = fields.next()?.as_bytes();
    let address = |text| usize::from_str_radix(text, 16).ok();
    let inode = fields.nth(2)?.parse().ok()?;
    let path = fields.collect::<Vec<_>>().join(" ");
    (mode[1] == b'w' && mode[3] == b's').then_some(SharedFile { place: address(start)?..address(end)?, inode, path })
}

/// Whether all of it could be read.
fn read(pid: u32, start: usize, to: &mut [u8]) -> bool {
    let local = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let remote = libc::iovec { iov_base: start as *mut libc::c_void, iov_len: to.len() };
    // SAFETY: one buffer of the length that is given; what the other process has there is copied, or an error.
    let count = unsafe { libc::process_vm_readv(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0) };
    let error = io::Error::last_os_error();
    assert!(count >= 0 || error.raw_os_error() == Some(libc::EFAULT), "the memory of {pid} is read: {error}");
    count == to.len() as isize
}
