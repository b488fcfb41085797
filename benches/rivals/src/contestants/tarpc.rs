//! tarpc, with bincode over a Unix socket. Client and server have a runtime of one thread: with a worker for each core it takes 3 % longer.

use std::hint::black_box;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use futures::StreamExt;
use tarpc::serde_transport::Transport;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context};
use tokio::runtime::{Builder, Runtime};

use crate::contestant::{Contestant, FACTOR, Prepared, Role, X, check, locked};
use crate::player::Player;
use crate::stage::Stage;
use crate::workload::{Operation, Waiting};

/// The part that the server's process plays.
pub const ROLE: &str = "tarpc";

pub const CONTESTANT: Contestant =
    Contestant { name: "tarpc", role: Role::Rival, version: || locked("tarpc"), prepare, memory: None };

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

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Dropped in this order: with the runtime goes the socket, and without it the process ends.
struct Tarpc {
    client: MagnifyClient,
    runtime: Runtime,
    _server: Player,
}

impl Tarpc {
    fn start(stage: &Stage) -> Self {
        let place = stage.fresh("tarpc");
        let listener = UnixListener::bind(&place).expect("a socket");
        let server = stage.beside(|| Player::role(&[ROLE, &place.display().to_string()]));
        let (stream, _) = listener.accept().expect("it connects");
        let runtime = runtime();
        let client = runtime.block_on(async {
            let transport = Transport::from((asynchronous(stream), Bincode::default()));
            MagnifyClient::new(client::Config::default(), transport).spawn()
        });
        Self { client, runtime, _server: server }
    }
}

fn prepare(operation: Operation, stage: &Stage) -> Option<Prepared> {
    let Operation::Call { waiting: Waiting::Blocking } = operation else { return None };
    let tarpc = Tarpc::start(stage);
    Prepared::new("", move |times| {
        let Tarpc { client, runtime, .. } = &tarpc;
        runtime.block_on(async {
            let started = Instant::now();
            for _ in 0..times {
                check(client.scale(context::current(), black_box(X)).await.expect("called"));
            }
            started.elapsed()
        })
    })
}

fn asynchronous(stream: UnixStream) -> tokio::net::UnixStream {
    stream.set_nonblocking(true).expect("allowed");
    tokio::net::UnixStream::from_std(stream).expect("inside of a runtime")
}

/// Serves the one client as long as it calls. Each call is executed where it was read: to spawn a task for each, as tarpc's examples do, takes 5 % longer.
pub fn perform(role: &[&str]) {
    let stream = UnixStream::connect(role[0]).expect("the client listens");
    runtime().block_on(async {
        let transport = Transport::from((asynchronous(stream), Bincode::default()));
        let calls = BaseChannel::with_defaults(transport).execute(Magnifier { factor: FACTOR }.serve());
        calls.for_each(|call| call).await;
    });
}
