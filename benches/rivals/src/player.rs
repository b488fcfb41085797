//! A second process, which does its part as often as it is told. It is this program in a role, or a program in another language.
//!
//! It speaks lines: what it has to say when it is ready, and then, for each number that it reads, `begin` and, when it has done that many, the nanoseconds.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::common::echo::ROLE;

/// Longer than any turn.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a process may take to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// Ends with its parent's end of the pipe.
pub struct Player {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    name: String,
}

impl Player {
    /// This program, in a role.
    pub fn role(role: &[&str]) -> Self {
        Self::program(&mut with_role(role), role[0])
    }

    /// Another one that speaks like this.
    pub fn program(command: &mut Command, name: &str) -> Self {
        let started = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().expect("piped")));
        Self { child, to, from, name: name.to_owned() }
    }

    /// The next line that it says.
    pub fn hear(&mut self) -> String {
        let limit = Timespec::try_from(PATIENCE).expect("a short time");
        let ready = self.from.buffer().contains(&b'\n')
            || poll(&mut [PollFd::new(self.from.get_ref(), PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready == 1);
        assert!(ready, "{} says nothing", self.name);
        let mut line = String::new();
        let read = self.from.read_line(&mut line).expect("a line of text");
        assert!(read > 0, "{} has ended", self.name);
        line.trim_end().to_owned()
    }

    /// Has it do its part so often, and returns when it begins.
    pub fn begin(&mut self, times: u64) {
        writeln!(self.to.as_mut().expect("until it is dropped"), "{times}").expect("it lives");
        assert_eq!(self.hear(), "begin", "{}", self.name);
    }

    /// Waits until it has done that, and tells how long it took.
    pub fn finish(&mut self) -> Duration {
        Duration::from_nanos(self.hear().parse().expect("nanoseconds"))
    }

    /// As it alone does something.
    pub fn play(&mut self, times: u64) -> Duration {
        self.begin(times);
        self.finish()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.to = None;
        end(&mut self.child);
    }
}

/// This program, to be run in a role, and in a group of its own: a Ctrl-C in the terminal is for the parent.
pub fn with_role(role: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env(ROLE, role.join("\n")).process_group(0);
    command
}

/// Waits for a process that has been told to end, and kills it if it does not.
pub fn end(child: &mut Child) {
    let until = Instant::now() + FAREWELL;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Two at the same time: the time that one of what they do together takes, so often.
pub fn together(times: u64, other: &mut Player, mine: impl FnOnce(u64) -> Duration) -> Duration {
    other.begin(times);
    let (mine, theirs) = (mine(times).as_secs_f64(), other.finish().as_secs_f64());
    Duration::from_secs_f64(1.0 / (1.0 / mine + 1.0 / theirs))
}

// --- the player's side ---

/// Has this process end with the one that has started it, also in the middle of waiting for it.
pub fn end_with_parent() {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}

pub fn say(what: impl Display) {
    println!("{what}");
}

/// Does a part as often as it is told, until the parent closes its end.
pub fn follow(mut part: impl FnMut(u64)) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let times = line.parse().expect("a number");
        say("begin");
        let started = Instant::now();
        part(times);
        say(started.elapsed().as_nanos());
    }
}

/// Looks until there is something. It gives up after a time in which everybody would have answered.
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1_u64 << 32 {
        if let Some(found) = look() {
            return found;
        }
    }
    panic!("nobody answers");
}
