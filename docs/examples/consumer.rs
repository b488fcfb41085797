//! Finds the array of `producer` by its name and looks at it in place.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::time::Duration;

use sharehold::{Array, Manager};

fn main() -> sharehold::Result<()> {
    let manager = Manager::connect("lab")?;
    let samples: Array<f32> = manager.wait("samples", Duration::from_secs(10))?;
    println!("{} samples, the first is {}", samples.len(), samples.read()?[0]);
    Ok(())
}
