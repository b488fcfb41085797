//! How long the calls of a thread may take, and how another thread ends them.

use std::cell::RefCell;
use std::fmt;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};

/// Limits for calls: a time, and a way to cancel. Default: none, a call takes as long as its method.
///
/// It holds for all calls that a closure makes in its thread, on whatever proxies. An interrupted call's connection is given up, so that no later call gets its
/// answer; the method in the broker goes on until it ends or looks at [`is_cancelled`](crate::is_cancelled). A method's own calls run in its thread: they are interrupted only
/// while they wait for an object.
///
/// ```
/// use std::time::Duration;
/// use sharehold::{CallScope, Datum, List, Manager};
///
/// let manager = Manager::start()?;
/// let list = List::new(&manager)?;
/// CallScope::new().timeout(Duration::from_secs(5)).run(|| list.push(1))?;
/// assert_eq!(list.len()?, 1);
/// # Ok::<(), sharehold::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct CallScope {
    timeout: Option<Duration>,
    canceller: Option<Canceller>,
    question: Option<Question>,
}

/// Asks whoever waits for a call whether he still wants to.
#[derive(Clone)]
struct Question(Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question")
    }
}

impl CallScope {
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets all calls together take this long, from the start of [`CallScope::run`]; a call that is not answered then fails with `Timeout`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets the calls be cancelled; they fail with `Cancelled`.
    #[must_use]
    pub fn canceller(mut self, canceller: &Canceller) -> Self {
        self.canceller = Some(canceller.clone());
        self
    }

    /// Asks this about ten times a second while a call waits, in the thread that waits. Once it says yes, the call fails with `Cancelled`. For what a thread hears only when it
    /// looks, as an interpreter of its signals.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    /// use sharehold::{CallScope, List, Manager};
    ///
    /// static INTERRUPTED: AtomicBool = AtomicBool::new(false); // set by a signal's handler
    ///
    /// let manager = Manager::start()?;
    /// let list = List::new(&manager)?;
    /// CallScope::new().give_up_if(|| INTERRUPTED.swap(false, Relaxed)).run(|| list.push(1))?;
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    #[must_use]
    pub fn give_up_if(mut self, question: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.question = Some(Question(Arc::new(question)));
        self
    }

    /// Runs a closure under these limits. Inside another scope the earlier end counts.
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        let outer = current();
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let limits = Limits {
            deadline: deadline.into_iter().chain(outer.deadline).min(),
            cancellers: outer.cancellers.iter().chain(&self.canceller).cloned().collect(),
            questions: outer.questions.iter().chain(&self.question).cloned().collect(),
        };
        under(limits, work)
    }
}

/// Runs a closure under no limits but its own.
pub(crate) fn without_limits<R>(work: impl FnOnce() -> R) -> R {
    under(Limits::default(), work)
}

fn under<R>(limits: Limits, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<Limits>);
    impl Drop for Restore {
        fn drop(&mut self) {
            LIMITS.set(self.0.take().unwrap_or_default());
        }
    }
    let _restore = Restore(Some(LIMITS.replace(limits)));
    work()
}

/// Cancels the calls of other threads. Clones cancel the same.
///
/// ```
/// use sharehold::{CallScope, Canceller, ErrorKind, List, Manager};
///
/// let manager = Manager::start()?;
/// let list = List::new(&manager)?;
/// let canceller = Canceller::new();
/// canceller.cancel(); // from any thread, at any time
/// let error = CallScope::new().canceller(&canceller).run(|| list.len()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Cancelled);
/// # Ok::<(), sharehold::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Canceller(Arc<Cancelling>);

#[derive(Debug, Default)]
struct Cancelling {
    cancelled: AtomicBool,
    /// Sockets at which calls wait.
    waiting: Mutex<Vec<Weak<UnixStream>>>,
}

impl Canceller {
    /// Nothing is cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends all calls under this canceller, those that run and those to come.
    pub fn cancel(&self) {
        let waiting = self.0.waiting.lock();
        self.0.cancelled.store(true, Ordering::Release);
        for stream in waiting.iter().filter_map(Weak::upgrade) {
            // The one that waits there sees the end of the stream.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether [`Canceller::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    fn watch(&self, stream: &Arc<UnixStream>) {
        self.0.waiting.lock().push(Arc::downgrade(stream));
    }

    fn unwatch(&self, stream: &Arc<UnixStream>) {
        let mut waiting = self.0.waiting.lock();
        waiting.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(stream)));
    }
}

/// What holds for the calls of this thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    deadline: Option<Instant>,
    cancellers: Vec<Canceller>,
    questions: Vec<Question>,
}

thread_local! {
    static LIMITS: RefCell<Limits> = RefCell::new(Limits::default());
}

/// The limits of this thread.
pub(crate) fn current() -> Limits {
    LIMITS.with_borrow(Limits::clone)
}

impl Limits {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancellers.iter().any(Canceller::is_cancelled)
    }

    pub(crate) fn can_be_cancelled(&self) -> bool {
        !self.cancellers.is_empty()
    }

    /// Whether there is somebody to be asked from time to time.
    pub(crate) fn ask(&self) -> bool {
        !self.questions.is_empty()
    }

    /// Whether one of those who are asked gives up.
    pub(crate) fn is_given_up(&self) -> bool {
        self.questions.iter().any(|question| question.0())
    }

    /// The time that is left, if there is an end.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether a call may begin, or wait on.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(cancelled());
        }
        if self.left() == Some(Duration::ZERO) {
            return Err(Error::new(ErrorKind::Timeout, "the time that was given for this call is over"));
        }
        Ok(())
    }

    /// Makes cancelling end what waits at this stream, until the result is dropped. Ask [`Limits::is_cancelled`] afterwards: it may have been before.
    pub(crate) fn watch(&self, stream: &Arc<UnixStream>) -> Watched<'_> {
        for canceller in &self.cancellers {
            canceller.watch(stream);
        }
        Watched { limits: self, stream: (!self.cancellers.is_empty()).then(|| Arc::clone(stream)) }
    }
}

pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the call was cancelled")
}

pub(crate) struct Watched<'a> {
    limits: &'a Limits,
    stream: Option<Arc<UnixStream>>,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            self.limits.cancellers.iter().for_each(|canceller| canceller.unwatch(stream));
        }
    }
}
