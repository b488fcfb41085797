//! Redis over a Unix socket, if it is installed: a server of our own, without a port and without files.
//!
//! The client writes its protocol by itself, as the fastest ones do.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::contestant::{Contestant, Prepared, Role};
use crate::contestants::floors::name;
use crate::dice::Dice;
use crate::player::{end, with_role};
use crate::stage::Stage;
use crate::workload::{Operation, SMALL, Waiting};

/// The part of a process that is to become the server.
pub const ROLE: &str = "redis";
const PROGRAM: &str = "redis-server";
/// Commands that are sent in one piece when it is filled.
const PIPELINE: usize = 1000;

pub const CONTESTANT: Contestant = Contestant {
    name: "Redis",
    role: Role::Rival,
    version: || {
        let said =
            Command::new(PROGRAM).arg("--version").output().map_err(|_| format!("{PROGRAM} is not installed"))?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.split("v=").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned).ok_or(said)
    },
    prepare,
    memory: Some(|live, stage| {
        let mut redis = Redis::start(stage);
        let before = redis.used();
        redis.fill(live);
        (redis.used() - before) / live as f64
    }),
};

struct Redis {
    process: Child,
    socket: BufReader<UnixStream>,
    command: Vec<u8>,
    reply: Vec<u8>,
}

impl Redis {
    fn start(stage: &Stage) -> Self {
        let place = stage.fresh("redis");
        let process = stage.beside(|| {
            with_role(&[ROLE, &place.display().to_string()])
                .current_dir(stage.folder())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .expect("this program runs itself")
        });
        let mut tries = 0;
        let socket = loop {
            match UnixStream::connect(&place) {
                Ok(socket) => break BufReader::new(socket),
                Err(error) if tries == 2000 => panic!("{PROGRAM} does not serve: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
            tries += 1;
        };
        Self { process, socket, command: Vec::new(), reply: Vec::new() }
    }

    /// Adds a command to those that are sent together.
    fn add(&mut self, words: &[&[u8]]) {
        write!(self.command, "*{}\r\n", words.len()).expect("memory");
        for word in words {
            write!(self.command, "${}\r\n", word.len()).expect("memory");
            self.command.extend_from_slice(word);
            self.command.extend_from_slice(b"\r\n");
        }
    }

    fn send(&mut self) {
        self.socket.get_mut().write_all(&self.command).expect("sent");
        self.command.clear();
    }

    /// A reply: what stands in its line, or the bytes behind it.
    fn receive(&mut self) -> &[u8] {
        self.reply.clear();
        self.socket.read_until(b'\n', &mut self.reply).expect("a reply");
        let line = self.reply.trim_ascii_end();
        assert!(!line.is_empty() && line[0] != b'-', "{}", String::from_utf8_lossy(line));
        if line[0] != b'$' {
            return &self.reply.trim_ascii_end()[1..];
        }
        let len: usize = str::from_utf8(&line[1..]).expect("text").parse().expect("there is such an object");
        self.reply.resize(len + 2, 0);
        self.socket.read_exact(&mut self.reply).expect("whole");
        &self.reply[..len]
    }

    fn fill(&mut self, live: usize) {
        let names: Vec<String> = (0..live).map(name).collect();
        for some in names.chunks(PIPELINE) {
            some.iter().for_each(|name| self.add(&[b"SET", name.as_bytes(), &[7; SMALL]]));
            self.send();
            some.iter().for_each(|_| assert!(self.receive() == b"OK"));
        }
    }

    fn used(&mut self) -> f64 {
        self.add(&[b"INFO", b"memory"]);
        self.send();
        let said = String::from_utf8_lossy(self.receive()).into_owned();
        said.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it says so").parse().expect("a number")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.add(&[b"SHUTDOWN", b"NOSAVE"]);
        let _ = self.socket.get_mut().write_all(&self.command);
        end(&mut self.process);
    }
}

fn prepare(operation: Operation, stage: &Stage) -> Option<Prepared> {
    match operation {
        Operation::Create => {
            let mut redis = Redis::start(stage);
            Prepared::each("SET, GET and DEL in one piece", move || {
                redis.add(&[b"SET", b"object", &[7; SMALL]]);
                redis.add(&[b"GET", b"object"]);
                redis.add(&[b"DEL", b"object"]);
                redis.send();
                assert!(redis.receive() == b"OK");
                assert!(redis.receive()[SMALL - 1] == 7);
                assert!(redis.receive() == b"1");
            })
        }
        Operation::Get { live, .. } => {
            let mut redis = Redis::start(stage);
            redis.fill(live);
            let (names, mut dice): (Vec<String>, _) = ((0..live).map(name).collect(), Dice(1));
            Prepared::each("GET", move || {
                redis.add(&[b"GET", names[dice.below(live)].as_bytes()]);
                redis.send();
                assert!(redis.receive()[0] == 7);
            })
        }
        Operation::Call { waiting: Waiting::Blocking } => {
            let mut redis = Redis::start(stage);
            Prepared::each("INCR", move || {
                redis.add(&[b"INCR", b"count"]);
                redis.send();
                assert!(!redis.receive().is_empty());
            })
        }
        _ => None,
    }
}

/// Becomes the server, which ends with its parent.
pub fn perform(role: &[&str]) {
    use std::os::unix::process::CommandExt;
    let settings =
        ["--port", "0", "--unixsocket", role[0], "--save", "", "--appendonly", "no", "--loglevel", "warning"];
    panic!("{PROGRAM} can't be run: {}", Command::new(PROGRAM).args(settings).exec());
}
