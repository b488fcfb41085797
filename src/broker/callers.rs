//! The threads that serve calls. A connection that calls has a thread for as long as it goes on calling: a call costs no more than the two
//! switches between client and broker, and a slow method is in nobody's way.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::host::Host;
use super::mailbox::{Errand, Left, Mailbox};
use super::peer::{Asked, Connection};
use crate::class::frame::{self, Caller};
use crate::control::message::{HEAD, Request};
use crate::control::ring::Posted;
use crate::control::{call, message};
use crate::error::{Error, ErrorKind};
use crate::object::transit::{self, Written};
use crate::sys::{process, socket};

/// Most threads that serve calls. More callers at the same time wait for each other.
const MOST_THREADS: usize = 512;
/// So many threads stay with their connections until those close: a wait without an end is cheaper than one that sets a timer.
const PATIENT: usize = 64;
/// How long each further thread waits for the next request of its connection before it gives it back.
const LINGER: Duration = Duration::from_millis(500);
/// The same when others wait for a thread.
const HURRY: Duration = Duration::from_millis(1);
/// How long a thread without a connection stays.
const IDLE: Duration = Duration::from_secs(5);
/// How long a client may take to read a reply.
const SEND_PATIENCE: Duration = Duration::from_secs(30);

/// A connection with a request that is a call.
struct Job {
    key: u64,
    connection: Connection,
    asked: Asked,
}

#[derive(Default)]
struct Pool {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    stopped: bool,
}

/// The pool of threads.
pub(super) struct Callers {
    host: Weak<Host>,
    mailbox: Arc<Mailbox>,
    pool: Mutex<Pool>,
    /// Whether connections wait for a thread and no further one can be started, or all are to end.
    others_wait: AtomicBool,
    work: Condvar,
    /// Signalled when a thread ends.
    ended: Condvar,
}

impl Callers {
    pub(super) fn new(host: &Arc<Host>, mailbox: Arc<Mailbox>) -> Arc<Self> {
        Arc::new(Self {
            host: Arc::downgrade(host),
            mailbox,
            pool: Mutex::default(),
            others_wait: AtomicBool::new(false),
            work: Condvar::new(),
            ended: Condvar::new(),
        })
    }

    /// Gives a connection to a thread, which answers the call and whatever calls follow.
    pub(super) fn serve(self: &Arc<Self>, key: u64, connection: Connection, asked: Asked) {
        let mut pool = self.pool.lock();
        pool.jobs.push_back(Job { key, connection, asked });
        if pool.idle >= pool.jobs.len() {
            self.work.notify_one();
        } else if pool.threads < MOST_THREADS {
            pool.threads += 1;
            let callers = Arc::clone(self);
            let started = std::thread::Builder::new().name("sharehold-call".into()).spawn(move || callers.run());
            if let Err(error) = started {
                pool.threads -= 1;
                tracing::warn!(%error, threads = pool.threads, "no further thread for calls");
                // Not left to the other threads: each may stay with its connection for ever.
                if let Some(Job { key, connection, .. }) = pool.jobs.pop_back() {
                    let left = Left::Closed(Some("the broker has no thread for its call".into()));
                    self.mailbox.send(Errand::Back { key, connection, left });
                }
            }
        } else {
            self.others_wait.store(true, Ordering::Relaxed);
        }
    }

    fn run(&self) {
        let mut pool = self.pool.lock();
        loop {
            if let Some(job) = pool.jobs.pop_front() {
                self.others_wait
                    .store(pool.stopped || !pool.jobs.is_empty() && pool.threads >= MOST_THREADS, Ordering::Relaxed);
                MutexGuard::unlocked(&mut pool, || self.serve_connection(job));
                continue;
            }
            if pool.stopped {
                break;
            }
            pool.idle += 1;
            let waited = self.work.wait_for(&mut pool, IDLE);
            pool.idle -= 1;
            if waited.timed_out() && pool.jobs.is_empty() {
                break;
            }
        }
        pool.threads -= 1;
        self.ended.notify_all();
    }

    /// Answers calls of one connection until it pauses, closes, or asks for something else.
    fn serve_connection(&self, job: Job) {
        let Job { key, mut connection, mut asked } = job;
        let Some(host) = self.host.upgrade() else { return };
        let patient = self.pool.lock().threads <= PATIENT;
        let _ = connection.stream.set_read_timeout((!patient).then_some(LINGER));
        let _ = connection.stream.set_write_timeout(Some(SEND_PATIENCE));
        connection.ring.iter_mut().for_each(|ring| ring.attend());
        let caller = Caller { pid: connection.peer.pid, stream: Arc::clone(&connection.stream) };
        let serve = || loop {
            if let Err(fault) = answer(&host, &mut connection, &asked) {
                break Left::Closed(Some(fault));
            }
            match self.next(&mut connection, patient) {
                Ok(next) if next.request.is_call() => connection.recycle(std::mem::replace(&mut asked, next)),
                Ok(other) => break Left::Asked(other),
                Err(left) => break left,
            }
        };
        let left = host.enter(|| frame::for_caller(caller, serve));
        connection.ring.iter().for_each(|ring| ring.leave());
        self.mailbox.send(Errand::Back { key, connection, left });
    }

    /// The next request, or why none is waited for.
    fn next(&self, connection: &mut Connection, patient: bool) -> Result<Asked, Left> {
        let fault = |error: Error| Left::Closed(Some(error.message().into()));
        let mut hurried = false;
        loop {
            if let Some(asked) = connection.next().map_err(fault)? {
                return Ok(asked);
            }
            if connection.ring.is_some() {
                let timeout = match self.others_wait.load(Ordering::Relaxed) {
                    true => Some(HURRY),
                    false => (!patient).then_some(LINGER),
                };
                match connection.next_call(timeout).map_err(fault)? {
                    (_, Some(asked)) => return Ok(asked),
                    (Posted::Nothing, None) => return Err(Left::Idle),
                    (Posted::Closed, None) => return Err(Left::Closed(None)),
                    // What is there is whole, or taken already.
                    (_, None) => match connection.read() {
                        Ok(true) => continue,
                        Ok(false) => return Err(Left::Closed(None)),
                        Err(error) => return Err(Left::Closed(Some(error.to_string()))),
                    },
                }
            }
            // Relaxed: one that sees it late lingers once more.
            let others_wait = self.others_wait.load(Ordering::Relaxed);
            if others_wait != hurried {
                hurried = others_wait;
                let _ = connection.stream.set_read_timeout(Some(if hurried { HURRY } else { LINGER }));
            }
            match connection.read_waiting() {
                Ok(true) => {}
                Ok(false) => return Err(Left::Closed(None)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Left::Idle),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(Left::Closed(None)),
                Err(error) => return Err(Left::Closed(Some(error.to_string()))),
            }
        }
    }

    /// Lets all threads end. Waits for those that are in a method, but not for ever.
    pub(super) fn stop(&self, patience: Duration) {
        let mut pool = self.pool.lock();
        pool.stopped = true;
        self.others_wait.store(true, Ordering::Relaxed);
        self.work.notify_all();
        let until = Instant::now() + patience;
        while pool.threads > 0 {
            if self.ended.wait_until(&mut pool, until).timed_out() {
                tracing::warn!(threads = pool.threads, "methods are still running at the end of the broker");
                return;
            }
        }
    }
}

/// Executes a call and sends what came of it. An error says what the client did wrong, or that it is gone.
pub(super) fn answer(host: &Arc<Host>, connection: &mut Connection, asked: &Asked) -> Result<(), String> {
    host.settle(connection);
    let executed = execute(host, asked.request, asked.id, asked.body());
    if !host.session().is_ours() {
        // The method has forked, and this is the child: it has no caller, and nothing that it could go on with.
        process::leave_child();
    }
    let (said, bytes, fault) = match executed {
        Ok(written) => {
            connection.issued = written.issued;
            (Some(asked.request), written.bytes, None)
        }
        Err(error) => {
            let fault = (error.kind() == ErrorKind::Protocol).then(|| error.message().to_owned());
            (None, message::failure(asked.id, &error), fault)
        }
    };
    let sent = match connection.ring.as_ref().filter(|_| asked.by_ring) {
        Some(ring) => ring.answer(said, &bytes[HEAD..]),
        None => socket::send_all(&connection.stream, &bytes).map_err(|error| Error::os("send a reply", error)),
    };
    transit::recycle(bytes);
    sent.map_err(|error| error.to_string())?;
    fault.map_or(Ok(()), Err)
}

/// Executes a call. The reply is a whole message.
pub(super) fn execute(host: &Arc<Host>, request: Request, id: u64, body: &[u8]) -> crate::error::Result<Written> {
    let session = host.session();
    let mut written = call::incoming(session, request, body, |ask| host.execute(ask, false))?;
    match call::reply(session, &**host, request, id, &mut written) {
        Ok(()) => Ok(written),
        Err(error) => {
            Written::cancel(&written.issued, session);
            Err(error)
        }
    }
}
