//! A broker is killed at every step of what it does, and another one takes over.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sharehold::{Manager, Proxy};

use crate::client::{self, find};
use crate::common::{Actor, eventually};
use crate::fixture::{Base, Fixture};
use crate::operations::{Prepared, use_board, wipe_blackboard};
use crate::report::{Core, Place, Report};
use crate::shared::rings;
use crate::tracer::{BEGIN, Tracee};
use crate::view::View;
use crate::walk::{Track, Walk, Walked, Which};
use crate::works::{Begin, Thread, Work, works};

/// How long the line of one that sleeps already may take to arrive.
const ON_ITS_WAY: Duration = Duration::from_millis(2);

pub(crate) fn kill_at_every_step(work: &str, backing: &'static str) {
    let work = works().find(|known| known.name == work).expect("known");
    let Some(which) = Which::asked() else { return };
    let _core = Core::take();
    let mut scene = Scene::new(backing, which, work.has_ring());
    let mut report = Report::new(&format!("{} ({backing})", work.name));
    let mut point = which.first;
    loop {
        let mut place = Place { what: work.name, point, walked: Walked::default(), address: 0 };
        let Some((walked, next)) = scene.kill_at(work, &mut place) else {
            scene = Scene { track: scene.track, ..Scene::new(backing, which, work.has_ring()) };
            continue;
        };
        report.add(walked, next);
        match walked {
            Some(walked) if walked.reached => point += which.every,
            // Not if a ticket has ended before the broker was stopped.
            Some(_) if !matches!(work.begin, Begin::Time) => break,
            Some(walked) if walked.changes > 0 => break,
            _ => {}
        }
    }
    assert!(!matches!(work.thread, Thread::Ring) || report.has_seen_ring(), "nothing went through a ring");
    scene.fixture.wait_for_replies(&scene.base);
    report.tell();
}

struct Scene {
    fixture: Fixture,
    worker: Actor,
    base: Base,
    view: View,
    track: Track,
    which: Which,
}

/// Another process that the work is about.
#[derive(Default)]
struct Other {
    actor: Option<Actor>,
    tracee: Option<Tracee>,
    prepared: Prepared,
}

impl Scene {
    fn new(backing: &'static str, which: Which, has_ring: bool) -> Self {
        let mut fixture = Fixture::new(backing);
        // From now on nobody but the worker calls.
        fixture.served.restart();
        let mut command = Command::new("/proc/self/exe");
        command.env("SHAREHOLD_CALL_RING", if has_ring { "on" } else { "off" });
        let worker = Actor::start_by(command, "work", &[&fixture.served.name]);
        assert_eq!(worker.hear(), "ready");
        fixture.wait_for_session();
        let view = View::of(&fixture.served.name);
        Self { base: fixture.base(), fixture, worker, view, track: Track::default(), which }
    }

    fn ask(&mut self, what: &str) -> String {
        self.worker.tell(what);
        self.worker.hear()
    }

    /// Returns how far the broker has got, and how long the next operation of a client took. `None` if the broker was so slow that it has begun with an empty region.
    fn kill_at(&mut self, work: &Work, place: &mut Place<'_>) -> Option<(Option<Walked>, Duration)> {
        for before in work.before.split_terminator(", ") {
            assert_eq!(self.ask(before), "done");
        }
        let mut other = self.other(&work.begin);
        let mut broker = self.stopped(work);
        self.begin(&work.begin, &mut other);
        let seeker = matches!(work.begin, Begin::Succession).then(|| Seeker::start(&self.fixture.manager));
        let (walked, heard) = self.walk(&work.begin, &mut broker, &other, seeker.as_ref(), place.point);
        if seeker.as_ref().is_some_and(Seeker::is_refused) {
            broker.kill();
            return None;
        }
        (place.walked, place.address) = (walked.unwrap_or_default(), broker.place());
        broker.kill();
        let killed = Instant::now();
        use_board(&self.fixture, &other.prepared);
        let next = killed.elapsed();
        drop(seeker);
        broker.reap();
        // Whoever waits for an answer needs no other broker to hear that there is none.
        let heard = heard.or_else(|| matches!(work.begin, Begin::Ask(_) | Begin::Repair).then(|| self.worker.hear()));
        self.fixture.served.restart();
        self.fixture.wait_for_session();
        let heard = heard.or_else(|| match work.begin {
            Begin::Visit => Some(other.actor.as_ref().expect("it came").hear()),
            _ => None,
        });
        let heard = heard.as_deref().unwrap_or("done");
        assert!(["done", "BrokerGone", "BrokerNotFound"].contains(&heard), "{heard}");
        drop(other.actor.take());
        eventually("the client is back", || self.ask("back") == "done");
        assert_eq!(self.ask("tidy"), "done");
        self.fixture.wait_for_sweep(&self.base);
        if let Begin::DeathAt(operation, _) = work.begin {
            (find(operation).tidy)(&self.fixture, other.prepared);
        }
        wipe_blackboard(&self.fixture, Prepared::default());
        self.fixture.must_be(&self.base);
        Some((walked, next))
    }

    fn other(&mut self, begin: &Begin) -> Other {
        let role = match begin {
            Begin::Death(role) => role,
            Begin::Visit => "visit",
            Begin::DeathAt(operation, changes) => {
                let operation = find(operation);
                let prepared = (operation.prepare)(&self.fixture);
                let (actor, mut tracee) = client::start(&self.fixture, operation, &prepared);
                let others = [self.fixture.served.broker().pid()];
                let (view, points) = (&mut self.view, self.which.points);
                Walk { tracee: &mut tracee, view, others: &others, points }.until_change(*changes);
                return Other { actor: Some(actor), tracee: Some(tracee), prepared };
            }
            _ => return Other::default(),
        };
        let mut actor = Actor::start(role, &[&self.fixture.served.name]);
        assert_eq!(actor.hear(), "ready");
        if role == "wait" {
            actor.tell("wait");
            thread_at_ring(actor.pid());
        }
        Other { actor: Some(actor), ..Other::default() }
    }

    /// The broker's thread, stopped.
    fn stopped(&mut self, work: &Work) -> Tracee {
        let served = &mut self.fixture.served;
        let is_first = matches!(work.begin, Begin::Succession);
        if is_first {
            served.replace("succeed");
        }
        let broker = served.broker();
        let tid = match work.thread {
            Thread::Loop => broker.hear().parse().expect("a thread"),
            Thread::Call => thread_of_calls(broker.pid()),
            Thread::Ring => thread_at_ring(broker.pid()),
        };
        let mut tracee = Tracee::seize(broker.pid(), tid);
        if is_first {
            tracee.interrupt();
            broker.tell("begin");
            tracee.run_to(BEGIN);
        } else {
            tracee.interrupt_call();
        }
        tracee
    }

    /// Gives the broker something to do.
    fn begin(&mut self, begin: &Begin, other: &mut Other) {
        match begin {
            Begin::Ask(what) => self.worker.tell(what),
            Begin::Repair => {
                self.view.add_pin(self.fixture.board.id());
                self.worker.tell("audit");
            }
            Begin::Visit => other.actor.as_mut().expect("it came").tell("attach"),
            Begin::Death(_) => drop(other.actor.take()),
            Begin::DeathAt(..) => {
                drop(other.tracee.take());
                drop(other.actor.take());
            }
            Begin::Time | Begin::Succession => {}
        }
    }

    /// Walks the broker's thread to a point. Returns what the one that has asked has said by then.
    fn walk(
        &mut self,
        begin: &Begin,
        broker: &mut Tracee,
        other: &Other,
        seeker: Option<&Seeker>,
        point: u64,
    ) -> (Option<Walked>, Option<String>) {
        let mut heard = None;
        let others: Vec<u32> = other.actor.iter().map(Actor::pid).chain([self.worker.pid()]).collect();
        let pid = self.fixture.served.broker().pid();
        let (manager, worker) = (&self.fixture.manager, &self.worker);
        let mut walk = Walk { tracee: broker, view: &mut self.view, others: &others, points: self.which.points };
        let walked = walk.to(point, &mut self.track, |view| match begin {
            Begin::Ask(_) | Begin::Repair | Begin::Visit => {
                let asking = other.actor.as_ref().unwrap_or(worker);
                heard = heard.take().or_else(|| asking.hear_within(ON_ITS_WAY));
                heard.is_some()
            }
            // The broker, the worker and the test are left.
            Begin::Death(_) | Begin::DeathAt(..) => view.sessions() == 3,
            Begin::Time => manager.tickets().expect("tickets").is_empty(),
            Begin::Succession => {
                (view.header(48), view.header(52)) == (pid, 1) || seeker.is_some_and(Seeker::is_refused)
            }
        });
        (walked, heard)
    }
}

/// Looks for a new broker all the time, while it lives. Clients do so every 0.2 s at last, and the broker waits half a second for them, which is little for one that is
/// executed step by step.
struct Seeker {
    end: Arc<AtomicBool>,
    is_refused: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Seeker {
    fn start(manager: &Manager) -> Self {
        let (manager, end, is_refused) = (manager.clone(), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (over, refused) = (Arc::clone(&end), Arc::clone(&is_refused));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed)
                && let Err(error) = manager.stats()
            {
                refused.fetch_or(error.message().contains("empty region"), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { end, is_refused, thread: Some(thread) }
    }

    /// Whether the broker has begun with an empty region.
    fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }
}

impl Drop for Seeker {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The thread of a broker that waits for the next call on a connection.
fn thread_of_calls(broker: u32) -> i32 {
    thread_that(broker, |name, call, _| name == "sharehold-call" && call == libc::SYS_recvfrom)
}

/// The thread that waits at a call ring.
fn thread_at_ring(pid: u32) -> i32 {
    thread_that(pid, |_, call, argument| {
        call == libc::SYS_futex && rings(pid).any(|ring| ring.place.contains(&argument))
    })
}

/// The thread that is in a system call, by its name, the number of the call and its first argument.
fn thread_that(pid: u32, is_it: impl Fn(&str, i64, usize) -> bool) -> i32 {
    let mut found = None;
    eventually("a thread waits", || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives").flatten();
        found = threads.map(|thread| thread.path()).find(|thread| {
            let of = |file: &str| std::fs::read_to_string(thread.join(file)).unwrap_or_default();
            let call = of("syscall");
            let mut call = call.split(' ');
            let number = call.next().and_then(|number| number.parse().ok());
            let argument = call.next().and_then(|text| usize::from_str_radix(text.trim_start_matches("0x"), 16).ok());
            number.zip(argument).is_some_and(|(number, argument)| is_it(of("comm").trim(), number, argument))
        });
        found.is_some()
    });
    found.and_then(|path| path.file_name()?.to_str()?.parse().ok()).expect("a number")
}
