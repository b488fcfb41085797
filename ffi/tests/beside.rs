//! Processes of C and of Rust side by side: each reads and changes what the other has made, and calls what the other serves.
#![allow(missing_docs, clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod built;

// As the code that is derived calls it.
extern crate sharehold_rust as sharehold;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use built::{Stage, Way};
use bytemuck::{Pod, Zeroable};
use sharehold::{Array, Channel, ErrorKind, Manager, MethodError, Object, Proxy, Schema, Shareable, Value};

const SOURCE: &str = "tests/c/beside.c";
const PATIENCE: Duration = Duration::from_secs(600);

/// As `quote` in C.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable, Shareable)]
#[repr(C)]
struct Quote {
    price: f64,
    size: u64,
}

/// As the class `Tally` in C.
pub struct Counter {
    total: i64,
}

#[sharehold::class]
impl Counter {
    pub fn new(start: i64) -> Self {
        Self { total: start }
    }

    pub fn add(&mut self, number: i64) -> Result<i64, MethodError> {
        if number > 100 {
            return Err(MethodError::new("too much"));
        }
        self.total += number;
        Ok(self.total)
    }
}

/// A program of C, which does not outlive the test.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let output = self.0.stdout.as_mut().expect("an output");
        BufReader::new(output).read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    fn ends_well(mut self) {
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn guest(way: Way, name: &str) {
    if !way.is_possible(SOURCE) {
        return;
    }
    let stage = Stage::new(name);
    let program = stage.compile(SOURCE, way);
    let manager = Manager::builder().capacity(16 << 20).class::<Counter>().start().expect("started");
    let array = manager.array(&[1.0, 2.0, 3.0]).expect("created");
    let quote = manager.value(Quote { price: 20.5, size: 7 }).expect("created");
    let counter = CounterProxy::new(&manager, 40).expect("created");
    let frozen = manager.freeze(&[2.0, 3.0, 5.0]).expect("created");
    let channel: Channel<Object> = manager.channel(2).expect("created");
    manager.publish("quote", &quote).expect("published");
    manager.publish("counter", &counter).expect("published");
    manager.publish("frozen", &frozen).expect("published");
    manager.publish("channel", &channel).expect("published");
    let (sender, receiver) = (channel.sender().expect("opened"), channel.receiver().expect("opened"));
    sender.send(manager.array(&[7.0]).expect("created").untyped()).expect("sent");

    let ticket = array.ticket().expect("issued").to_string();
    let mut guest = Program::start(way.command(&program).args(["guest", manager.name(), &ticket]));
    let ticket = guest.line();

    // What was made here, and changed there.
    assert_eq!(array.read().expect("free")[..], [2.0, 4.0, 6.0]);
    assert_eq!(quote.get().expect("read"), Quote { price: 21.5, size: 7 });
    assert_eq!(counter.add(0).expect("called"), 42);
    // What was made there.
    let theirs: Array<f64> = manager.redeem(&ticket.parse().expect("a ticket")).expect("redeemed");
    let mut elements = theirs.write().expect("free");
    assert_eq!(elements[..], [1.0, 2.0, 3.0]);
    elements[0] = -1.0;
    drop(elements);
    let value: Value<Quote> = manager.lookup("own quote").expect("found");
    assert_eq!(
        value.update(|quote| std::mem::replace(quote, Quote { price: 21.0, size: 8 })).expect("changed").size,
        7
    );
    assert_eq!(value.untyped().schema().expect("a type"), Schema::of::<Quote>());
    let made: CounterProxy = receiver.recv_timeout(PATIENCE).expect("sent").downcast().expect("one of this class");
    assert_eq!(made.add(5).expect("called"), 15);
    guest.0.stdin.as_mut().expect("an input").write_all(b"\n").expect("it listens");
    guest.ends_well();

    for name in ["quote", "counter", "frozen", "channel", "own quote"] {
        manager.unpublish(name).expect("it was there");
    }
    drop((array, quote, counter, frozen, channel, sender, receiver, theirs, value, made));
    assert_eq!(manager.number_of_objects().expect("known"), 0);
}

fn host(way: Way, name: &str) {
    if !way.is_possible(SOURCE) {
        return;
    }
    let stage = Stage::new(name);
    let program = stage.compile(SOURCE, way);
    let name = format!("{name}-{}", std::process::id());
    let host = Program::start(way.command(&program).args(["host", &name]));
    let manager = Manager::connect_within(&name, PATIENCE).expect("it serves");
    let tally: Object = manager.create("Tally", &(40,)).expect("created");
    assert_eq!(tally.call::<i64>("add", &(2,)).expect("called"), 42);
    let error = tally.call::<i64>("add", &(1000,)).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::MethodFailed);
    assert!(error.to_string().contains("too much"), "{error}");
    let error = manager.create::<Object>("Tally", &("forty",)).expect_err("refused");
    assert!(error.to_string().contains("it takes a number"), "{error}");
    // A broker of C has all kinds of objects.
    let quote = manager.value(Quote { price: 1.0, size: 1 }).expect("created");
    let same: Value<Quote> = manager.redeem(&quote.ticket().expect("issued")).expect("redeemed");
    assert_eq!(same.get().expect("read").price, 1.0);
    drop((tally, quote, same));
    manager.shutdown().expect("told");
    host.ends_well();
}

#[test]
fn c_is_a_guest_of_rust() {
    guest(Way::Shared, "guest");
}

#[test]
fn c_is_a_guest_of_rust_under_the_address_sanitizer() {
    guest(Way::Address, "guest-address");
}

#[test]
fn c_is_a_host_of_rust() {
    host(Way::Shared, "host");
}

#[test]
fn c_is_a_host_of_rust_under_the_address_sanitizer() {
    host(Way::Address, "host-address");
}

#[test]
fn c_is_a_host_of_rust_under_valgrind() {
    host(Way::Valgrind, "host-valgrind");
}
