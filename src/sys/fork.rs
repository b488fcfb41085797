//! What a fork does to a process's own memory and descriptors.
//!
//! A page that the kernel wipes in a forked child holds this process's token, so that everybody can tell at the price of one load whether the process is still the same; a raw
//! `clone` is noticed too, which `pthread_atfork` would miss. What is to be another thing in the child is a [`PerProcess`], and the child closes the descriptors that are
//! [`ClosedInChild`].

use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use super::memory::PAGE;
use crate::error::{Error, Result};

static PAGE_OF_TOKEN: OnceLock<&'static AtomicU64> = OnceLock::new();
/// The last token that this process, or one that it was forked from, has had. No two in a line of descent have the same.
static LAST_TOKEN: AtomicU64 = AtomicU64::new(0);

/// A token that is this process's alone: 0 in a forked child until the child asks for one of its own.
#[derive(Debug)]
pub(crate) struct ForkToken {
    word: &'static AtomicU64,
    value: AtomicU64,
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
        Ok(Self { word, value: AtomicU64::new(token(word)) })
    }

    /// Whether the process is still the one that the token was made in.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        // Relaxed: only a fork changes the words, and a fork orders everything before it.
        self.word.load(Ordering::Relaxed) == self.value.load(Ordering::Relaxed)
    }

    /// Makes it the token of this process. In a forked child, before it has threads.
    pub(crate) fn renew(&self) {
        self.value.store(token(self.word), Ordering::Relaxed);
    }
}

/// The token of this process, which has one from now on.
fn token(word: &AtomicU64) -> u64 {
    let mine = word.load(Ordering::Relaxed);
    if mine != 0 {
        return mine;
    }
    // Relaxed: what threads that ask at the same time agree on is the swap.
    let fresh = LAST_TOKEN.fetch_add(1, Ordering::Relaxed) + 1;
    word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|theirs| theirs, |_| fresh)
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

/// A thing of which a forked child has another one than its parent: the parent's may have been in the middle of anything at the fork, with its locks held by threads that the child does not
/// have.
pub(crate) struct PerProcess<T>(AtomicPtr<T>);

impl<T> PerProcess<T> {
    pub(crate) fn new(thing: T) -> Self {
        Self(AtomicPtr::new(Box::into_raw(Box::new(thing))))
    }

    #[expect(unsafe_code, reason = "what a forked child replaces can't be borrowed from a plain field")]
    pub(crate) fn get(&self) -> &T {
        // Acquire is not needed: the pointer is written before the value is shared, and by a child that has one thread.
        // SAFETY: from `Box::into_raw`; dropped only with `self`. What `renew` replaces is never dropped.
        unsafe { &*self.0.load(Ordering::Relaxed) }
    }

    /// Puts another in its place. The old one stays as it is, for ever. In a forked child, before it has threads.
    pub(crate) fn renew(&self, thing: Box<T>) {
        self.0.store(Box::into_raw(thing), Ordering::Relaxed);
    }
}

impl<T> Drop for PerProcess<T> {
    #[expect(unsafe_code, reason = "see `get`")]
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw`, and nobody borrows from `self` any more.
        drop(unsafe { Box::from_raw(*self.0.get_mut()) });
    }
}

/// Descriptors up to here can be marked; those beyond stay open in a child.
const MARKS: usize = 1 << 16;

/// A bit a descriptor.
struct Marks([AtomicU64; MARKS / 64]);

static CLOSED: Marks = Marks([const { AtomicU64::new(0) }; MARKS / 64]);
static KEPT: Marks = Marks([const { AtomicU64::new(0) }; MARKS / 64]);

impl Marks {
    fn set(&self, descriptor: RawFd, is_set: bool) {
        let Some(word) = usize::try_from(descriptor).ok().and_then(|number| self.0.get(number / 64)) else { return };
        let bit = 1 << (descriptor % 64);
        // AcqRel: a mark is taken away before the descriptor is closed.
        let _ = if is_set { word.fetch_or(bit, Ordering::AcqRel) } else { word.fetch_and(!bit, Ordering::AcqRel) };
    }
}

/// Marks a descriptor that a forked child has no business with: it closes it. The mark is dropped before the descriptor is closed, so no other that gets its number is taken for it.
#[derive(Debug)]
pub(crate) struct ClosedInChild(RawFd);

impl ClosedInChild {
    pub(crate) fn of(descriptor: &impl AsRawFd) -> Self {
        static IS_WATCHING: AtomicBool = AtomicBool::new(false);
        extern "C" fn nothing() {}
        if !IS_WATCHING.swap(true, Ordering::AcqRel)
            && let Err(error) = around(nothing, nothing, close_marked)
        {
            tracing::warn!(%error, "forked children will keep connections open");
        }
        CLOSED.set(descriptor.as_raw_fd(), true);
        Self(descriptor.as_raw_fd())
    }
}

impl Drop for ClosedInChild {
    fn drop(&mut self) {
        CLOSED.set(self.0, false);
    }
}

/// Whether a marked descriptor is left open in a child that is about to be forked.
pub(crate) fn keep_in_child(descriptor: RawFd, is_kept: bool) {
    KEPT.set(descriptor, is_kept);
}

/// In a forked child: closes every marked descriptor but those that are kept. Their owners are its parent's, and are never dropped here. Safe in a signal handler.
#[expect(unsafe_code, reason = "closes descriptors whose owners are other threads' in another process")]
extern "C" fn close_marked() {
    for (at, (closed, kept)) in CLOSED.0.iter().zip(&KEPT.0).enumerate() {
        let kept = kept.swap(0, Ordering::Relaxed);
        let mut bits = closed.fetch_and(kept, Ordering::Relaxed) & !kept;
        while bits != 0 {
            // SAFETY: a socket of this library, of whose owner this process has only an image that it never drops.
            unsafe { rustix::io::close((at * 64) as RawFd + bits.trailing_zeros() as RawFd) };
            bits &= bits - 1;
        }
    }
}

/// What is done around each fork of this process from now on: before, in the parent after, in the child after. All three in the thread that forks.
#[expect(unsafe_code, reason = "no safe binding of pthread_atfork")]
pub(crate) fn around(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> Result<()> {
    // SAFETY: the functions are there as long as the program.
    let status = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    if status != 0 {
        return Err(Error::os("register what is done around a fork", std::io::Error::from_raw_os_error(status)));
    }
    Ok(())
}
