//! What strangers at a broker's door cost those who are in: connections that say nothing, that say a byte a second, and a thousand at once.
//!
//! Two brokers on one core are asked in turn, one of which has the strangers; these have a core of their own. Results: `docs/benchmarks.md`.
#![allow(missing_docs, clippy::expect_used, reason = "a benchmark that can't go on fails")]

mod common;

use std::fs;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use common::cores::{affinity, pin, set_affinity};
use common::echo::{self, ROLE};
use common::report::{Aim, Report, configured, repeat};
use criterion::Criterion;
use sharehold::{Array, Broker, Error, List, Manager, Value};

/// As many as a broker lets stand at its door.
const CROWD: usize = 256;
const THOUSAND: usize = 1000;
const SECOND: Duration = Duration::from_secs(1);

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return perform(&role.split('\n').collect::<Vec<_>>());
    }
    let (mut criterion, _) = configured();
    let report = Report::default();
    let folder = std::env::temp_dir().join(format!("sharehold-strangers-{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&folder).expect("a folder");
    measure(&report, &mut criterion, &folder);
    fs::remove_dir_all(&folder).expect("ours");
    criterion.final_summary();
    report.print();
}

fn measure(report: &Report, criterion: &mut Criterion, folder: &Path) {
    let mut group = criterion.benchmark_group("strangers");
    let (quiet, crowded) = (Served::start(folder, "quiet"), Served::start(folder, "crowded"));
    let all = affinity(None);
    for pid in [None, Some(quiet.child.id()), Some(crowded.child.id())] {
        pin(pid, 0);
    }
    let kinds = [
        ("silent", "256 that say nothing", Aim::Ratio(1.1)),
        ("slow", "256 that say a byte a second", Aim::Ratio(1.1)),
        ("thousand", "1,000 at once, each second", Aim::Ratio(1.1)),
        ("flood", "for comparison: one after the other without a pause", Aim::None),
    ];
    for (role, what, aim) in kinds {
        let mut strangers = echo::start(&format!("{role}\n{}", crowded.socket.display()), Stdio::piped());
        pin(Some(strangers.id()), 1);
        std::thread::sleep(SECOND / 10);
        // A message that the broker's loop answers, as small objects need none.
        report.beside(
            &mut group,
            &format!("64 KB `array`, drop; {what}"),
            aim,
            |runs| repeat(runs, || drop(black_box(array(&quiet.manager)))),
            |runs| repeat(runs, || drop(black_box(array(&crowded.manager)))),
        );
        report.beside(
            &mut group,
            &format!("call `len`; {what}"),
            aim,
            |runs| repeat(runs, || _ = black_box(quiet.list.len().expect("called"))),
            |runs| repeat(runs, || _ = black_box(crowded.list.len().expect("called"))),
        );
        report.beside(
            &mut group,
            &format!("`lookup`, drop; {what}"),
            aim,
            |runs| repeat(runs, || drop(quiet.manager.lookup::<Value<u64>>("value").expect("there"))),
            |runs| repeat(runs, || drop(crowded.manager.lookup::<Value<u64>>("value").expect("there"))),
        );
        strangers.kill().expect("ours");
        strangers.wait().expect("ours");
    }
    set_affinity(None, &all);
    group.finish();
}

fn array(manager: &Manager) -> Array<u8> {
    manager.array_with(1 << 16, |_| Ok::<(), Error>(())).expect("room")
}

/// A broker in a process of its own, with something to ask for.
struct Served {
    child: Child,
    socket: PathBuf,
    manager: Manager,
    list: List,
    _value: Value<u64>,
}

impl Served {
    fn start(folder: &Path, name: &str) -> Self {
        let child = echo::start(&format!("serve\n{}\n{name}", folder.display()), Stdio::piped());
        let place = folder.join(name).display().to_string();
        let manager = Manager::connect_within(&place, 10 * SECOND).expect("it serves");
        let (list, value) = (List::new(&manager).expect("created"), manager.value(1_u64).expect("room"));
        manager.publish("value", &value).expect("published");
        Self { child, socket: folder.join(format!("{name}.sock")), manager, list, _value: value }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.manager.shutdown();
        let _ = self.child.wait();
    }
}

fn perform(role: &[&str]) {
    if let ["serve", folder, _] = role {
        #[expect(unsafe_code, reason = "the environment is changed before any other thread is there")]
        // SAFETY: the first thing that this process does.
        unsafe {
            std::env::set_var("SHAREHOLD_DIR", folder);
        }
    }
    // Ends with the one that has started it, however that ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    match role {
        ["serve", _, name] => Broker::builder().name(*name).capacity(16 << 20).serve().expect("served"),
        ["silent", socket] => crowd(socket, |_| true),
        ["slow", socket] => crowd(socket, |mut stream| stream.write_all(b"S").is_ok()),
        ["thousand", socket] => loop {
            let all: Vec<UnixStream> = (0..THOUSAND).filter_map(|_| UnixStream::connect(socket).ok()).collect();
            std::thread::sleep(SECOND);
            drop(all);
        },
        ["flood", socket] => loop {
            drop(UnixStream::connect(socket));
        },
        _ => std::process::exit(2),
    }
}

/// Keeps so many connections, does something with each every second, and opens others for those that were closed.
fn crowd(socket: &str, mut each: impl FnMut(&UnixStream) -> bool) {
    let mut all: Vec<UnixStream> = Vec::new();
    loop {
        all.retain(|stream| each(stream) && !is_closed(stream));
        all.extend((all.len()..CROWD).filter_map(|_| UnixStream::connect(socket).ok()));
        std::thread::sleep(SECOND);
    }
}

fn is_closed(mut stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    // What the broker says is that it closes.
    !matches!(stream.read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
