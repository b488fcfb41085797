//! A chain of 100,000 objects, each of which holds the next, is built by one call and freed without a stack overflow.
//!
//! Run it with `cargo run --release --example deep`.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::time::{Duration, Instant};

use sharehold::{Manager, MethodError};

const LEVELS: u32 = 100_000;

/// An object whose only purpose is to hold another one.
struct Link {
    _next: Option<LinkProxy>,
}

#[sharehold::class]
impl Link {
    pub fn new() -> Self {
        Self { _next: None }
    }

    /// Builds a chain in the broker, from its end. The caller gets a proxy of the first link only.
    #[proxy]
    pub fn chain(&self, levels: u32) -> Result<Link, MethodError> {
        let manager = Manager::current()?;
        let mut next = None;
        for _ in 1..levels {
            next = Some(manager.host(Link { _next: next })?);
        }
        Ok(Link { _next: next })
    }
}

fn main() -> sharehold::Result<()> {
    let manager = Manager::builder().class::<Link>().start()?;
    let maker = LinkProxy::new(&manager)?;

    let started = Instant::now();
    let chain = maker.chain(LEVELS)?;
    println!("Building {LEVELS} levels took {:.0?}.", started.elapsed());
    assert_eq!(manager.number_of_objects()?, u64::from(LEVELS) + 1);

    // The last proxy of the first link takes the whole chain with it, which the broker does in its own time.
    let started = Instant::now();
    drop(chain);
    while manager.number_of_objects()? > 1 && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("Freeing {LEVELS} levels took {:.0?}.", started.elapsed());
    assert_eq!(manager.number_of_objects()?, 1);

    // A stack overflow would have ended the broker; it still answers.
    maker.chain(1)?;
    println!("The broker goes on working.");
    Ok(())
}
