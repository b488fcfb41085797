//! The workers, and who has which file. A worker that dies costs nothing but time: its files go to another.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use sharehold::{Array, Manager, Object, Proxy, Ticket, Value};

use super::count::Counts;
use super::worker::Numbers;
use crate::output::Failure;

/// Files that a worker has at a time: the next one is there when it has finished.
const AT_A_TIME: usize = 2;
/// A file that has cost so many workers is not tried again.
const MOST_DEATHS: u32 = 2;

struct Job {
    number: usize,
    text: Array<u8>,
    result: Value<Numbers>,
    /// What the worker was sent; taken back if it dies.
    tickets: [Ticket; 2],
    deaths: u32,
}

struct Worker {
    child: Child,
    /// Taken when the worker is to end, or has ended.
    stdin: Option<ChildStdin>,
    jobs: VecDeque<Job>,
}

pub(super) struct Finished {
    pub(super) job: usize,
    pub(super) result: Result<Counts, String>,
}

/// What a worker's output says: it has finished its oldest file, or it has ended.
enum Event {
    Done(usize),
    Ended(usize),
}

pub(super) struct Crew {
    manager: Manager,
    workers: Vec<Worker>,
    events: Receiver<Event>,
}

impl Crew {
    pub(super) fn start(manager: &Manager, count: usize) -> Result<Self, Failure> {
        let (send, events) = channel();
        let workers = (0..count).map(|index| start_worker(manager, index, send.clone())).collect::<Result<_, _>>()?;
        Ok(Self { manager: manager.clone(), workers, events })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.workers.iter().any(|worker| !worker.jobs.is_empty())
    }

    /// Waits until a worker can take a file.
    pub(super) fn make_room(&mut self) -> Result<Vec<Finished>, Failure> {
        let mut finished = Vec::new();
        while !self.workers.iter().any(|worker| worker.stdin.is_some() && worker.jobs.len() < AT_A_TIME) {
            finished.extend(self.wait()?);
        }
        Ok(finished)
    }

    /// Gives a file to the worker that has the fewest.
    pub(super) fn hand_out(&mut self, number: usize, text: Array<u8>) -> Result<(), Failure> {
        let result = self.manager.value([0; 3])?;
        let tickets = [text.ticket()?, result.ticket()?];
        self.give(Job { number, text, result, tickets, deaths: 0 })
    }

    fn give(&mut self, job: Job) -> Result<(), Failure> {
        let worker =
            self.workers.iter_mut().filter(|worker| worker.stdin.is_some()).min_by_key(|worker| worker.jobs.len());
        let Some(worker) = worker else {
            return Err(Failure::Other("all workers have died".into(), "look at the messages above, or run with -v"));
        };
        if let Some(stdin) = &mut worker.stdin {
            // A worker that has just died will be noticed by the end of its output.
            let _ = writeln!(stdin, "{} {}", job.tickets[0], job.tickets[1]);
        }
        worker.jobs.push_back(job);
        Ok(())
    }

    /// Waits until something happens.
    pub(super) fn wait(&mut self) -> Result<Vec<Finished>, Failure> {
        let event = self.events.recv().map_err(|_| Failure::Other("all workers have died".into(), "run with -v"))?;
        match event {
            Event::Done(index) => {
                let Some(job) = self.workers[index].jobs.pop_front() else { return Ok(Vec::new()) };
                let [lines, words, bytes] = job.result.get()?;
                Ok(vec![Finished { job: job.number, result: Ok(Counts { lines, words, bytes }) }])
            }
            Event::Ended(index) => self.replace(index),
        }
    }

    /// Gives the files of a worker that has died to the others.
    fn replace(&mut self, index: usize) -> Result<Vec<Finished>, Failure> {
        let worker = &mut self.workers[index];
        worker.stdin.take();
        let status = worker.child.wait()?;
        let jobs = std::mem::take(&mut worker.jobs);
        if !jobs.is_empty() {
            writeln!(
                std::io::stderr().lock(),
                "demo: worker {} ended early ({status}); others take its files",
                worker.child.id()
            )?;
        }
        let mut finished = Vec::new();
        for mut job in jobs {
            // What the dead one never redeemed would keep the file alive.
            for ticket in &job.tickets {
                let _ = self.manager.redeem::<Object>(ticket);
            }
            job.deaths += 1;
            if job.deaths >= MOST_DEATHS {
                let result = Err(format!("{} workers died over it", job.deaths));
                finished.push(Finished { job: job.number, result });
                continue;
            }
            job.tickets = [job.text.ticket()?, job.result.ticket()?];
            self.give(job)?;
        }
        Ok(finished)
    }

    /// Lets the workers end and waits for them.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        for worker in &mut self.workers {
            worker.stdin.take();
            worker.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.stdin.take();
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}

fn start_worker(manager: &Manager, index: usize, events: Sender<Event>) -> Result<Worker, Failure> {
    let mut child = Command::new("/proc/self/exe")
        .args(["demo-worker", manager.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for _ in BufReader::new(stdout).lines().map_while(Result::ok) {
                if events.send(Event::Done(index)).is_err() {
                    return;
                }
            }
            let _ = events.send(Event::Ended(index));
        });
    }
    Ok(Worker { child, stdin, jobs: VecDeque::new() })
}
