//! A list inside a dictionary: both proxies of it are of one list, and it lives as long as either holds it.
//!
//! Run it with `cargo run --example nested`.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::time::{Duration, Instant};

use sharehold::{Dict, List, Manager, Proxy};

/// Waits until so many objects are alive. The broker frees objects after it has answered, so this takes a moment.
fn wait_for_objects(manager: &Manager, wanted: u64) -> sharehold::Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while manager.number_of_objects()? != wanted && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(manager.number_of_objects()?, wanted);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::start()?;
    let dict = Dict::new(&manager)?;
    let list = List::new(&manager)?;
    // The dictionary gets a proxy of its own: it holds the list, not a copy.
    dict.set("list", list.clone())?;

    let same: List = dict.get("list")?.downcast()?;
    list.push("through the list's own proxy")?;
    same.push("through the dictionary")?;
    println!("Both proxies are of object {}, which holds {} and {}.", list.id(), list.get(0)?, same.get(1)?);
    assert_eq!(list.id(), same.id());
    assert_eq!((list.len()?, same.len()?), (2, 2));

    drop((list, same));
    println!(
        "No proxy of the list is left here, but the dictionary has one: {} objects.",
        manager.number_of_objects()?
    );
    assert_eq!(manager.number_of_objects()?, 2);

    // Removing gives the entry back; nobody takes it here, so its proxy is dropped at once.
    dict.remove("list")?;
    wait_for_objects(&manager, 1)?;
    println!("Without its entry the list is gone: {} object, the dictionary.", manager.number_of_objects()?);
    Ok(())
}
