//! tarpc, with bincode over a Unix socket.

use std::hint::black_box;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tarpc::serde_transport::Transport;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context};
use tokio::runtime::{Builder, Runtime};

use crate::common::echo;
use crate::rival::{FACTOR, Rival, X, check};

/// The part that the server's process plays.
pub const ROLE: &str = "tarpc";

#[tarpc::service]
trait Magnify {
    async fn scale(x: f64) -> f64;
}

#[derive(Clone)]
struct Magnifier {
    factor: f64,
}

impl Magnify for Magnifier {
    async fn scale(self, _: context::Context, x: f64) -> f64 {
        self.factor * x
    }
}

/// The runtime of the server. The client's has one thread.
#[derive(Debug, Clone, Copy)]
pub enum Server {
    CurrentThread,
    /// With a worker for each core that it may use.
    MultiThread,
}

impl Server {
    pub const ALL: [Self; 2] = [Self::CurrentThread, Self::MultiThread];

    fn name(self) -> &'static str {
        match self {
            Self::CurrentThread => "tarpc, current_thread",
            Self::MultiThread => "tarpc, multi_thread",
        }
    }

    fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::CurrentThread => Builder::new_current_thread(),
            Self::MultiThread => Builder::new_multi_thread(),
        };
        builder.enable_all().build().expect("a runtime")
    }
}

/// Serves the one client whose socket stands where the standard input would, as long as it calls.
pub fn serve(name: &str) {
    let server = Server::ALL.into_iter().find(|server| server.name() == name).expect("one of these");
    let stream = std::io::stdin().as_fd().try_clone_to_owned().expect("a socket");
    // A task of its own, because only tasks run on the workers of a runtime that has them.
    server.runtime().block_on(async { tokio::spawn(answer(stream.into())).await.expect("served") });
}

/// Each call is executed where it was read: to spawn a task for each, as tarpc's examples do, takes 5 % longer.
async fn answer(stream: UnixStream) {
    let transport = Transport::from((asynchronous(stream), Bincode::default()));
    let calls = BaseChannel::with_defaults(transport).execute(Magnifier { factor: FACTOR }.serve());
    calls.for_each(|call| call).await;
}

fn asynchronous(stream: UnixStream) -> tokio::net::UnixStream {
    stream.set_nonblocking(true).expect("allowed");
    tokio::net::UnixStream::from_std(stream).expect("inside of a runtime")
}

pub struct Tarpc {
    server: Server,
    client: MagnifyClient,
    // Dropped in this order: with the runtime goes the socket, and without it the process ends.
    runtime: Runtime,
    process: Process,
}

struct Process(Child);

impl Tarpc {
    pub fn start(server: Server) -> Self {
        let (stream, theirs) = UnixStream::pair().expect("a pair");
        let process = Process(echo::start(&format!("{ROLE}\n{}", server.name()), OwnedFd::from(theirs).into()));
        let runtime = Server::CurrentThread.runtime();
        let client = runtime.block_on(async {
            let transport = Transport::from((asynchronous(stream), Bincode::default()));
            MagnifyClient::new(client::Config::default(), transport).spawn()
        });
        Self { server, client, runtime, process }
    }
}

impl Rival for Tarpc {
    fn name(&self) -> &str {
        self.server.name()
    }

    fn call(&mut self, times: u64) -> Duration {
        let client = &self.client;
        self.runtime.block_on(async {
            let started = Instant::now();
            for _ in 0..times {
                check(client.scale(context::current(), black_box(X)).await.expect("called"));
            }
            started.elapsed()
        })
    }

    fn pids(&self) -> Vec<u32> {
        vec![self.process.0.id()]
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}
