//! A futex as the kernel promises it, of loom's parts: whether the word has changed is looked at with the same lock that a waker takes. Nobody is woken by time.

use std::time::Duration;

use loom::sync::{Condvar, Mutex};

use crate::sync::atomic::{AtomicU32, Ordering};

loom::lazy_static! {
    static ref BED: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
}

#[expect(clippy::expect_used, reason = "a test that can't go on fails")]
pub(crate) fn wait(word: &AtomicU32, expected: u32, _: Option<Duration>) {
    let asleep = BED.0.lock().expect("nobody panics with it");
    if word.load(Ordering::Relaxed) == expected {
        drop(BED.1.wait(asleep).expect("nobody panics with it"));
    }
}

#[expect(clippy::expect_used, reason = "a test that can't go on fails")]
pub(crate) fn wake_all(_: &AtomicU32) {
    let _asleep = BED.0.lock().expect("nobody panics with it");
    BED.1.notify_all();
}
