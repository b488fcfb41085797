//! Clients that send what no client of this library sends. Each gets an error or loses its own connection, with a line in the log, and harms nobody else.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use sharehold::Manager;

use super::{Broker, RunningBroker};
use crate::class::{List, MethodError};
use crate::control::authkey::{Authkey, Side};
use crate::control::message::{
    self, Announced, Attach, Create, GiveBack, HEAD, HandBack, Head, Join, LONGEST_BODY, Named, Prove, Publish,
    Request, Take, Welcome,
};
use crate::control::ring::{CallerEnd, Heard};
use crate::error::ErrorKind;
use crate::object::{Kind, Proxy};
use crate::region::layout::{ChannelHead, FINGERPRINT, VERSION};
use crate::region::{Generation, Rights, SessionIndex};
use crate::sync::Event;
use crate::sync::atomic::Ordering;
use crate::sys::frozen::Frozen;
use crate::sys::{place, socket};

/// A class whose one method takes a number.
#[derive(Debug)]
struct Scale;

#[expect(unsafe_code, reason = "the attribute puts classes into a list that the linker makes")]
mod class {
    use super::{MethodError, Scale};

    #[sharehold::class]
    impl Scale {
        pub fn new() -> Self {
            Self
        }

        pub fn double(&self, x: f64) -> Result<f64, MethodError> {
            Ok(2.0 * x)
        }
    }
}

use class::ScaleProxy;

/// Warnings of all threads: what an operator would see.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Recorder;

impl tracing::Subscriber for Recorder {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{field}={value:?} ");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        LOG.lock().unwrap_or_else(PoisonError::into_inner).push(text.0);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// A broker, and a client that must not notice anything.
struct Stage {
    name: String,
    healthy: ScaleProxy,
    manager: Manager,
    _broker: RunningBroker,
}

impl Stage {
    fn new(what: &str) -> Self {
        static RECORDING: Once = Once::new();
        RECORDING.call_once(|| tracing::subscriber::set_global_default(Recorder).expect("the only one"));
        let name = format!("hostile-{what}-{}", std::process::id());
        let broker = Broker::builder().name(&name).capacity(16 << 20).class::<Scale>().spawn().expect("spawned");
        let manager = Manager::connect(&name).expect("connected");
        let healthy = ScaleProxy::new(&manager).expect("created");
        Self { name, healthy, manager, _broker: broker }
    }

    /// A connection that says what it likes.
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(place::socket_path(&self.name)).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        stream
    }

    /// One that has attached, as every client does first.
    fn attached(&self) -> UnixStream {
        self.session().0
    }

    /// One that has attached, and how others join it.
    fn session(&self) -> (UnixStream, Join) {
        self.session_of(Rights::All)
    }

    fn session_of(&self, rights: Rights) -> (UnixStream, Join) {
        let mut stream = self.connect();
        let attach = Attach::with(rights);
        stream.write_all(&message::request(Request::Attach, 1, bytemuck::bytes_of(&attach))).expect("sent");
        let mut reply = [0; HEAD + size_of::<Welcome>()];
        stream.read_exact(&mut reply).expect("attached");
        let welcome: Welcome = message::fixed(&reply[HEAD..]).expect("welcome");
        (stream, Join { token: welcome.token, session: welcome.session, reserved: 0 })
    }

    /// A further connection of a session: its faults cost the session nothing.
    fn joined(&self, join: &Join) -> UnixStream {
        let mut stream = self.connect();
        assert_eq!(ask(&mut stream, &message::request(Request::Join, 1, bytemuck::bytes_of(join))), Said::Reply);
        stream
    }

    fn check(&self, after: &str) {
        assert_eq!(self.healthy.double(4.0).expect(after), 8.0, "{after}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Reply,
    Failure(ErrorKind),
    /// The connection was closed.
    Closed,
}

/// Sends bytes, and reads one answer.
fn ask(stream: &mut UnixStream, bytes: &[u8]) -> Said {
    // The other end may close before it has read all.
    let _ = stream.write_all(bytes);
    hear(stream)
}

fn hear(stream: &mut UnixStream) -> Said {
    let mut head = [0; HEAD];
    if stream.read_exact(&mut head).is_err() {
        return Said::Closed;
    }
    let (head, announced) = Head::parse(&head).expect("the broker sends messages");
    let mut body = vec![0; head.len as usize];
    stream.read_exact(&mut body).expect("the broker sends whole messages");
    match announced {
        Announced::Failure => Said::Failure(message::failed(&body).kind()),
        _ => Said::Reply,
    }
}

/// The body of a call.
fn call(object: u64, bundle: u64, name_len: u32, rest: &[u8]) -> Vec<u8> {
    [&object.to_le_bytes()[..], &bundle.to_le_bytes(), &name_len.to_le_bytes(), &[0; 4], rest].concat()
}

fn head(kind: u16, len: u32) -> Vec<u8> {
    [&b"SHLD"[..], &kind.to_le_bytes(), &[0; 2], &7_u64.to_le_bytes(), &len.to_le_bytes(), &[0; 4]].concat()
}

#[test]
fn a_message_that_is_none_costs_its_sender_the_connection_and_leaves_a_line_in_the_log() {
    let stage = Stage::new("messages");
    let cases: [(&str, Vec<u8>); 7] = [
        ("longer than", head(Request::Usage as u16, u32::MAX)),
        ("longer than", head(Request::Call as u16, LONGEST_BODY as u32 + 1)),
        ("there is no message", head(0, 0)),
        ("there is no message", head(999, 0)),
        ("a reply came", head(0x8000 | Request::Create as u16, 0)),
        ("does not start as one", vec![0xff; 4096]),
        ("does not start as one", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ];
    for (reason, bytes) in cases {
        for mut stream in [stage.connect(), stage.attached()] {
            let logged = LOG.lock().expect("whole").len();
            assert_eq!(ask(&mut stream, &bytes), Said::Closed, "{reason}");
            let log = LOG.lock().expect("whole");
            assert!(log[logged..].iter().any(|line| line.contains(reason)), "no '{reason}' in {:?}", &log[logged..]);
        }
        stage.check(reason);
    }
}

#[test]
fn what_comes_in_the_wrong_order_is_refused() {
    let stage = Stage::new("order");
    let usage = message::request(Request::Usage, 1, &[]);
    assert_eq!(ask(&mut stage.connect(), &usage), Said::Failure(ErrorKind::Protocol));
    let mut first = stage.connect();
    assert_eq!(
        ask(&mut first, &message::request(Request::Call, 1, &call(1, 0, 0, &[]))),
        Said::Failure(ErrorKind::Protocol)
    );
    let join = Join { token: 12345, session: 1, reserved: 0 };
    let join = message::request(Request::Join, 1, bytemuck::bytes_of(&join));
    assert_eq!(ask(&mut stage.connect(), &join), Said::Failure(ErrorKind::Protocol));
    let attach = Attach { fingerprint: FINGERPRINT ^ 1, version: VERSION, rights: 0 };
    let attach = message::request(Request::Attach, 1, bytemuck::bytes_of(&attach));
    assert_eq!(ask(&mut stage.connect(), &attach), Said::Failure(ErrorKind::LayoutMismatch));
    assert_eq!(ask(&mut stage.attached(), &attach), Said::Failure(ErrorKind::Protocol));
    stage.check("in the wrong order");
}

#[test]
fn only_what_was_proven_on_a_connection_counts_on_it() {
    let name = format!("hostile-unproven-{}", std::process::id());
    let key = Authkey::new("key");
    let _broker = Broker::builder().name(&name).capacity(1 << 20).authkey(&b"key"[..]).spawn().expect("spawned");
    let connect = || {
        let stream = UnixStream::connect(place::socket_path(&name)).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        stream
    };
    let challenged = |stream: &mut UnixStream| -> [u8; 32] {
        stream.write_all(&message::request(Request::Challenge, 1, &[])).expect("sent");
        let mut reply = [0; HEAD + 32];
        stream.read_exact(&mut reply).expect("a challenge");
        reply[HEAD..].try_into().expect("32 bytes")
    };
    let proof = |nonce: &[u8; 32]| {
        let prove = Prove { nonce: [7; 32], proof: key.prove(Side::Client, nonce, &[7; 32]) };
        message::request(Request::Prove, 2, bytemuck::bytes_of(&prove))
    };
    let attach = Attach::with(Rights::All);
    let attach = message::request(Request::Attach, 3, bytemuck::bytes_of(&attach));
    let back = HandBack::of(1, SessionIndex(1), Generation(1), Rights::All);
    let back = message::request(Request::HandBack, 3, bytemuck::bytes_of(&back));
    let (wrong, fault) = (Said::Failure(ErrorKind::WrongAuthkey), Said::Failure(ErrorKind::Protocol));
    // Each ends its connection.
    let refused = |stream: &mut UnixStream, bytes: &[u8], said: Said| {
        assert_eq!(ask(stream, bytes), said);
        assert_eq!(hear(stream), Said::Closed);
    };

    // Nothing proven; only asked for; proven without having asked.
    refused(&mut connect(), &attach, wrong);
    refused(&mut connect(), &back, wrong);
    let mut stream = connect();
    challenged(&mut stream);
    refused(&mut stream, &attach, wrong);
    refused(&mut connect(), &proof(&[0; 32]), fault);
    // What was good on another connection; what was good before, on this one.
    let (mut one, mut other) = (connect(), connect());
    let (first, second) = (challenged(&mut one), challenged(&mut other));
    assert_ne!(first, second);
    refused(&mut other, &proof(&first), wrong);
    let again = challenged(&mut one);
    assert_ne!(first, again);
    refused(&mut one, &proof(&first), wrong);
    // Once proven it can't be proven again with the same; then it may attach.
    let mut stream = connect();
    let nonce = challenged(&mut stream);
    assert_eq!(ask(&mut stream, &proof(&nonce)), Said::Reply);
    assert_eq!(ask(&mut stream, &attach), Said::Reply);
    let mut stream = connect();
    let nonce = challenged(&mut stream);
    assert_eq!(ask(&mut stream, &proof(&nonce)), Said::Reply);
    refused(&mut stream, &proof(&nonce), fault);
    // A false token is no way around it.
    let join = Join { token: 0, session: 1, reserved: 0 };
    refused(&mut connect(), &message::request(Request::Join, 1, bytemuck::bytes_of(&join)), fault);
}

#[test]
fn who_has_no_session_forks_none_and_who_claims_none_gets_none() {
    let stage = Stage::new("fork");
    let (mut parent, join) = stage.session();
    let fork = |join: &Join| message::request(Request::Fork, 1, bytemuck::bytes_of(join));
    for wrong in [Join { token: join.token ^ 1, ..join }, Join { session: 0, ..join }, Join { session: 99, ..join }] {
        assert_eq!(ask(&mut stage.connect(), &fork(&wrong)), Said::Failure(ErrorKind::Protocol), "{wrong:?}");
    }
    assert_eq!(ask(&mut parent, &fork(&join)), Said::Failure(ErrorKind::Protocol));
    let (_, reader) = stage.session_of(Rights::Read);
    assert_eq!(ask(&mut stage.connect(), &fork(&reader)), Said::Failure(ErrorKind::Protocol));
    // Claimed by one that was not forked, before it has said so in the region, and twice: it is the sender's, as the kernel has it.
    let (mut parent, join) = stage.session();
    let mut child = stage.connect();
    assert_eq!(ask(&mut child, &fork(&join)), Said::Reply);
    let usage = message::request(Request::Usage, 1, &[]);
    for stream in [&mut parent, &mut child] {
        stream.write_all(&message::request(Request::Claim, 0, &[]).repeat(2)).expect("sent");
        assert_eq!(ask(stream, &usage), Said::Reply);
    }
    drop((parent, child));
    stage.check("after false forks");
}

#[test]
fn a_session_that_only_reads_gets_no_more_whatever_it_says() {
    let stage = Stage::new("reader");
    let object = stage.healthy.id().to_bits();
    let (mut first, join) = stage.session_of(Rights::Read);
    let mut second = stage.joined(&join);
    for stream in [&mut first, &mut second] {
        for request in Request::ALL {
            let is_first = matches!(
                request,
                Request::Attach
                    | Request::Join
                    | Request::HandBack
                    | Request::Freeze
                    | Request::Bring
                    | Request::Challenge
                    | Request::Prove
                    | Request::Fork
            );
            if request.only_reads() || is_first {
                continue;
            }
            let said = ask(stream, &message::request(request, 1, &call(object, 0, 0, &[])));
            assert_eq!(said, Said::Failure(ErrorKind::ReadOnly), "{request:?}");
        }
    }
    // It may have counted and given back what there is, and no more than it has.
    let take = |object, has_ticket| Take { object, index: 0, serial: 0, has_ticket };
    let told =
        |stream: &mut UnixStream, take| ask(stream, &message::request(Request::Take, 1, bytemuck::bytes_of(&take)));
    assert_eq!(told(&mut first, take(object, 0)), Said::Reply);
    assert_eq!(told(&mut first, take(object, 1)), Said::Failure(ErrorKind::TicketSpent));
    assert_eq!(told(&mut first, take(object ^ 1 << 40, 0)), Said::Failure(ErrorKind::Gone));
    assert_eq!(told(&mut first, take(u64::MAX, 0)), Said::Failure(ErrorKind::Gone));
    for object in [object, object ^ 1 << 40, u64::MAX] {
        let back = GiveBack { object, count: u64::MAX };
        assert_eq!(ask(&mut first, &message::request(Request::GiveBack, 1, bytemuck::bytes_of(&back))), Said::Reply);
    }
    // One that counts itself has nothing counted.
    let (mut other, _) = stage.session();
    assert_eq!(told(&mut other, take(object, 0)), Said::Failure(ErrorKind::Protocol));
    stage.check("after readers");
}

#[test]
fn only_bytes_that_nobody_can_change_are_taken_for_frozen() {
    let stage = Stage::new("frozen");
    let (_first, join) = stage.session();
    let (_reader, join_reader) = stage.session_of(Rights::Read);
    let frozen = || Frozen::write("hostile", &[7; 64]).expect("frozen");
    let open = || {
        let fd = rustix::fs::memfd_create("hostile", rustix::fs::MemfdFlags::ALLOW_SEALING).expect("a memfd");
        rustix::fs::ftruncate(&fd, 64).expect("sized");
        fd
    };
    let tried = |join: &Join, kind: Kind, len: u64, file: Option<std::os::fd::OwnedFd>| {
        let create = Create {
            kind: kind as u32,
            type_name: "u8".into(),
            type_fingerprint: 1,
            element_size: 1,
            element_align: 1,
            len,
            align: 1,
        };
        let body = [bytemuck::bytes_of(join), &message::archive(&create).expect("small")].concat();
        let bytes = message::request(Request::Freeze, 1, &body);
        let mut stream = stage.connect();
        match file {
            Some(file) => {
                let sent = socket::send_now_with(&stream, &bytes, file.as_fd()).expect("sent");
                ask(&mut stream, &bytes[sent..])
            }
            None => ask(&mut stream, &bytes),
        }
    };
    let files = || {
        std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten().filter(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("memfd:hostile"))
        })
    };
    assert_eq!(tried(&join, Kind::Frozen, 64, Some(open())), Said::Failure(ErrorKind::Refused));
    assert_eq!(tried(&join, Kind::Frozen, 65, Some(frozen())), Said::Failure(ErrorKind::Refused));
    assert_eq!(tried(&join, Kind::Array, 64, Some(frozen())), Said::Failure(ErrorKind::InvalidArgument));
    assert_eq!(tried(&join, Kind::Frozen, 64, None), Said::Failure(ErrorKind::Protocol));
    assert_eq!(tried(&join_reader, Kind::Frozen, 64, Some(frozen())), Said::Failure(ErrorKind::ReadOnly));
    let nobody = Join { token: join.token ^ 1, ..join };
    assert_eq!(tried(&nobody, Kind::Frozen, 64, Some(frozen())), Said::Failure(ErrorKind::Protocol));
    // Granted, and never claimed: the connection is closed.
    assert_eq!(tried(&join, Kind::Frozen, 64, Some(frozen())), Said::Reply);
    // For an object that there is, something else of its length, and nothing; for one that there is not, something.
    let object = stage.manager.freeze(&[7_u8; 64]).expect("room").id().to_bits();
    let kept = stage.manager.freeze(&[7_u8; 64]).expect("room");
    let brought = |object: u64, file: Option<std::os::fd::OwnedFd>| {
        let body = [bytemuck::bytes_of(&join), &object.to_le_bytes()].concat();
        let bytes = message::request(Request::Bring, 1, &body);
        let mut stream = stage.connect();
        let sent = file.map_or(0, |file| socket::send_now_with(&stream, &bytes, file.as_fd()).expect("sent"));
        ask(&mut stream, &bytes[sent..])
    };
    for file in [open(), frozen()] {
        assert_eq!(brought(kept.id().to_bits(), Some(file)), Said::Failure(ErrorKind::Refused));
    }
    assert_eq!(brought(kept.id().to_bits(), None), Said::Failure(ErrorKind::Protocol));
    assert_eq!(brought(object, Some(frozen())), Said::Failure(ErrorKind::Gone));
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while files().count() > 0 {
        assert!(std::time::Instant::now() < until, "a file that came is kept open");
        std::thread::yield_now();
    }
    stage.check("after what was not frozen");
}

#[test]
fn a_body_that_is_cut_off_is_waited_for_and_harms_nobody() {
    let stage = Stage::new("cut");
    let whole = message::request(Request::Call, 1, &call(stage.healthy.id().to_bits(), 0, 6, b"double\x91\x02"));
    let mut waiting = Vec::new();
    for end in 0..whole.len() {
        let mut stream = stage.attached();
        stream.write_all(&whole[..end]).expect("sent");
        waiting.push((stream, end));
        stage.check("cut off");
    }
    for (mut stream, end) in waiting {
        assert_eq!(ask(&mut stream, &whole[end..]), Said::Reply, "the rest of {end}");
    }
}

#[test]
fn calls_with_false_names_ids_and_arguments_are_errors_and_the_connection_lives() {
    let stage = Stage::new("calls");
    let object = stage.healthy.id().to_bits();
    let open = stage.manager.array(&[0_u8; 64]).expect("created");
    let value = stage.manager.value(1_u8).expect("created");
    let long = "x".repeat(8000);
    let cases: Vec<(Request, Vec<u8>, ErrorKind)> = vec![
        (Request::Call, call(object, 0, 6, b"double\x91\xa1x"), ErrorKind::TypeMismatch),
        (Request::Call, call(object, 0, 6, b"double\x91"), ErrorKind::TypeMismatch),
        (Request::Call, call(object, 0, 6, b"double\xdd\xff\xff\xff\xff"), ErrorKind::TypeMismatch),
        (Request::Call, call(object, 0, 6, b"double"), ErrorKind::TypeMismatch),
        (
            Request::Call,
            call(object, 0, 6, b"double\x91\xd7\x01\xff\xff\xff\xff\xff\xff\xff\xff"),
            ErrorKind::TypeMismatch,
        ),
        (Request::Call, call(object, 0, 6, b"treble\x91\x02"), ErrorKind::MethodNotFound),
        (Request::Call, call(object, 0, 0, b""), ErrorKind::MethodNotFound),
        (Request::Call, call(object ^ 1 << 40, 0, 6, b"double\x91\x02"), ErrorKind::Gone),
        (Request::Call, call(u64::MAX, 0, 6, b"double\x91\x02"), ErrorKind::Gone),
        (Request::Call, call(0, 0, 6, b"double\x91\x02"), ErrorKind::Gone),
        (Request::Call, call(value.id().to_bits(), 0, 6, b"double\x91\x02"), ErrorKind::InvalidArgument),
        (Request::Call, call(object, u64::MAX, 6, b"double"), ErrorKind::Gone),
        (Request::Call, call(object, open.id().to_bits(), 6, b"double"), ErrorKind::NotSealed),
        (Request::Call, call(object, value.id().to_bits(), 6, b"double"), ErrorKind::TypeMismatch),
        (Request::New, call(0, 0, 4, b"Scal"), ErrorKind::ClassNotFound),
        (Request::New, call(0, 0, 255, long.as_bytes()), ErrorKind::ClassNotFound),
        (Request::New, call(0, 0, 4, b"List\x91\x02"), ErrorKind::TypeMismatch),
        (Request::Describe, call(u64::MAX, 0, 0, b""), ErrorKind::Gone),
    ];
    let mut stream = stage.attached();
    for (request, body, expected) in cases {
        let shown = format!("{request:?} {}", body.escape_ascii());
        assert_eq!(ask(&mut stream, &message::request(request, 1, &body)), Said::Failure(expected), "{shown}");
        stage.check(&shown);
    }
    let broken: [Vec<u8>; 5] = [
        call(object, 0, 1_000_000, b"double"),
        call(object, 0, u32::MAX, b"double"),
        call(object, 0, 300, long.as_bytes()),
        call(object, 0, 4, b"\xff\xff\xff\xff"),
        vec![1, 2, 3],
    ];
    for body in broken {
        let mut stream = stage.attached();
        let shown = body.escape_ascii().to_string();
        assert_eq!(
            ask(&mut stream, &message::request(Request::Call, 1, &body)),
            Said::Failure(ErrorKind::Protocol),
            "{shown}"
        );
        assert_eq!(hear(&mut stream), Said::Closed, "{shown}");
        stage.check(&shown);
    }
    assert_eq!(stage.manager.number_of_objects().expect("a number"), 3);
}

#[test]
fn a_hosted_object_without_a_class_can_not_be_created() {
    let stage = Stage::new("bare");
    let create = Create {
        kind: Kind::Hosted as u32,
        type_name: "Scale".into(),
        type_fingerprint: 0,
        element_size: 0,
        element_align: 1,
        len: 0,
        align: 1,
    };
    let body = message::archive(&create).expect("small");
    let said = ask(&mut stage.attached(), &message::request(Request::Create, 1, &body));
    assert_eq!(said, Said::Failure(ErrorKind::InvalidArgument));
    stage.check("a bare hosted object");
}

#[test]
fn a_channel_that_is_no_ring_can_not_be_created() {
    let stage = Stage::new("no-ring");
    let entries = |bytes: u64| {
        let create = Create {
            kind: Kind::Channel as u32,
            type_name: "Value<u64>".into(),
            type_fingerprint: 1,
            element_size: 8,
            element_align: 8,
            len: bytes,
            align: 128,
        };
        let body = message::archive(&create).expect("small");
        ask(&mut stage.attached(), &message::request(Request::Create, 1, &body))
    };
    let head = size_of::<ChannelHead>() as u64;
    for bytes in [0, 8, head - 8, head, head + 4, head + 24, u64::MAX] {
        assert_eq!(entries(bytes), Said::Failure(ErrorKind::InvalidArgument), "{bytes} bytes");
    }
    assert_eq!(entries(head + 32), Said::Reply);
    // It is never claimed and never written: nothing is looked for in it.
    stage.check("channels that are none");
}

#[test]
fn a_client_that_does_not_read_its_results_loses_nothing_but_itself() {
    let stage = Stage::new("unread");
    let list = List::new(&stage.manager).expect("created");
    list.push(List::new(&stage.manager).expect("created")).expect("pushed");
    let mut stream = stage.attached();
    // Each result brings a reference, of which nobody takes any.
    let body = call(list.id().to_bits(), 0, 6, b"to_vec\x90");
    for request in 0..100 {
        stream.write_all(&message::request(Request::Call, request, &body)).expect("sent");
    }
    // Grants that it does not claim are the same.
    let create = Create {
        kind: Kind::Value as u32,
        type_name: "u64".into(),
        type_fingerprint: 1,
        element_size: 8,
        element_align: 8,
        len: 16,
        align: 8,
    };
    let create = message::archive(&create).expect("small");
    for request in 0..100 {
        stream.write_all(&message::request(Request::Create, request, &create)).expect("sent");
    }
    for _ in 0..200 {
        assert_eq!(hear(&mut stream), Said::Reply);
    }
    drop(stream);
    list.clear().expect("cleared");
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while stage.manager.number_of_objects().expect("a number") != 2
        || !stage.manager.tickets().expect("listed").is_empty()
    {
        assert!(std::time::Instant::now() < until, "a result that was not read holds its references");
        std::thread::yield_now();
    }
    let used = stage.manager.stats().expect("stats").heap_used;
    assert_eq!(used, 0, "a grant that was not claimed holds its memory");
}

impl Stage {
    /// A connection with a call ring, at which a thread attends.
    fn ringed(&self, join: &Join) -> (UnixStream, CallerEnd) {
        let mut stream = self.joined(join);
        stream.write_all(&message::request(Request::Ring, 1, &[])).expect("sent");
        let mut reply = [0; HEAD];
        socket::wait_readable(&stream, None).expect("answered");
        let (_, fd) = socket::receive_now_with(&stream, &mut reply).expect("answered");
        let ring = CallerEnd::received(fd.expect("a ring")).expect("sealed");
        assert_eq!(ask(&mut stream, &self.doubling(2)), Said::Reply);
        (stream, ring)
    }

    fn doubling(&self, id: u64) -> Vec<u8> {
        message::request(Request::Call, id, &self.doubling_body())
    }

    fn doubling_body(&self) -> Vec<u8> {
        call(self.healthy.id().to_bits(), 0, 6, b"double\x91\xcb\x40\0\0\0\0\0\0\0")
    }
}

#[test]
fn rubbish_in_a_call_ring_costs_its_sender_the_connection_and_nobody_else_anything() {
    let stage = Stage::new("ring");
    let (_first, join) = stage.session();
    // One that is well behaved, as a control.
    let (_stream, mut ring) = stage.ringed(&join);
    let mut answer = Vec::new();
    for _ in 0..3 {
        assert!(ring.post(Request::Call, &[&stage.doubling_body()]));
        let heard = ring.hear(Duration::from_secs(20), &mut answer).expect("whole");
        assert_eq!(heard, Heard::Answer(Announced::Reply(Request::Call)));
    }
    let cases: [(&str, Request, Vec<u8>); 5] = [
        ("the name in a call is cut off", Request::Call, vec![0xff; 300]),
        ("a call is cut off", Request::Call, stage.doubling_body()[..23].to_vec()),
        ("a call is cut off", Request::New, Vec::new()),
        ("is not a call", Request::Usage, Vec::new()),
        ("is not a call", Request::Attach, stage.doubling_body()),
    ];
    for (reason, kind, body) in cases {
        let (mut stream, mut ring) = stage.ringed(&join);
        let logged = LOG.lock().expect("whole").len();
        assert!(ring.post(kind, &[&body]));
        assert_eq!(hear(&mut stream), Said::Closed, "{reason}");
        let log = LOG.lock().expect("whole");
        assert!(log[logged..].iter().any(|line| line.contains(reason)), "no '{reason}' in {:?}", &log[logged..]);
        drop(log);
        stage.check(reason);
    }
    // A length that no body has, and numbers of no request.
    for head in [u32::MAX, (Request::Call as u32) << 24 | 0xff_ffff, 0, 255 << 24, 29 << 24] {
        let (mut stream, ring) = stage.ringed(&join);
        let words = ring.words();
        words[3].store(head, Ordering::Relaxed);
        words[0].store(9, Ordering::Release);
        Event::new(&words[2]).wake();
        assert_eq!(hear(&mut stream), Said::Closed, "{head:#x}");
    }
    // A second ring; the end told by nobody but the ring.
    let (mut stream, mut ring) = stage.ringed(&join);
    stream.write_all(&message::request(Request::Ring, 9, &[])).expect("sent");
    ring.point_to_socket();
    assert_eq!(hear(&mut stream), Said::Closed);
    let (mut stream, ring) = stage.ringed(&join);
    drop(ring);
    assert_eq!(hear(&mut stream), Said::Closed);
    stage.check("after false turns");
    // Anything anywhere, also while the other end reads.
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    for _ in 0..60 {
        let (_stream, mut ring) = stage.ringed(&join);
        for _ in 0..40 {
            let posts = random.next_u64().is_multiple_of(2) && ring.post(Request::Call, &[&stage.doubling_body()]);
            let words = ring.words();
            for _ in 0..random.next_u64() % 4 {
                // Mostly where the words of the two halves are.
                let place = random.next_u64() as usize % if posts { words.len() } else { 8 };
                words[place].store(random.next_u64() as u32 >> (random.next_u64() % 32), Ordering::Relaxed);
            }
            Event::new(&words[2]).wake();
        }
        stage.check("after rubbish");
    }
}

/// Messages that are almost right: each byte of a good one may be another, and some are missing or too many.
#[test]
fn ten_thousand_broken_messages_never_stop_the_broker() {
    let stage = Stage::new("fuzz");
    let list = List::new(&stage.manager).expect("created");
    let object = list.id().to_bits();
    let publish = message::archive(&Publish { name: "a".into(), object, replace: true }).expect("small");
    let named = message::archive(&Named { name: "a".into(), millis: 0 }).expect("small");
    let good: Vec<Vec<u8>> = vec![
        message::request(Request::Call, 1, &call(object, 0, 4, b"push\x91\x93\x01\xa3abc\xc4\x02xy")),
        message::request(Request::Call, 2, &call(object, 0, 3, b"get\x91\xff")),
        message::request(Request::Call, 3, &call(object, 0, 6, b"extend\x91\x92\xcb\0\0\0\0\0\0\0\0\x81\x01\x02")),
        message::request(Request::New, 4, &call(0, 0, 5, b"Scale\x90")),
        message::request(Request::Describe, 5, &call(object, 0, 0, b"")),
        message::request(Request::Classes, 6, &call(0, 0, 0, b"")),
        message::request(Request::Collect, 7, &call(0, 0, 0, b"")),
        message::request(Request::Publish, 8, &publish),
        message::request(Request::Wait, 9, &named),
        message::request(Request::Audit, 10, &[]),
        message::request(Request::ClearPoison, 11, &object.to_le_bytes()),
        message::request(Request::Usage, 12, &[]),
    ];
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut below = move |limit: usize| random.next_u64() as usize % limit;
    let (first, join) = stage.session();
    let mut stream = stage.joined(&join);
    for round in 0..10_000 {
        let mut bytes = good[below(good.len())].clone();
        for _ in 0..below(4) {
            let place = below(bytes.len());
            match below(4) {
                0 => bytes[place] = below(256) as u8,
                1 => bytes[place] ^= 1 << below(8),
                2 => drop(bytes.remove(place)),
                _ => bytes.insert(place, below(256) as u8),
            }
            // A broken number may say "shut down", which is no fault.
            if bytes.get(4) == Some(&(Request::Shutdown as u8)) && bytes.get(5) == Some(&0) {
                bytes[4] = 0;
            }
        }
        if stream.write_all(&bytes).is_err() || round % 16 == 15 {
            stream = stage.joined(&join);
        }
        if round % 500 == 0 {
            stage.check("broken messages");
        }
    }
    drop((stream, first));
    stage.check("all broken messages");
    assert!(list.len().is_ok());
}
