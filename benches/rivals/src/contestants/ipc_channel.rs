//! ipc-channel: typed channels over Unix sockets, and shared memory that is sent by its descriptor.
//!
//! Small objects are bytes in a message (its channels of bytes are the fastest), large ones its shared memory, as its documentation recommends.

use std::hint::black_box;

use ipc_channel::ipc::{
    self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory,
};

use crate::contestant::{Contestant, FACTOR, Prepared, Role, X, check, locked, repeat};
use crate::player::{Player, follow, until};
use crate::stage::Stage;
use crate::workload::{Operation, SMALL, Waiting};

/// The part that a second process plays.
pub const ROLE: &str = "ipc-channel";

pub const CONTESTANT: Contestant =
    Contestant { name: "ipc-channel", role: Role::Rival, version: || locked("ipc-channel"), prepare, memory: None };

/// What the second process sends first: the channels' ends that this one needs.
type Ends<T> = (IpcSender<T>, IpcReceiver<T>);
type BytesEnds = (IpcBytesSender, IpcBytesReceiver);

/// Starts the second process in its part, and takes its ends.
fn start<E: serde::Serialize + serde::de::DeserializeOwned>(stage: &Stage, part: &str) -> (Player, E) {
    let (server, name) = IpcOneShotServer::<E>::new().expect("a server");
    let other = stage.beside(|| Player::role(&[ROLE, part, &name]));
    let (_, ends) = server.accept().expect("it connects");
    (other, ends)
}

fn prepare(operation: Operation, stage: &Stage) -> Option<Prepared> {
    match operation {
        Operation::Clone => {
            let held = IpcSharedMemory::from_bytes(&[7; SMALL]);
            Prepared::each("shared memory", move || drop(black_box(black_box(&held).clone())))
        }
        Operation::Create => Prepared::each("shared memory", || {
            let memory = IpcSharedMemory::from_bytes(black_box(&[7; SMALL]));
            assert!(black_box(&memory)[SMALL - 1] == 7);
        }),
        Operation::HandOver { bytes: SMALL, waiting } => {
            let (mut other, (sender, receiver)) = start::<BytesEnds>(stage, part(waiting, "bytes"));
            Prepared::new("bytes", move |times| {
                other.begin(times);
                let took = repeat(times, || {
                    sender.send(black_box(&[7; SMALL])).expect("sent");
                    assert!(receive_bytes(waiting, &receiver).len() == SMALL);
                });
                other.finish();
                took
            })
        }
        Operation::HandOver { bytes, waiting } => {
            let (mut other, (sender, receiver)) = start::<Ends<IpcSharedMemory>>(stage, part(waiting, "memory"));
            let mut held = Some(IpcSharedMemory::from_byte(7, bytes));
            Prepared::new("shared memory", move |times| {
                other.begin(times);
                let took = repeat(times, || {
                    sender.send(held.take().expect("it came back")).expect("sent");
                    let back = receive(waiting, &receiver);
                    assert!(back.len() == bytes);
                    held = Some(back);
                });
                other.finish();
                took
            })
        }
        Operation::Call { waiting } => {
            let (mut other, (sender, receiver)) = start::<Ends<f64>>(stage, part(waiting, "call"));
            Prepared::new("a channel each way", move |times| {
                other.begin(times);
                let took = repeat(times, || {
                    sender.send(black_box(X)).expect("sent");
                    check(receive(waiting, &receiver));
                });
                other.finish();
                took
            })
        }
        _ => None,
    }
}

fn part(waiting: Waiting, part: &'static str) -> &'static str {
    match (waiting, part) {
        (Waiting::Blocking, _) => part,
        (_, "bytes") => "bytes-polling",
        (_, "memory") => "memory-polling",
        _ => "call-polling",
    }
}

fn receive<T: serde::de::DeserializeOwned + serde::Serialize>(waiting: Waiting, receiver: &IpcReceiver<T>) -> T {
    match waiting {
        Waiting::Blocking => receiver.recv().expect("received"),
        Waiting::Polling => until(|| receiver.try_recv().ok()),
    }
}

fn receive_bytes(waiting: Waiting, receiver: &IpcBytesReceiver) -> Vec<u8> {
    match waiting {
        Waiting::Blocking => receiver.recv().expect("received"),
        Waiting::Polling => until(|| receiver.try_recv().ok()),
    }
}

/// Plays the second process.
pub fn perform(role: &[&str]) {
    let [part, name] = role else { panic!("it has no part {role:?}") };
    let waiting = if part.ends_with("-polling") { Waiting::Polling } else { Waiting::Blocking };
    match part.split('-').next() {
        Some("bytes") => {
            let (to_us, from_them) = ipc::bytes_channel().expect("a channel");
            let (to_them, from_us) = ipc::bytes_channel().expect("a channel");
            IpcSender::<BytesEnds>::connect((*name).into()).expect("connected").send((to_us, from_us)).expect("sent");
            follow(|times| (0..times).for_each(|_| to_them.send(&receive_bytes(waiting, &from_them)).expect("sent")));
        }
        Some("memory") => answer::<IpcSharedMemory>(name, waiting, |memory| memory),
        _ => answer::<f64>(name, waiting, |x| FACTOR * x),
    }
}

fn answer<T: serde::de::DeserializeOwned + serde::Serialize>(name: &str, waiting: Waiting, work: impl Fn(T) -> T) {
    let (to_us, from_them) = ipc::channel::<T>().expect("a channel");
    let (to_them, from_us) = ipc::channel::<T>().expect("a channel");
    IpcSender::<Ends<T>>::connect(name.into()).expect("connected").send((to_us, from_us)).expect("sent");
    follow(|times| (0..times).for_each(|_| to_them.send(work(receive(waiting, &from_them))).expect("sent")));
}
