//! A server of one's own: a program that keeps objects of its class for others, until it is told to end.
//!
//! `cargo run --example server serve NAME` serves, and `cargo run --example server call NAME`, as often as you like,
//! calls it. Without arguments, `cargo run --example server` does both and ends the server.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use sharehold::{Broker, ErrorKind, Manager};

struct Counter {
    count: u64,
}

#[sharehold::class]
impl Counter {
    pub fn new() -> Self {
        Self { count: 0 }
    }

    pub fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// Ends with Ctrl-C, or when a client asks for it.
fn serve(name: &str) -> sharehold::Result<()> {
    Broker::builder().name(name).class::<Counter>().serve_with(|name| println!("serving {name}"))
}

/// Takes the next number of the counter that all clients share; the first client makes it.
fn call(name: &str) -> sharehold::Result<u64> {
    let manager = Manager::connect(name)?;
    let counter: CounterProxy = match manager.lookup("counter") {
        Err(error) if error.kind() == ErrorKind::NameNotFound => {
            let counter = CounterProxy::new(&manager)?;
            manager.publish("counter", &counter)?; // the name keeps it alive
            counter
        }
        found => found?,
    };
    counter.next()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name] => return Ok(serve(name)?),
        ["call", name] => println!("The counter says {}.", call(name)?),
        _ => {
            let name = format!("counter-{}", std::process::id());
            let mut server =
                Command::new(std::env::current_exe()?).args(["serve", &name]).stdout(Stdio::piped()).spawn()?;
            // The server says a line when clients can connect.
            let mut line = String::new();
            server.stdout.take().map(BufReader::new).ok_or("it has an output")?.read_line(&mut line)?;
            println!("The server says: {}", line.trim_end());

            let numbers = [call(&name), call(&name)];
            // Whatever came of the calls, the server shall not outlive this program.
            Manager::connect(&name)?.shutdown()?;
            let status = server.wait()?;
            let [first, second] = numbers;
            println!("Two calls got the numbers {} and {}, and the server has ended.", first?, second?);
            assert!(status.success());
        }
    }
    Ok(())
}
