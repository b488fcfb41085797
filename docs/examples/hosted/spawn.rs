//! Methods that return proxies of new objects, of their own class and of another one, called from two processes.
//!
//! Run it with `cargo run --example spawn`. It starts itself again as the second process, which gets nothing but a
//! ticket.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::error::Error;
use std::process::Command;

use sharehold::{Manager, Proxy, Ticket};

struct Magnifier {
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

    /// The mark has the broker keep what is returned, and the caller gets a proxy of it: a `TwinProxy`.
    #[proxy]
    pub fn twin(&self) -> Twin {
        Twin { factor: self.factor }
    }

    #[proxy]
    pub fn spawn(&self, factor: f64) -> Self {
        Self { factor }
    }
}

/// It has no constructor, so twins come from methods only.
struct Twin {
    factor: f64,
}

#[sharehold::class]
impl Twin {
    pub fn scale(&self, x: f64) -> f64 {
        self.factor * x
    }
}

/// What both processes do with their proxy of the one magnifier.
fn use_magnifier(who: &str, magnifier: &MagnifierProxy) -> sharehold::Result<()> {
    let twin: TwinProxy = magnifier.twin()?;
    let spawned: MagnifierProxy = magnifier.spawn(5.0)?;
    println!("The {who} process got a twin, object {}, which makes {} of 10.", twin.id(), twin.scale(10.0)?);
    println!("The {who} process got a magnifier, object {}, which makes {} of 10.", spawned.id(), spawned.scale(10.0)?);
    assert_eq!((twin.scale(10.0)?, spawned.scale(10.0)?), (20.0, 50.0));
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(text) = std::env::args().nth(1) {
        let ticket: Ticket = text.parse()?;
        return Ok(use_magnifier("second", &sharehold::redeem(&ticket)?)?);
    }
    // The broker needs both classes, because it keeps objects of both.
    let manager = Manager::builder().class::<Magnifier>().class::<Twin>().start()?;
    let magnifier = MagnifierProxy::new(&manager, 2.0)?;
    use_magnifier("first", &magnifier)?;

    let ticket = magnifier.ticket()?.to_string();
    let status = Command::new(std::env::current_exe()?).arg(ticket).status()?;
    assert!(status.success());
    Ok(())
}
