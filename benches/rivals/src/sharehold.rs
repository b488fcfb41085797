//! Ours: a hosted object, called through its proxy.

use std::hint::black_box;
use std::time::Duration;

use sharehold::Manager;

use crate::rival::{FACTOR, Rival, X, check, repeat};

#[derive(Debug)]
pub struct Magnifier {
    factor: f64,
}

#[sharehold::class]
impl Magnifier {
    pub fn new(factor: f64) -> Self {
        Self { factor }
    }

    pub fn scale(&self, x: f64) -> f64 {
        self.factor * x
    }
}

pub struct Sharehold {
    lens: MagnifierProxy,
    manager: Manager,
}

impl Sharehold {
    pub fn start() -> Self {
        let manager = Manager::builder().class::<Magnifier>().start().expect("a broker");
        Self { lens: MagnifierProxy::new(&manager, FACTOR).expect("created"), manager }
    }
}

impl Rival for Sharehold {
    fn name(&self) -> &str {
        "sharehold"
    }

    fn call(&mut self, times: u64) -> Duration {
        repeat(times, || check(self.lens.scale(black_box(X)).expect("called")))
    }

    fn pids(&self) -> Vec<u32> {
        vec![self.manager.child_pid().expect("our broker")]
    }
}
