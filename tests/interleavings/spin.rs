//! Does not spin: what a spin sees, the looks around a sleep see too.

use std::time::Duration;

/// With the core of one that waits.
pub(crate) struct Spin(pub(crate) u32);

impl Spin {
    pub(crate) fn here(&self) -> u32 {
        self.0
    }

    pub(crate) fn is_worth_looking(&self, _: u32) -> bool {
        false
    }

    pub(crate) fn until<R>(&self, ready: &mut impl FnMut() -> Option<R>) -> Option<R> {
        ready()
    }

    pub(crate) fn slept(&self, _: Duration) {}
}
