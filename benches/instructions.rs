//! How many instructions the hot paths take: a figure that does not drift with the machine's load, as times do.
//!
//! This program runs itself under callgrind, beside a broker that runs freely: what is counted is this process's side. Each operation is done in loops of two lengths, so that what is done
//! once falls away, and less an empty loop. The figures are compared with `benches/instructions.json`; one that has grown by more than a twentieth is an error.
//!
//! ```sh
//! cargo bench --no-default-features --bench instructions              # compare
//! cargo bench --no-default-features --bench instructions -- --bless   # write them anew
//! ```
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark that can't go on fails, and what it finds it prints"
)]

mod common;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use common::echo::ROLE;
use common::magnifier::{Magnifier, MagnifierProxy};
use serde_json::{Value as Json, json};
use sharehold::{Archive, Array, Channel, List, Manager, Proxy, Ticket, TicketOptions, Value};

/// Two loops, whose difference is a multiple of any batch in which things are done.
const LOOPS: [usize; 2] = [128, 640];
/// Each loop is counted so often, and the least counts: what comes now and then is none of the operation's.
const REPEATS: usize = 3;
/// A figure may grow by so much over the committed one.
const GROWTH: f64 = 0.05;
/// The same where the figures are of another compiler, which may have its own way with small things.
const GROWTH_ELSEWHERE: f64 = 0.25;
/// The same of what waits for an answer, by the beginning of its name: it looks for one before it sleeps, and not always as often.
const GROWTH_OF_WAITING: f64 = 0.25;
const WAITING: &str = "call";
const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.json");
/// What the operations are counted less.
const EMPTY: &str = "empty loop";

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        count(&role);
        return ExitCode::SUCCESS;
    }
    let asked = |what: &str| std::env::args().any(|argument| argument == what);
    // All on one core, where nobody looks for an answer for long.
    common::cores::pin(None, 0);
    // A name of the same length each time: it is in the tickets.
    let name = format!("instructions-{:010}", std::process::id());
    let manager = Manager::builder().name(name).class::<Magnifier>().tickets(1 << 16).start().expect("a broker");
    if !asked("--bench") {
        // Not by `cargo bench`: everything once, to see that it works.
        count(manager.name());
        return ExitCode::SUCCESS;
    }
    let Some(counted) = counted(manager.name()) else {
        println!("skipped: valgrind is not installed");
        return ExitCode::SUCCESS;
    };
    if asked("--bless") {
        let figures = json!({ "rustc": rustc(), "arch": std::env::consts::ARCH, "instructions": counted });
        std::fs::write(FIGURES, format!("{figures:#}\n")).expect("written");
        println!("{} figures written", counted.len());
        return ExitCode::SUCCESS;
    }
    compare(&counted)
}

/// The compiler, without the hash of its commit.
fn rustc() -> String {
    let said =
        Command::new("rustc").arg("-V").output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    said.unwrap_or_default().split_whitespace().nth(1).unwrap_or("unknown").to_owned()
}

/// Says what has become more and what less, and whether that is in order.
fn compare(counted: &BTreeMap<String, f64>) -> ExitCode {
    let text = std::fs::read_to_string(FIGURES).expect("the committed figures");
    let committed: Json = serde_json::from_str(&text).expect("JSON");
    let (theirs, ours) = (committed["rustc"].as_str().unwrap_or_default(), rustc());
    if committed["arch"] != std::env::consts::ARCH {
        println!("skipped: the figures are of {}, this is {}", committed["arch"], std::env::consts::ARCH);
        return ExitCode::SUCCESS;
    }
    let minor = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    let most = if minor(theirs) == minor(&ours) { GROWTH } else { GROWTH_ELSEWHERE };
    if theirs != ours {
        println!("the figures are of rustc {theirs}, this is {ours}: growth is an error from {:.0} % on", most * 100.0);
    }
    let mut failed = Vec::new();
    println!("| instructions | counted | committed | change |\n|---|---:|---:|---:|");
    for (what, now) in counted {
        let before = committed["instructions"][what].as_f64();
        let change = before.map(|before| now / before - 1.0);
        let shown = change.map_or("new".into(), |change| format!("{:+.1} %", change * 100.0));
        println!("| {what} | {now:.1} | {} | {shown} |", before.map_or("-".into(), |before| format!("{before:.1}")));
        let most = if what.starts_with(WAITING) { most.max(GROWTH_OF_WAITING) } else { most };
        if change.is_none_or(|change| change > most) {
            failed.push(what.as_str());
        }
    }
    let known = committed["instructions"].as_object().expect("a map of figures");
    failed.extend(known.keys().filter(|what| !counted.contains_key(*what)).map(String::as_str));
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nmore over the committed figure than may be, or not in both lists: {}", failed.join(", "));
    println!("if that is meant to be: just instructions --bless");
    ExitCode::FAILURE
}

// --- under callgrind ---

/// The instructions of each operation. None: there is no valgrind.
fn counted(broker: &str) -> Option<BTreeMap<String, f64>> {
    Command::new("valgrind").arg("--version").output().ok()?;
    let folder = Folder::new();
    let out = folder.0.join("out");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--combine-dumps=no"])
        .args(["--toggle-collect=instructions::counted_loop", "--dump-after=instructions::counted_loop"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().expect("this program"))
        .env(ROLE, broker)
        .status();
    assert!(status.expect("valgrind runs").success(), "the operations failed under valgrind");
    // A file a loop, in their order.
    let mut number = 0;
    let mut next = || {
        number += 1;
        total(&PathBuf::from(format!("{}.{number}", out.display())))
    };
    let mut each: Vec<(&str, f64)> = Vec::new();
    for (what, _) in OPERATIONS {
        let [short, long] = LOOPS.map(|_| (0..REPEATS).map(|_| next()).min().expect("some"));
        each.push((what, (long - short) as f64 / (LOOPS[1] - LOOPS[0]) as f64));
    }
    let (empty, operations) = each.split_first().expect("the empty loop is the first");
    Some(operations.iter().map(|(what, all)| ((*what).to_owned(), ((all - empty.1) * 10.0).round() / 10.0)).collect())
}

/// What callgrind says of a loop.
fn total(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).expect("a file for each loop");
    assert!(text.contains("Trigger: --dump-after"), "{} is of something else", file.display());
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
    line.trim().parse().expect("a number")
}

/// Goes with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("sharehold-instructions-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder of our own");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// --- what is counted ---

/// Callgrind counts in here, and nowhere else.
#[inline(never)]
fn counted_loop(times: usize, work: &mut dyn FnMut()) {
    for _ in 0..black_box(times) {
        work();
    }
    black_box(());
}

fn count(broker: &str) {
    let manager = Manager::connect(broker).expect("it serves");
    for (_, prepare) in OPERATIONS {
        for times in LOOPS {
            for _ in 0..REPEATS {
                let mut work = prepare(&manager, times);
                counted_loop(times, &mut work);
            }
        }
    }
}

type Work = Box<dyn FnMut()>;
/// Gets ready to do it so often.
type Prepare = fn(&Manager, usize) -> Work;

/// What is looked up and taken up.
const NAME: &str = "counted";
const SMALL: [u8; 64] = [7; 64];

const OPERATIONS: [(&str, Prepare); 19] = [
    (EMPTY, |_, _| Box::new(|| ())),
    ("value: clone + drop", |manager, _| {
        let held = value(manager);
        Box::new(move || drop(black_box(black_box(&held).clone())))
    }),
    ("value: get", |manager, _| {
        let held = value(manager);
        Box::new(move || _ = black_box(black_box(&held).get().expect("whole")))
    }),
    ("value: set", |manager, _| {
        let held = value(manager);
        Box::new(move || black_box(&held).set(black_box(2)).expect("not sealed"))
    }),
    ("value: update", |manager, _| {
        let held = value(manager);
        Box::new(move || black_box(&held).update(|value| *value += 1).expect("not sealed"))
    }),
    ("array: read guard", |manager, _| {
        let held = manager.array(&SMALL).expect("room");
        Box::new(move || _ = black_box(&held).read().expect("whole")[0])
    }),
    ("array: write guard", |manager, _| {
        let held = manager.array(&SMALL).expect("room");
        Box::new(move || black_box(&held).write().expect("whole")[0] = 1)
    }),
    ("array: seal", |manager, times| {
        let mut all: Vec<Array<u8>> = (0..times).map(|_| manager.array(&SMALL).expect("room")).collect();
        let mut next = 0;
        Box::new(move || {
            black_box(all[next].seal().expect("whole"));
            next += 1;
            // They are dropped after they are counted.
            black_box(&mut all);
        })
    }),
    ("array: sealed", |manager, _| {
        let held = sealed(manager);
        Box::new(move || _ = black_box(black_box(&held).sealed().expect("sealed")))
    }),
    ("archive: get", |manager, _| {
        let held: Archive<Vec<u64>> = manager.archive(&vec![1, 2, 3]).expect("room");
        Box::new(move || _ = black_box(black_box(&held).get().expect("valid")))
    }),
    ("ticket + redeem + drop", |manager, _| {
        let (held, manager) = (value(manager), manager.clone());
        Box::new(move || {
            let ticket = held.ticket().expect("a free ticket");
            drop(black_box(manager.redeem::<Value<u64>>(black_box(&ticket)).expect("one use")));
        })
    }),
    ("redeem + drop of what is not held", |manager, _| {
        let options = TicketOptions { uses: 10_000, deadline: None };
        let (ticket, manager) = (value(manager).ticket_with(options).expect("a free ticket"), manager.clone());
        Box::new(move || drop(black_box(manager.redeem::<Value<u64>>(black_box(&ticket)).expect("uses are left"))))
    }),
    ("ticket: to text and back", |manager, _| {
        let held = value(manager);
        let ticket = held.ticket_with(TicketOptions { uses: 10_000, deadline: None }).expect("a free ticket");
        Box::new(move || {
            let text = black_box(&ticket).to_string();
            black_box(text.parse::<Ticket>().expect("a ticket"));
        })
    }),
    ("lookup + drop of what is not held", |manager, _| {
        manager.publish_over(NAME, &value(manager)).expect("published");
        let manager = manager.clone();
        Box::new(move || drop(black_box(manager.lookup::<Value<u64>>(black_box(NAME)).expect("published"))))
    }),
    ("weak: upgrade + drop", |manager, _| {
        let held = value(manager);
        let weak = held.downgrade();
        Box::new(move || {
            let _alive = &held;
            drop(black_box(black_box(&weak).upgrade().expect("alive")));
        })
    }),
    ("create + seal + get + drop, 64 B", |manager, _| {
        let manager = manager.clone();
        Box::new(move || {
            let object = sealed(&manager);
            black_box(object.downgrade().upgrade().expect("alive"));
        })
    }),
    ("channel: send + receive", |manager, _| {
        let channel: Channel<Value<u64>> = manager.channel(4).expect("room");
        let (sender, receiver) = (channel.sender().expect("free"), channel.receiver().expect("free"));
        let mut held = Some(value(manager));
        Box::new(move || {
            sender.send(held.take().expect("it came back")).expect("sent");
            held = Some(black_box(receiver.recv().expect("received")));
        })
    }),
    ("call of a hosted object", |manager, _| {
        let lens = MagnifierProxy::new(manager, 2.0).expect("created");
        Box::new(move || _ = black_box(lens.scale(black_box(1.5)).expect("called")))
    }),
    ("call with arguments that are encoded", |manager, _| {
        let list = List::new(manager).expect("created");
        list.push("first").expect("pushed");
        Box::new(move || list.set(0, black_box("some text that is copied")).expect("there"))
    }),
];

fn value(manager: &Manager) -> Value<u64> {
    manager.value(1).expect("room")
}

fn sealed(manager: &Manager) -> Array<u8> {
    let object = manager.array(black_box(&SMALL)).expect("room");
    object.seal().expect("whole");
    object
}
