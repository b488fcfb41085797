//! Clients that send descriptors with whatever they say. The broker closes each of them, and keeps none longer than the connection that brought it.

use std::fs::File;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sharehold::Manager;

use crate::control::message::{self, Attach, HEAD, HandBack, Join, Request, Welcome};
use crate::region::{Generation, Rights, SessionIndex};
use crate::sys::memory::Memory;
use crate::sys::place;

/// Most descriptors that the system takes with one message.
const MOST: usize = 253;
const PATIENCE: Duration = Duration::from_secs(20);

struct Stage {
    manager: Manager,
    broker: u32,
    /// Descriptors that the broker has when nobody else is there.
    quiet: usize,
}

impl Stage {
    fn new() -> Self {
        // In a process of its own, so that its descriptors can be counted.
        let manager = Manager::builder().capacity(1 << 20).debuggable().start().expect("started");
        let broker = manager.child_pid().expect("our child");
        // The connection of the first call stays.
        manager.stats().expect("asked");
        let mut stage = Self { manager, broker, quiet: 0 };
        stage.quiet = stage.count();
        stage
    }

    fn count(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.broker)).expect("it can be looked at").count()
    }

    fn has(&self, more: usize, after: &str) {
        let until = Instant::now() + PATIENCE;
        while self.count() != self.quiet + more {
            assert!(Instant::now() < until, "{after}: {} descriptors, not {} + {more}", self.count(), self.quiet);
            // What is asked is answered after what came before.
            self.manager.stats().expect("asked");
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(place::socket_path(self.manager.name())).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream
    }

    /// One that has attached, with descriptors, and how others join it.
    fn attached(&self, descriptors: usize) -> (UnixStream, Join) {
        let mut stream = self.connect();
        let attach = Attach::with(Rights::All);
        send(&stream, &message::request(Request::Attach, 1, bytemuck::bytes_of(&attach)), descriptors, &stream);
        let welcome: Welcome = message::fixed(&hear(&mut stream).expect("attached")).expect("a welcome");
        (stream, Join { token: welcome.token, session: welcome.session, reserved: 0 })
    }
}

/// Sends bytes with a number of descriptors. The broker may have closed.
fn send(stream: &UnixStream, bytes: &[u8], descriptors: usize, what: impl AsFd) {
    let all = vec![what.as_fd(); descriptors];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if descriptors > 0 {
        assert!(control.push(SendAncillaryMessage::ScmRights(&all)));
    }
    let _ = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
}

/// The body of an answer of any kind. `None`: the connection was closed.
fn hear(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).ok()?;
    let (head, _) = message::Head::parse(&head).expect("the broker sends messages");
    let mut body = vec![0; head.len as usize];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed_whatever_they_came_with() {
    let stage = Stage::new();
    let something = File::open("/dev/null").expect("there");
    let has_answer = |request| {
        use Request::{Claim, Deadline, Leave, Lost, Returned, Wait};
        !matches!(request, Leave | Deadline | Returned | Wait | Claim | Lost)
    };
    // A session that others join: a fault on its first connection would end it.
    let (_first, join) = stage.attached(0);
    // One is as many as a message may bring; two have room where one is meant; of more the system cuts some off, and closes them.
    for descriptors in [1, 2, 3, MOST] {
        for request in Request::ALL.into_iter().filter(|request| *request != Request::Shutdown) {
            let bytes = message::request(request, 1, &[0; 40]);
            let stranger = stage.connect();
            let mut joined = stage.connect();
            send(&joined, &message::request(Request::Join, 1, bytemuck::bytes_of(&join)), 0, &something);
            hear(&mut joined).expect("joined");
            for mut stream in [stranger, joined] {
                send(&stream, &bytes, descriptors, &something);
                if has_answer(request) {
                    hear(&mut stream);
                }
            }
            // The socket and the pidfd of the session.
            stage.has(2, &format!("{descriptors} with {request:?}"));
        }
        // With what is no message.
        let mut stranger = stage.connect();
        send(&stranger, &[0xff; 100], descriptors, &something);
        assert_eq!(hear(&mut stranger), None);
        stage.has(2, "with noise");
    }
}

#[test]
fn a_connection_keeps_no_descriptor_that_came_with_it() {
    let stage = Stage::new();
    // Its socket, and the pidfd of its process.
    let (mut first, join) = stage.attached(1);
    stage.has(2, "attached with one");
    let mut joined = stage.connect();
    send(&joined, &message::request(Request::Join, 1, bytemuck::bytes_of(&join)), 1, &first);
    hear(&mut joined).expect("joined");
    stage.has(3, "joined with one");
    for _ in 0..100 {
        send(&first, &message::request(Request::Usage, 1, &[]), 2, &joined);
        hear(&mut first).expect("answered");
    }
    stage.has(3, "asked with two hundred");
    // Byte by byte, each with as many as can be: it never has more than one.
    let slow = stage.connect();
    for byte in &message::request(Request::Usage, 1, &[0; 40])[..HEAD + 39] {
        send(&slow, &[*byte], 1, &joined);
    }
    stage.has(5, "said slowly");
    drop(slow);
    stage.has(3, "gone");
    // In order: else the broker goes on to watch the process.
    send(&first, &message::request(Request::Leave, 1, &[]), 1, &joined);
    drop((first, joined));
    stage.has(0, "all gone");
}

#[test]
fn regions_that_are_handed_back_and_not_taken_are_closed_and_unmapped() {
    let stage = Stage::new();
    let value = stage.manager.value(7_u64).expect("room");
    let maps = || {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", stage.broker)).expect("it can be looked at");
        maps.lines().filter(|line| line.contains("/memfd:") || line.contains("/dev/")).count()
    };
    let before = maps();
    let sealed = Memory::memfd("sharehold:false", 1 << 20).expect("made");
    let open = rustix::fs::memfd_create("sharehold:open", rustix::fs::MemfdFlags::CLOEXEC).expect("made");
    let null = File::open("/dev/null").expect("there");
    let (pipe, _other) = std::io::pipe().expect("made");
    let all: [BorrowedFd<'_>; 4] = [sealed.file(), open.as_fd(), null.as_fd(), pipe.as_fd()];
    for (what, descriptor) in all.into_iter().enumerate() {
        for descriptors in [0, 1, 2] {
            let mut stream = stage.connect();
            let back = HandBack::of(42, SessionIndex(1), Generation(1), Rights::All);
            let bytes = message::request(Request::HandBack, 1, bytemuck::bytes_of(&back));
            send(&stream, &bytes, descriptors, descriptor);
            hear(&mut stream).expect("refused");
            drop(stream);
            stage.has(0, &format!("{descriptors} of {what}"));
        }
    }
    assert_eq!(maps(), before);
    assert_eq!(value.get().expect("read"), 7);
}
