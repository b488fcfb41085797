//! Waiting for something that another process does.
//!
//! What is waited for is any condition on shared words. Beside them stands the word of an event:
//!
//! | bits | meaning |
//! |---|---|
//! | 0 | somebody may sleep here |
//! | 1..32 | how often sleepers were woken |
//!
//! One that waits marks the word, then looks at the condition once more, then sleeps as long as the word is what it was after the mark. One that
//! makes the condition true looks at the word afterwards; only if it is marked, it counts, which takes the mark away, and wakes all. Those that find
//! nothing for themselves mark it again. The count is why nobody sleeps on a mark that another one has set anew between its own last look and its sleep.
//! Whoever dies asleep leaves a mark, which costs the next waker one system call. Nobody can be harmed by what is written here but by sleeping until its time is over.

use std::time::{Duration, Instant};

use super::atomic::{AtomicU32, Ordering, fence};
use super::spin::Spin;
use crate::sys::futex;

const SLEEPS: u32 = 1;

/// A view of an event's word in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct Event<'a>(&'a AtomicU32);

impl<'a> Event<'a> {
    #[inline]
    pub(crate) fn new(word: &'a AtomicU32) -> Self {
        Self(word)
    }

    /// Waits until `ready` returns something, at most for `timeout`: looks for as long as `spin` finds worth it, then sleeps. `ready` loads with Acquire
    /// what its partner has stored with Release before [`Event::wake`].
    pub(crate) fn wait<R>(
        self,
        spin: &Spin,
        timeout: Option<Duration>,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if let Some(found) = spin.until(&mut ready) {
            return Some(found);
        }
        let (began, mut waited) = (Instant::now(), Duration::ZERO);
        loop {
            // Relaxed: the fence orders the mark before the look, against `wake`.
            let marked = self.0.fetch_or(SLEEPS, Ordering::Relaxed) | SLEEPS;
            fence(Ordering::SeqCst);
            if let Some(found) = ready() {
                return Some(found);
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(waited));
            if left == Some(Duration::ZERO) {
                return None;
            }
            futex::wait(self.0, marked, left);
            waited = began.elapsed();
            // Before the next mark, which would cost the next waker a system call.
            if let Some(found) = ready() {
                spin.slept(waited);
                return Some(found);
            }
        }
    }

    /// Wakes those who sleep here, after what they wait for was stored. Returns whether somebody slept.
    pub(crate) fn wake(self) -> bool {
        // Either this sees the mark, or the one that sets it sees what was stored.
        fence(Ordering::SeqCst);
        self.wake_after_swap()
    }

    /// The same after what they wait for was stored by a swap that is SeqCst: then the fence is dear and needless.
    #[inline]
    pub(crate) fn wake_after_swap(self) -> bool {
        // SeqCst: the swap, this, the fence of the one that has marked the word, and its look come one after the other.
        let word = self.0.load(Ordering::SeqCst);
        // If the swap fails, another waker has woken all, or somebody has marked the word who looks after the fence above.
        let slept = word & SLEEPS != 0
            && self.0.compare_exchange(word, word.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if slept {
            futex::wake_all(self.0);
        }
        slept
    }
}
