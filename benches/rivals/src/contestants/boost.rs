//! Boost.Interprocess, by a C++ program of ours that is compiled if a compiler and the headers are there: `other/boost.cpp`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::contestant::{Contestant, Prepared, Role};
use crate::player::{Player, together};
use crate::stage::Stage;
use crate::workload::Operation;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/other/boost.cpp");
const COMPILER: &str = "c++";

pub const CONTESTANT: Contestant = Contestant {
    name: "Boost",
    role: Role::Rival,
    version: || {
        let said = Command::new(program()?).output().map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().replace('_', "."))
    },
    prepare,
    memory: Some(|live, stage| {
        let mut one = Segment::start("memory", live, stage);
        one.player.hear().parse().expect("a number")
    }),
};

/// Compiled beside this program, once.
fn program() -> Result<&'static Path, String> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM.get_or_init(compile).as_deref().map_err(Clone::clone)
}

fn compile() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = this.with_file_name("rivals-boost");
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    if changed(&program) > changed(Path::new(SOURCE)) {
        return Ok(program);
    }
    let mut command = Command::new(COMPILER);
    command.args(["-std=c++17", "-O3", "-DNDEBUG", SOURCE, "-pthread", "-lrt", "-o"]).arg(&program);
    let done = command.output().map_err(|_| format!("there is no compiler {COMPILER}"))?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    match said.lines().find(|line| line.contains("error")) {
        _ if done.status.success() => Ok(program),
        Some(line) if line.contains("boost/") => Err("its headers are not installed (libboost-dev)".into()),
        line => Err(format!("{COMPILER} fails: {}", line.unwrap_or(&said))),
    }
}

/// A process with a segment, which it removes when it ends.
struct Segment {
    player: Player,
    name: String,
}

impl Segment {
    fn start(part: &str, objects: usize, stage: &Stage) -> Self {
        let name = stage.unique("boost");
        let player = player(&[part, &name, &objects.to_string()]);
        Self { player, name }
    }

    fn ready(mut self) -> Self {
        assert_eq!(self.player.hear(), "ready");
        self
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // If it has been killed.
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(&self.name));
    }
}

fn player(arguments: &[&str]) -> Player {
    let program = program().expect("it said its version");
    Player::program(Command::new(program).args(arguments), "boost")
}

fn prepare(operation: Operation, stage: &Stage) -> Option<Prepared> {
    let alone = |how, part, objects| {
        let mut segment = Segment::start(part, objects, stage).ready();
        Prepared::new(how, move |times| segment.player.play(times))
    };
    let both = |how, part: &str| {
        let mut one = Segment::start(part, 1, stage).ready();
        let mut other = stage.beside(|| player(&[&format!("join-{part}"), &one.name]));
        assert_eq!(other.hear(), "ready");
        Prepared::new(how, move |times| {
            one.player.begin(times);
            together(times, &mut other, |_| one.player.finish())
        })
    };
    match operation {
        Operation::Clone => alone("shared_ptr", "clone", 1),
        Operation::CloneTogether => both("shared_ptr", "clone"),
        Operation::Create => alone("construct + find + destroy", "create", 1),
        Operation::CreateTogether => both("construct + find + destroy", "create"),
        Operation::Get { live, .. } => alone("find + shared_ptr", "get", live),
        _ => None,
    }
}
