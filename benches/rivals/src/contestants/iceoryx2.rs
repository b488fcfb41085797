//! iceoryx2, each operation by the pattern that it has for it, set up as in its own benchmarks: services for just these ports, buffers of one, no history.
//!
//! "In its own pattern" means that nobody touches the payload: what is measured is the hand-over.

use std::hint::black_box;
use std::time::Duration;

use iceoryx2::node::Node;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    Config, FileName, LogLevel, NodeBuilder, Path, SemanticString, ServiceName, SignalHandlingMode, ipc, set_log_level,
};

use crate::contestant::{Contestant, FACTOR, Prepared, Role, X, check, locked, repeat};
use crate::player::{Player, follow, say, until};
use crate::stage::Stage;
use crate::workload::{Operation, SMALL, Waiting};

/// The part that a second process plays.
pub const ROLE: &str = "iceoryx2";

pub const CONTESTANT: Contestant =
    Contestant { name: "iceoryx2", role: Role::Rival, version: || locked("iceoryx2"), prepare, memory: None };

type Ports = ipc::Service;

/// What it leaves in shared memory also if everybody ends in order: removed by their prefix.
struct Files {
    folder: String,
    prefix: String,
}

impl Files {
    fn new(stage: &Stage) -> Self {
        Self { folder: stage.folder().display().to_string(), prefix: stage.unique("iox2") }
    }

    fn node(&self) -> Node<Ports> {
        node(&self.folder, &self.prefix)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for file in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().starts_with(&self.prefix) {
                let _ = std::fs::remove_file(file.path());
            }
        }
    }
}

/// A node with its files in a folder of ours, and names that begin with a prefix of ours.
fn node(folder: &str, prefix: &str) -> Node<Ports> {
    set_log_level(LogLevel::Error);
    let mut config = Config::default();
    config.global.set_root_path(&Path::new(folder.as_bytes()).expect("a path"));
    config.global.prefix = FileName::new(format!("{prefix}_").as_bytes()).expect("a name");
    let mode = SignalHandlingMode::Disabled;
    NodeBuilder::new().config(&config).signal_handling_mode(mode).create().expect("a node")
}

fn service(name: &str) -> ServiceName {
    name.try_into().expect("a name")
}

/// Where one side sends, and where it receives.
struct Line {
    publisher: Publisher<Ports, [u8], ()>,
    subscriber: Subscriber<Ports, [u8], ()>,
    bytes: usize,
}

impl Line {
    fn open(node: &Node<Ports>, to: &str, from: &str, bytes: usize) -> Self {
        let open = |name: &str| {
            let builder = node.service_builder(&service(name)).publish_subscribe::<[u8]>();
            let builder = builder.max_publishers(1).max_subscribers(1).history_size(0).subscriber_max_buffer_size(1);
            builder.enable_safe_overflow(true).open_or_create().expect("a service")
        };
        let publisher = open(to).publisher_builder().initial_max_slice_len(bytes).create().expect("a publisher");
        let subscriber = open(from).subscriber_builder().create().expect("a subscriber");
        Self { publisher, subscriber, bytes }
    }

    fn send(&self) {
        let sample = self.publisher.loan_slice_uninit(self.bytes).expect("one is free");
        // SAFETY: bytes are valid whatever they are; as in its own benchmark, nobody reads them.
        let sample = unsafe { sample.assume_init() };
        sample.send().expect("sent");
    }

    fn has_received(&self) -> bool {
        let sample = self.subscriber.receive().expect("received");
        sample.is_some_and(|sample| black_box(sample.payload()).len() == self.bytes)
    }
}

/// How one side wakes the other, and waits.
struct Bell {
    notifier: Notifier<Ports>,
    listener: Listener<Ports>,
}

impl Bell {
    fn open(node: &Node<Ports>, to: &str, from: &str) -> Self {
        let open = |name: &str| {
            let builder = node.service_builder(&service(name)).event().max_notifiers(1).max_listeners(1);
            builder.open_or_create().expect("a service")
        };
        let notifier = open(to).notifier_builder().create().expect("a notifier");
        let listener = open(from).listener_builder().create().expect("a listener");
        Self { notifier, listener }
    }

    fn ring(&self) {
        self.notifier.notify().expect("notified");
    }

    fn wait(&self) {
        self.listener.blocking_wait(|_| ()).expect("woken");
    }

    /// Looks, and sleeps where there is nothing.
    fn wait_for<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            match look() {
                Some(found) => return found,
                None => self.wait(),
            }
        }
    }
}

/// Two processes with a node each. Dropped in this order: the files last.
struct Pair {
    node: Node<Ports>,
    other: Player,
    _files: Files,
}

impl Pair {
    fn start(stage: &Stage, part: &str, bytes: usize) -> Self {
        let files = Files::new(stage);
        let role = [ROLE, part, &files.folder, &files.prefix, &bytes.to_string()];
        let mut other = stage.beside(|| Player::role(&role));
        let node = files.node();
        assert_eq!(other.hear(), "ready");
        Self { node, other, _files: files }
    }

    /// Both do their parts so often: this one's is `once`.
    fn play(&mut self, times: u64, once: impl FnMut()) -> Duration {
        self.other.begin(times);
        let took = repeat(times, once);
        self.other.finish();
        took
    }
}

fn prepare(operation: Operation, stage: &Stage) -> Option<Prepared> {
    match operation {
        Operation::Create => {
            let files = Files::new(stage);
            let node = files.node();
            let line = Line::open(&node, "objects", "none", SMALL);
            let all = (line, node, files);
            Prepared::each("loan + write + drop", move || {
                let sample = all.0.publisher.loan_slice_uninit(SMALL).expect("one is free");
                let sample = sample.write_from_slice(black_box(&[7; SMALL]));
                assert!(black_box(&sample).payload()[SMALL - 1] == 7);
            })
        }
        Operation::HandOver { bytes, waiting: Waiting::Polling } => {
            let pair = Pair::start(stage, "hand", bytes);
            let mut all = (Line::open(&pair.node, "there", "back", bytes), pair);
            Prepared::new("publish-subscribe", move |times| {
                let (line, pair) = &mut all;
                pair.play(times, || {
                    line.send();
                    until(|| line.has_received().then_some(()));
                })
            })
        }
        Operation::HandOver { bytes, waiting: Waiting::Blocking } => {
            let pair = Pair::start(stage, "hand-blocking", bytes);
            let line = Line::open(&pair.node, "there", "back", bytes);
            let mut all = (line, Bell::open(&pair.node, "there", "back"), pair);
            Prepared::new("publish-subscribe + event", move |times| {
                let (line, bell, pair) = &mut all;
                pair.play(times, || {
                    line.send();
                    bell.ring();
                    bell.wait_for(|| line.has_received().then_some(()));
                })
            })
        }
        Operation::Call { waiting } => call(waiting, stage),
        _ => None,
    }
}

macro_rules! calls {
    ($node:expr) => {{
        let builder = $node.service_builder(&service("calls")).request_response::<f64, f64>();
        let builder = builder.max_clients(1).max_servers(1).max_active_requests_per_client(1);
        builder.max_response_buffer_size(1).open_or_create().expect("a service")
    }};
}

fn call(waiting: Waiting, stage: &Stage) -> Option<Prepared> {
    let blocks = waiting == Waiting::Blocking;
    let pair = Pair::start(stage, if blocks { "call-blocking" } else { "call" }, 0);
    let client = calls!(pair.node).client_builder().create().expect("a client");
    let bell = blocks.then(|| Bell::open(&pair.node, "there", "back"));
    let mut all = (client, bell, pair);
    Prepared::new(if blocks { "request-response + event" } else { "request-response" }, move |times| {
        let (client, bell, pair) = &mut all;
        pair.play(times, || {
            let request = client.loan_uninit().expect("one is free").write_payload(black_box(X));
            let pending = request.send().expect("sent");
            let look = || pending.receive().expect("received").map(|response| *response);
            bell.iter().for_each(Bell::ring);
            check(bell.as_ref().map_or_else(|| until(look), |bell| bell.wait_for(look)));
        })
    })
}

/// Plays the second process.
pub fn perform(role: &[&str]) {
    let [part, folder, prefix, bytes] = role else { panic!("it has no part {role:?}") };
    let (node, to, from) = (node(folder, prefix), "back", "there");
    match *part {
        "hand" | "hand-blocking" => {
            let line = Line::open(&node, to, from, bytes.parse().expect("a number"));
            let bell = part.ends_with("-blocking").then(|| Bell::open(&node, to, from));
            say("ready");
            follow(|times| {
                for _ in 0..times {
                    let look = || line.has_received().then_some(());
                    bell.as_ref().map_or_else(|| until(look), |bell| bell.wait_for(look));
                    line.send();
                    bell.iter().for_each(Bell::ring);
                }
            });
        }
        _ => {
            let server = calls!(node).server_builder().create().expect("a server");
            let bell = part.ends_with("-blocking").then(|| Bell::open(&node, to, from));
            say("ready");
            follow(|times| {
                for _ in 0..times {
                    let look = || server.receive().expect("received");
                    let request = bell.as_ref().map_or_else(|| until(look), |bell| bell.wait_for(look));
                    let response = request.loan_uninit().expect("one is free").write_payload(FACTOR * *request);
                    response.send().expect("sent");
                    bell.iter().for_each(Bell::ring);
                }
            });
        }
    }
}
