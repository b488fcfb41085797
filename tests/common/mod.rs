//! Real processes for tests: the test binary runs itself in a role.
//!
//! A role speaks in lines: what it prints with [`say`] the test reads with [`Actor::hear`], and the other way round. Every process ends with its test, also when
//! that fails, and every wait has a limit.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::panic, reason = "each test binary uses its part")]

pub mod folder;
pub mod region;
pub mod served;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest that any step of any test may take: 20 s, or so many times as long as `SHAREHOLD_PATIENCE` says when the tests are built, as for a sanitizer that makes everything slow.
pub const PATIENCE: Duration = Duration::from_secs(20 * stretched(option_env!("SHAREHOLD_PATIENCE")));

const fn stretched(times: Option<&str>) -> u64 {
    let Some(times) = times else { return 1 };
    match u64::from_str_radix(times, 10) {
        Ok(times) => times,
        Err(_) => panic!("SHAREHOLD_PATIENCE is a whole number"),
    }
}

const ROLE: &str = "SHAREHOLD_TEST_ROLE";
const MARK: &str = "@@ ";

/// A process in a role.
pub struct Actor {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Actor {
    /// Runs this test binary's test `entry`, which calls [`perform`], in a role with arguments.
    pub fn start(role: &str, arguments: &[&str]) -> Self {
        Self::start_by(Command::new("/proc/self/exe"), role, arguments)
    }

    /// As [`Actor::start`], by a command that executes what follows it, as `unshare` does.
    pub fn start_by(mut command: Command, role: &str, arguments: &[&str]) -> Self {
        let mut child = command
            .args(["--exact", "perform_role", "--nocapture", "--test-threads=1"])
            .env(ROLE, [&[role], arguments].concat().join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary runs itself");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("piped");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The test harness may have begun the line.
                if let Some((_, said)) = line.split_once(MARK)
                    && send.send(said.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self { child, stdin, lines }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that the role says.
    pub fn hear(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the role says something in time")
    }

    /// As [`Actor::hear`]; `None` if the role has ended.
    pub fn try_hear(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(error) => panic!("the role says nothing: {error}"),
        }
    }

    /// What the role says within a time; `None` if it says nothing.
    pub fn hear_within(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// Tells the role a line.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("not ended");
        writeln!(stdin, "{line}").expect("the role listens");
    }

    /// Kills the process at once and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // The standard library can only kill.
        let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// Lets the role know that it is to end, and goes on.
    pub fn close_input(&mut self) {
        self.stdin.take();
    }

    /// Lets the role end in order: closes its input and waits.
    pub fn end(mut self) {
        self.stdin.take();
        eventually("the role ends", || self.child.try_wait().expect("it is ours").is_some());
        let status = self.child.wait().expect("it is ours");
        assert!(status.success(), "the role failed: {status}");
    }
}

impl Actor {
    /// Waits for the end of the role, and tells its exit code, if it has one.
    pub fn end_with(mut self) -> Option<i32> {
        self.stdin.take();
        eventually("the role ends", || self.child.try_wait().expect("it is ours").is_some());
        self.child.wait().expect("it is ours").code()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The role that this process has been started for, with its arguments.
pub fn role() -> Option<(String, Vec<String>)> {
    let role = std::env::var(ROLE).ok()?;
    let mut parts = role.split('\n').map(str::to_owned);
    Some((parts.next()?, parts.collect()))
}

/// Says a line to the test.
pub fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").expect("the test listens");
    out.flush().expect("the test listens");
}

/// Waits for a line from the test; `None` when it wants the role to end.
pub fn listen() -> Option<String> {
    let mut line = String::new();
    let count = std::io::stdin().lock().read_line(&mut line).expect("a line");
    (count > 0).then(|| line.trim_end().to_owned())
}

/// Waits until the condition holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::yield_now();
    }
}
