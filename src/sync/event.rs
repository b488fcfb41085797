//! Waiting for something that another process does.
//!
//! What is waited for is any condition on shared words. Beside them stands the word of an event:
//!
//! | bits | meaning |
//! |---|---|
//! | 0 | somebody may sleep here |
//! | 1..22 | how often sleepers were woken |
//! | 22..32 | the core on which somebody began to wait here last, as [`Spin::here`] numbers it: a guess |
//!
//! One that waits marks the word, then looks at the condition once more, then sleeps as long as the word is what it was after the mark. One that
//! makes the condition true looks at the word afterwards; only if it is marked, it counts, which takes the mark away, and wakes all. Those that find
//! nothing for themselves mark it again. The count is why nobody sleeps on a mark that another one has set anew between its own last look and its sleep.
//! Whoever dies asleep leaves a mark, which costs the next waker one system call. Whoever dies between the count and the wake leaves others asleep without a mark: so who sleeps either looks up from
//! time to time, or there is somebody who sees that death and wakes [in any case](Event::wake_in_any_case). Nobody can be harmed by what is written here but by sleeping until its time is over.

use std::time::{Duration, Instant};

use super::atomic::{AtomicU32, Ordering, fence};
use super::spin::Spin;
use crate::sys::futex;

const SLEEPS: u32 = 1;
/// Where the core stands.
const CORE: u32 = 22;
/// The mark and the count, which begins anew after two million.
const COUNT: u32 = (1 << CORE) - 1;

/// What one that wakes has seen of one that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) slept: bool,
    /// 0: nobody has waited yet.
    pub(crate) core: u32,
}

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
        if let Some(found) = ready() {
            return Some(found);
        }
        let here = spin.here();
        self.tell(here);
        let is_worth_looking = spin.is_worth_looking(here);
        if is_worth_looking && let Some(found) = spin.until(&mut ready) {
            return Some(found);
        }
        // The clock is read only where somebody asks for what it says.
        let began = (is_worth_looking || timeout.is_some()).then(Instant::now);
        let waited = || began.map_or(Duration::ZERO, |began| began.elapsed());
        let mut left = timeout;
        loop {
            // Relaxed: the fence orders the mark before the look, against `wake`.
            let marked = self.0.fetch_or(SLEEPS, Ordering::Relaxed) | SLEEPS;
            fence(Ordering::SeqCst);
            if let Some(found) = ready() {
                return Some(found);
            }
            if left == Some(Duration::ZERO) {
                return None;
            }
            futex::wait(self.0, marked, left);
            // Before the next mark, which would cost the next waker a system call.
            if let Some(found) = ready() {
                if is_worth_looking {
                    spin.slept(waited());
                }
                return Some(found);
            }
            left = timeout.map(|timeout| timeout.saturating_sub(waited()));
        }
    }

    /// Says on which core one waits here.
    fn tell(self, core: u32) {
        // Relaxed, and once: it is a guess, and mostly there already. Never in a word that is marked: the swap of a waker would fail, and leave those asleep who have marked it.
        let word = self.0.load(Ordering::Relaxed);
        if word & SLEEPS == 0 && word >> CORE != core {
            let told = core << CORE | word & COUNT;
            let _ = self.0.compare_exchange(word, told, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Wakes those who sleep here, after what they wait for was stored.
    pub(crate) fn wake(self) -> Seen {
        // Either this sees the mark, or the one that sets it sees what was stored.
        fence(Ordering::SeqCst);
        self.wake_after_swap()
    }

    /// Wakes those who sleep here also if the one is dead who was to wake them, and has taken the mark away.
    pub(crate) fn wake_in_any_case(self) {
        if !self.wake().slept {
            futex::wake_all(self.0);
        }
    }

    /// As [`Event::wake`] after what they wait for was stored by a swap that is SeqCst: then the fence is dear and needless.
    #[inline]
    pub(crate) fn wake_after_swap(self) -> Seen {
        // SeqCst: the swap, this, the fence of the one that has marked the word, and its look come one after the other.
        let word = self.0.load(Ordering::SeqCst);
        // If the swap fails, another waker has woken all, or somebody has marked the word who looks after the fence above.
        let next = word & !COUNT | word.wrapping_add(1) & COUNT;
        let slept =
            word & SLEEPS != 0 && self.0.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if slept {
            futex::wake_all(self.0);
        }
        Seen { slept, core: word >> CORE }
    }
}
