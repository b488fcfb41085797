//! Brings files to one worker, and gets another worker when that one dies.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::ProgressBar;
use sharehold::{Manager, Object, Proxy};

use super::budget::Budget;
use super::complain;
use super::count::Counts;
use super::files::{Listed, Loaded, Trouble, load};
use super::worker::{DONE, Tally};

/// How many workers a file is given to before it is the file that must be wrong.
const TRIES: u32 = 3;

/// One worker's side of the work.
pub(super) struct Courier<'a> {
    manager: &'a Manager,
    budget: &'a Budget,
    bar: &'a ProgressBar,
    worker: Worker,
    round: Round,
}

/// What a courier has to tell at the end.
#[derive(Default)]
pub(super) struct Round {
    /// Which file has which counts.
    pub(super) counted: Vec<(usize, Counts)>,
    /// Files that could not be counted.
    pub(super) failed: usize,
    /// Workers that ended in order.
    pub(super) ended: usize,
    /// Workers that ended otherwise.
    pub(super) lost: usize,
    /// Time that the workers spent with the files, all in all.
    pub(super) counting: Duration,
    /// Bytes of tickets and answers: all that went from process to process.
    pub(super) sent: u64,
}

impl<'a> Courier<'a> {
    pub(super) fn new(manager: &'a Manager, budget: &'a Budget, bar: &'a ProgressBar) -> io::Result<Self> {
        Ok(Self { manager, budget, bar, worker: Worker::start(manager.name())?, round: Round::default() })
    }

    /// Delivers files until there are no more, and ends the worker.
    pub(super) fn deliver_all(mut self, files: &[Listed], next: &AtomicUsize) -> Round {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else { break };
            match self.deliver(&file.path) {
                Ok(counts) => self.round.counted.push((index, counts)),
                Err(trouble) => {
                    self.round.failed += 1;
                    self.bar.suspend(|| complain(&file.path, &trouble));
                }
            }
        }
        match self.worker.end() {
            Ok(status) if status.success() => self.round.ended += 1,
            _ => self.round.lost += 1,
        }
        self.round
    }

    fn deliver(&mut self, path: &Path) -> Result<Counts, Trouble> {
        for _ in 0..TRIES {
            let Loaded { text, len, share } = load(self.manager, path, self.budget, self.bar)?;
            let tally = self.manager.value(Tally { len, ..Tally::default() })?;
            let tickets = [text.ticket()?, tally.ticket()?];
            // From here on the ticket alone keeps the file in memory, then the worker.
            drop(text);
            let line = format!("{} {}\n", tickets[0], tickets[1]);
            let answer = self.worker.ask(&line);
            if let Ok(answer) = &answer {
                self.round.sent += (line.len() + answer.len()) as u64;
                if answer.trim_end() == DONE {
                    let tally = tally.get()?;
                    self.round.counting += Duration::from_nanos(tally.nanos);
                    return Ok(Counts { lines: tally.lines, words: tally.words, bytes: tally.bytes });
                }
            }
            // Nobody will redeem these any more. One that was redeemed already is void, so errors do not matter.
            for ticket in &tickets {
                let _ = self.manager.redeem::<Object>(ticket);
            }
            if let Ok(answer) = answer {
                return Err(Trouble(answer.trim_end().to_owned()));
            }
            drop(share);
            self.bar.dec(len);
            self.replace_worker(path)?;
        }
        Err(Trouble(format!("{TRIES} workers ended while they counted it")))
    }

    fn replace_worker(&mut self, path: &Path) -> Result<(), Trouble> {
        let lost = std::mem::replace(&mut self.worker, Worker::start(self.manager.name())?);
        self.round.lost += 1;
        let pid = lost.child.id();
        // Its stdout is closed, so it has ended or is about to.
        let how = lost.end().map_or_else(|error| error.to_string(), |status| status.to_string());
        let trouble =
            Trouble(format!("worker {pid} ended early ({how}); worker {} takes over", self.worker.child.id()));
        self.bar.suspend(|| complain(path, &trouble));
        Ok(())
    }
}

/// A worker process and the pipes to it.
struct Worker {
    child: Child,
    tickets: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(broker: &str) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["demo-worker", broker])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(tickets), Some(answers)) => Ok(Self { child, tickets, answers: BufReader::new(answers) }),
            _ => Err(io::Error::other("a worker has no pipes")),
        }
    }

    /// Sends a line and waits for the answer. An error means that the worker has ended.
    fn ask(&mut self, line: &str) -> io::Result<String> {
        self.tickets.write_all(line.as_bytes())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if answer.ends_with('\n') { Ok(answer) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Closes its stdin, at which it ends, and waits for that.
    fn end(self) -> io::Result<ExitStatus> {
        let Self { mut child, tickets, answers } = self;
        drop((tickets, answers));
        child.wait()
    }
}
