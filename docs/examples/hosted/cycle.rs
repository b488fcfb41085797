//! Two dictionaries that hold each other are never freed by counting; the broker finds and frees them when asked.
//!
//! Run it with `cargo run --example cycle`.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use sharehold::{Dict, Manager};

fn main() -> sharehold::Result<()> {
    let manager = Manager::start()?;
    let first = Dict::new(&manager)?;
    let second = Dict::new(&manager)?;
    first.set("other", second.clone())?;
    second.set("other", first.clone())?;

    // As long as we hold one of them, both can be reached, and nothing is freed.
    drop(second);
    assert_eq!(manager.collect()?, 0);

    drop(first);
    println!("Nobody can reach them any more, but there are still {} objects.", manager.number_of_objects()?);
    assert_eq!(manager.number_of_objects()?, 2);

    let freed = manager.collect()?;
    println!("Collecting freed {freed} objects. Now there are {}.", manager.number_of_objects()?);
    assert_eq!(freed, 2);
    assert_eq!(manager.number_of_objects()?, 0);
    Ok(())
}
