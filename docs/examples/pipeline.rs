//! Two processes in a row: one makes arrays, the other adds them up, and no number is copied.
//!
//! Run it with `cargo run --example pipeline`.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::error::Error;
use std::process::Command;

use sharehold::{Array, Channel, Manager, Value};

const ARRAYS: u64 = 1000;
const NUMBERS: usize = 10_000;

/// The second process: receives until nobody sends any more.
fn add_up(broker: &str) -> sharehold::Result<()> {
    let manager = Manager::connect(broker)?;
    let arrays: Channel<Array<u64>> = manager.lookup("arrays")?;
    let sums: Channel<Value<u64>> = manager.lookup("sums")?;
    let (receiver, sender) = (arrays.receiver()?, sums.sender()?);
    for array in receiver.iter() {
        // The array is this process's now. At the end of the round it is nobody's, and its memory is used again.
        sender.send(manager.value(array?.sealed()?.iter().sum())?)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(broker) = std::env::args().nth(1) {
        return Ok(add_up(&broker)?);
    }
    let manager = Manager::start()?;
    // Room for four: whoever is faster waits for the other.
    let arrays: Channel<Array<u64>> = manager.single_channel(4)?;
    let sums: Channel<Value<u64>> = manager.single_channel(4)?;
    manager.publish("arrays", &arrays)?;
    manager.publish("sums", &sums)?;
    let mut second = Command::new(std::env::current_exe()?).arg(manager.name()).spawn()?;

    let total = std::thread::scope(|scope| -> Result<u64, Box<dyn Error>> {
        let receiver = sums.receiver()?;
        let total = scope.spawn(move || -> sharehold::Result<u64> {
            receiver.iter().try_fold(0, |total, sum| Ok(total + sum?.get()?))
        });
        let sender = arrays.sender()?;
        for number in 0..ARRAYS {
            let array = manager.array(&vec![number; NUMBERS])?;
            array.seal()?;
            sender.send(array)?;
        }
        drop(sender); // nothing comes any more: the second process ends, and then nobody sends sums
        Ok(total.join().map_err(|_| "a thread has panicked")??)
    })?;
    println!("{ARRAYS} arrays of {NUMBERS} numbers went through another process, and their sum is {total}.");
    assert!(second.wait()?.success());
    println!("{} objects are left: the channels.", manager.number_of_objects()?);
    Ok(())
}
