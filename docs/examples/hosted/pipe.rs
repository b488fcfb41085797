//! A producer sends ten lists through a pipe and keeps none of them; the consumer looks at them when the producer is
//! long gone, and all ten are there.
//!
//! Run it with `cargo run --example pipe`. It is the consumer, and starts itself again as the producer.
#![allow(clippy::print_stdout, reason = "a program that shows something, and a pipe to write to")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use sharehold::{Datum, List, Manager, Proxy, Ticket};

/// Writes the ticket of each list to its standard output, and drops the list's only proxy at once.
fn produce(broker: &str) -> sharehold::Result<()> {
    let manager = Manager::connect(broker)?;
    for number in 0..10 {
        let list = List::new(&manager)?;
        list.push(number)?;
        println!("{}", list.ticket()?);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(broker) = std::env::args().nth(1) {
        return Ok(produce(&broker)?);
    }
    let manager = Manager::start()?;
    let mut producer = Command::new(std::env::current_exe()?).arg(manager.name()).stdout(Stdio::piped()).spawn()?;

    // Ten tickets fit into the pipe, so the producer ends although nobody reads yet.
    assert!(producer.wait()?.success());
    println!("The producer has ended. {} lists are on their way.", manager.number_of_objects()?);
    assert_eq!(manager.number_of_objects()?, 10);

    let mut numbers = Vec::new();
    for line in producer.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let ticket: Ticket = line?.parse()?;
        let list: List = manager.redeem(&ticket)?;
        list.push("seen")?;
        assert_eq!(list.len()?, 2);
        numbers.push(list.get(0)?);
    }
    println!("The consumer got {} lists, and all of them work.", numbers.len());
    assert_eq!(numbers, (0..10).map(Datum::from).collect::<Vec<_>>());
    Ok(())
}
