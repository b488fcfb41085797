//! Python's `multiprocessing.Manager`, by a script: `other/manager.py`.

use std::process::Command;

use crate::contestant::{Contestant, Prepared, Role};
use crate::player::Player;
use crate::stage::Stage;
use crate::workload::{Operation, Waiting};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/other/manager.py");
const PYTHON: &str = "python3";

pub const CONTESTANT: Contestant = Contestant {
    name: "Python's Manager",
    role: Role::Rival,
    version: || {
        let said = Command::new(PYTHON).arg("--version").output().map_err(|_| format!("{PYTHON} is not installed"))?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().replace("Python ", ""))
    },
    prepare,
    memory: None,
};

fn prepare(operation: Operation, stage: &Stage) -> Option<Prepared> {
    let (how, part) = match operation {
        Operation::Clone => ("a copy of a proxy", "clone"),
        Operation::Create => ("Value", "create"),
        Operation::Call { waiting: Waiting::Blocking } => ("", "call"),
        Operation::Make => ("", "make"),
        _ => return None,
    };
    // Its server is its own child, on the same core.
    let mut player = stage.beside(|| Player::program(Command::new(PYTHON).args([SCRIPT, part]), "manager.py"));
    assert_eq!(player.hear(), "ready");
    Prepared::new(how, move |times| player.play(times))
}
