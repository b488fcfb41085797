//! The floor: as many bytes there and back as a call of sharehold has, over a Unix socket, and nothing else.

use std::time::Duration;

use crate::common::echo::{Echo, SCALE};
use crate::rival::{Rival, repeat};

pub struct PingPong(Echo);

impl PingPong {
    pub fn start() -> Self {
        Self(Echo::start(SCALE, false))
    }
}

impl Rival for PingPong {
    fn name(&self) -> &str {
        "ping-pong"
    }

    fn call(&mut self, times: u64) -> Duration {
        repeat(times, || self.0.ask())
    }

    fn pids(&self) -> Vec<u32> {
        vec![self.0.pid()]
    }
}
