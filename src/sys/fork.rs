//! Tells a forked child from the process that it was copied from, at the price of one load.
//!
//! A page that the kernel wipes in a forked child holds this process's token. A raw `clone` is noticed too, which
//! `pthread_atfork` would miss.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use super::memory::PAGE;
use crate::error::{Error, Result};

static PAGE_OF_TOKEN: OnceLock<&'static AtomicU64> = OnceLock::new();

/// A token that is this process's alone: 0 in a forked child until the child asks for one of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForkToken {
    word: &'static AtomicU64,
    value: u64,
}

impl ForkToken {
    /// The token of the calling process.
    pub(crate) fn of_this_process() -> Result<Self> {
        let word = match PAGE_OF_TOKEN.get() {
            Some(word) => *word,
            None => {
                let fresh = wiped_page()?;
                PAGE_OF_TOKEN.get_or_init(|| fresh)
            }
        };
        let mine = u64::from(std::process::id());
        // Relaxed: all threads of a process store the same value.
        word.store(mine, Ordering::Relaxed);
        Ok(Self { word, value: mine })
    }

    /// Whether the process is still the one that the token was made in.
    #[inline]
    pub(crate) fn is_ours(self) -> bool {
        // Relaxed: only a fork changes the word, and a fork orders everything before it.
        self.word.load(Ordering::Relaxed) == self.value
    }
}

#[expect(unsafe_code, reason = "maps one private page for the life of the process")]
fn wiped_page() -> Result<&'static AtomicU64> {
    let size = PAGE as usize;
    // SAFETY: a new private mapping at an address of the kernel's choice.
    let page =
        unsafe { mmap_anonymous(std::ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }
            .map_err(|error| Error::os("map a page", error))?;
    // SAFETY: the advice concerns the page mapped above; it is wiped in forked children only.
    unsafe { madvise(page, size, Advice::LinuxWipeOnFork) }
        .map_err(|error| Error::os("mark a page to be wiped on fork", error))?;
    // SAFETY: the page is aligned, zeroed, never unmapped, and only used as this atomic.
    Ok(unsafe { &*page.cast::<AtomicU64>() })
}
