//! The command as a user has it: what it prints, how it fails, and that it leaves nothing behind.
#![cfg(feature = "cli")]
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a test that can't go on fails")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use sharehold::{List, Proxy};

const ROLE: &str = "SHAREHOLD_TEST_ROLE";

/// A folder of its own for sockets and files, removed in the end.
struct Stage(PathBuf);

impl Stage {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sharehold-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("files")).expect("a folder");
        Self(folder)
    }

    fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sharehold"));
        command.args(arguments).env("SHAREHOLD_DIR", self.0.join("run")).current_dir(self.files());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    fn serve(&self, arguments: &[&str]) -> Serving {
        let mut child =
            self.command(&[&["serve"], arguments].concat()).stdout(Stdio::piped()).spawn().expect("it runs");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        assert!(line.contains("connect"), "{line}");
        Serving(child)
    }

    fn sockets(&self) -> usize {
        fs::read_dir(self.0.join("run")).map_or(0, Iterator::count)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Serving(Child);

impl Serving {
    fn signal(&mut self, name: &str) -> Option<i32> {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        self.0.wait().expect("it is ours").code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_demo_counts_as_wc_does_and_leaves_nothing() {
    let stage = Stage::new("demo");
    let files = stage.files();
    let binary: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(files.join("binary"), binary).expect("written");
    fs::write(files.join("empty"), "").expect("written");
    fs::write(files.join("text"), "two words\nand more\tof them\n\nno end".repeat(1000)).expect("written");
    let out = stage.run(&["demo", "binary", "empty", "text"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let wc =
        Command::new("wc").args(["-lwc", "binary", "empty", "text"]).env("LC_ALL", "C").current_dir(&files).output();
    let report = text(&out.stdout);
    assert!(report.starts_with(&text(&wc.expect("wc runs").stdout)), "{report}");
    assert!(report.contains("copied  0 bytes") && report.contains("nothing: 0 objects"), "{report}");
    assert_eq!(stage.sockets(), 0);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_for_that_file_alone() {
    let stage = Stage::new("unreadable");
    fs::write(stage.files().join("good"), "one\n").expect("written");
    let out = stage.run(&["demo", "missing", "good"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("demo: missing: No such file or directory"), "{}", text(&out.stderr));
    assert!(text(&out.stdout).starts_with("1 1 4 good\n"), "{}", text(&out.stdout));
}

#[test]
fn a_broker_that_serves_can_be_looked_at_and_ends_in_order() {
    let stage = Stage::new("serve");
    let mut broker = stage.serve(&["--name", "lab", "--capacity", "1M"]);
    let second = stage.run(&["serve", "--name", "lab"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains(&format!("as process {}", broker.0.id())), "{}", text(&second.stderr));
    for arguments in [&["ls"][..], &["stats", "lab"], &["check"]] {
        let out = stage.run(arguments);
        assert!(out.status.success(), "{arguments:?}: {}", text(&out.stderr));
        let json = stage.run(&[arguments, &["--json"]].concat());
        serde_json::from_slice::<serde_json::Value>(&json.stdout).expect("JSON");
    }
    let none = stage.run(&["inspect", "7.7"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("object 7.7 is gone"), "{}", text(&none.stderr));
    assert_eq!(broker.signal("-TERM"), Some(0));
    assert_eq!(stage.sockets(), 0);
}

#[test]
fn hosted_objects_are_listed_inspected_and_collected() {
    let stage = Stage::new("hosted");
    let mut broker = stage.serve(&["--name", "lab", "--capacity", "1M"]);
    // The place of sockets is told by the environment, which belongs to the whole process: so the client is one of its own.
    let mut client = Command::new("/proc/self/exe")
        .args(["--exact", "perform_role", "--nocapture"])
        .env("SHAREHOLD_DIR", stage.0.join("run"))
        .env(ROLE, "lab")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(client.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let line = lines.find_map(|line| Some(line.split_once("@@ ")?.1.to_owned())).expect("a line");
    let (kept, _) = line.split_once(' ').expect("two ids");
    let listed = text(&stage.run(&["ls"]).stdout);
    assert!(listed.contains("hosted") && listed.contains("Elements([Text(\"kept\")])"), "{listed}");
    assert!(listed.contains("3 objects"), "{listed}");
    let inspected = text(&stage.run(&["inspect", kept]).stdout);
    assert!(inspected.contains("hosted of List") && inspected.contains("kept"), "{inspected}");
    let json: serde_json::Value = serde_json::from_slice(&stage.run(&["ls", "--json"]).stdout).expect("JSON");
    assert!(json[0]["debug"].is_string(), "{json}");
    let classes = text(&stage.run(&["classes"]).stdout);
    assert!(classes.contains("List\n  List()\n") && classes.contains("  push(value: Datum)\n"), "{classes}");
    assert_eq!(text(&stage.run(&["collect"]).stdout), "lab: 2 objects freed\n");
    assert!(text(&stage.run(&["ls"]).stdout).contains("1 object "));
    drop(client.stdin.take());
    assert!(client.wait().expect("it ends").success());
    assert_eq!(broker.signal("-TERM"), Some(0));
}

/// Holds a list, and leaves a cycle of two behind.
#[test]
fn perform_role() {
    let Ok(name) = std::env::var(ROLE) else { return };
    let manager = sharehold::Manager::connect(&name).expect("connected");
    let kept = List::new(&manager).expect("created");
    kept.push("kept").expect("pushed");
    let (first, second) = (List::new(&manager).expect("created"), List::new(&manager).expect("created"));
    first.push(second.clone()).expect("pushed");
    second.push(first.clone()).expect("pushed");
    let id = first.id();
    drop((first, second));
    println!("@@ {} {id}", kept.id());
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn the_rests_of_a_killed_broker_are_recognised_and_taken_over_by_the_next() {
    let stage = Stage::new("killed");
    let name = format!("killed-{}", std::process::id());
    let segment = Path::new("/dev/shm").join(format!(
        "sharehold-{}-{name}",
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(&stage.0).expect("ours"))
    ));
    let mut broker = stage.serve(&["--name", &name, "--capacity", "1M", "--segment"]);
    broker.signal("-KILL");
    assert!(segment.exists());
    let checked = stage.run(&["check", &name]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let listed = stage.run(&["ls", &name]);
    assert!(text(&listed.stderr).contains("is dead"), "{}", text(&listed.stderr));
    let mut next = stage.serve(&["--name", &name]);
    let stats = text(&stage.run(&["stats", &name]).stdout);
    assert!(stats.contains("segment"), "{stats}");
    next.signal("-KILL");
    let mut fresh = stage.serve(&["--name", &name, "--capacity", "1M", "--fresh"]);
    assert!(!segment.exists());
    assert_eq!(fresh.signal("-INT"), Some(0));
    assert_eq!(stage.sockets(), 0);
}
