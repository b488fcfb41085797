//! A bare ping-pong over a Unix socket: the floor of all that asks another process.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, epoll, poll};

/// Names the part that a second process of this program plays.
pub const ROLE: &str = "SHAREHOLD_BENCH_ROLE";

/// Bytes there and back.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub request: usize,
    pub reply: usize,
}

/// What a call `scale(f64)` of a hosted object sends and what comes back: heads, the method's name, a number.
pub const SCALE: Sizes = Sizes { request: 63, reply: 49 };

/// Runs this program in a role.
pub fn start(role: &str, stdin: Stdio) -> Child {
    Command::new("/proc/self/exe").env(ROLE, role).stdin(stdin).spawn().expect("this program runs itself")
}

/// Plays the part of one that answers, if the role says so.
pub fn perform(role: &[&str]) {
    let sizes = |request: &str, reply: &str| Sizes {
        request: request.parse().expect("a number"),
        reply: reply.parse().expect("a number"),
    };
    match role {
        ["words-asleep"] => super::words::answer(true),
        ["words-awake"] => super::words::answer(false),
        ["echo", request, reply] => echo(sizes(request, reply)),
        ["echo-epoll", request, reply] => echo_polling(sizes(request, reply)),
        _ => std::process::exit(2),
    }
}

/// Answers as long as somebody asks.
fn echo(sizes: Sizes) {
    let mut stream = own_stream();
    let (mut request, reply) = (vec![0; sizes.request], vec![0; sizes.reply]);
    while stream.read_exact(&mut request).is_ok() && stream.write_all(&reply).is_ok() {}
}

/// As [`echo`], with the system calls of a broker that serves many.
fn echo_polling(sizes: Sizes) {
    let mut stream = own_stream();
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    epoll::add(&poller, &stream, epoll::EventData::new_u64(0), epoll::EventFlags::IN).expect("watched");
    let (mut request, reply) = (vec![0; sizes.request], vec![0; sizes.reply]);
    loop {
        let mut events = Vec::with_capacity(64);
        epoll::wait(&poller, spare_capacity(&mut events), None).expect("an event");
        if stream.read_exact(&mut request).is_err() || stream.write_all(&reply).is_err() {
            return;
        }
    }
}

/// The socket that stands where the standard input would.
fn own_stream() -> UnixStream {
    UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().expect("a socket"))
}

/// A process that answers.
pub struct Echo {
    child: Child,
    stream: UnixStream,
    sizes: Sizes,
}

impl Echo {
    /// `polls`: with the system calls of one that serves many.
    pub fn start(sizes: Sizes, polls: bool) -> Self {
        let (stream, theirs) = UnixStream::pair().expect("a pair");
        let role = format!("{}\n{}\n{}", if polls { "echo-epoll" } else { "echo" }, sizes.request, sizes.reply);
        let echo = Self { child: start(&role, OwnedFd::from(theirs).into()), stream, sizes };
        echo.ask();
        echo
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ask(&self) {
        self.send();
        self.receive();
    }

    pub fn ask_polling(&self) {
        self.send();
        poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], None).expect("ready");
        self.receive();
    }

    fn send(&self) {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(buffer.len().max(self.sizes.request), 0);
            (&self.stream).write_all(&buffer[..self.sizes.request]).expect("sent");
        });
    }

    fn receive(&self) {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(buffer.len().max(self.sizes.reply), 0);
            (&self.stream).read_exact(&mut buffer[..self.sizes.reply]).expect("answered");
        });
    }
}

thread_local! {
    /// Used again and again, as a good client does.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}
