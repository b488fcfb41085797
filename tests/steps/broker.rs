//! A broker is killed at every step of what it does, and another one takes over.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sharehold::{Array, Channel, Kind, List, Manager, Object, Proxy, TicketOptions, Value};

use crate::client::{self, find};
use crate::common::{Actor, eventually, listen, say};
use crate::fixture::{Base, Fixture, NoteProxy, canaries, serve, whole};
use crate::operations::{Prepared, from_slabs, use_board, wipe_blackboard};
use crate::report::{Core, Place, Report};
use crate::tracer::{BEGIN, Tracee, mark, thread_id};
use crate::view::View;
use crate::walk::{Track, Walk, Walked, Which};

/// How long the line of one that sleeps already may take to arrive.
const ON_ITS_WAY: Duration = Duration::from_millis(2);
const TICKET_LIFE: Duration = Duration::from_millis(60);

/// Something that a broker does.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// What the client does before.
    before: &'static str,
    begin: Begin,
    thread: Thread,
}

/// How it comes to do it.
enum Begin {
    /// The client asks for it.
    Ask(&'static str),
    /// The client asks for an audit, which finds a pin too many.
    Repair,
    /// Another process is killed, which has done what it can.
    Death,
    /// Another process is killed after so many changes of an operation.
    DeathAt(&'static str, u64),
    /// Another process attaches.
    Visit,
    /// The client has done all; time passes.
    Time,
    /// It follows one that was killed.
    Succession,
}

enum Thread {
    Loop,
    Call,
}

pub(crate) const WORKS: &[Work] = &[
    Work { name: "grant", before: "", begin: Begin::Ask("create"), thread: Thread::Loop },
    Work { name: "grant of 8 KB", before: "", begin: Begin::Ask("create 8 KB"), thread: Thread::Loop },
    Work { name: "grant of a slab", before: "four", begin: Begin::Ask("fifth"), thread: Thread::Loop },
    Work { name: "free", before: "create", begin: Begin::Ask("drop"), thread: Thread::Loop },
    Work { name: "free of 8 KB", before: "create 8 KB", begin: Begin::Ask("drop"), thread: Thread::Loop },
    Work { name: "free of a hosted object", before: "host", begin: Begin::Ask("drop"), thread: Thread::Loop },
    Work { name: "free of a channel", before: "channel", begin: Begin::Ask("drop"), thread: Thread::Loop },
    Work { name: "publish", before: "create", begin: Begin::Ask("publish"), thread: Thread::Loop },
    Work { name: "publish over", before: "publish", begin: Begin::Ask("publish over"), thread: Thread::Loop },
    Work { name: "unpublish", before: "publish", begin: Begin::Ask("unpublish"), thread: Thread::Loop },
    Work { name: "audit of a wrong pin", before: "", begin: Begin::Repair, thread: Thread::Loop },
    Work { name: "end of a ticket", before: "ticket", begin: Begin::Time, thread: Thread::Loop },
    Work { name: "attach", before: "", begin: Begin::Visit, thread: Thread::Loop },
    Work { name: "sweep", before: "", begin: Begin::Death, thread: Thread::Loop },
    Work {
        name: "sweep and audit after a ticket",
        before: "",
        begin: Begin::DeathAt("ticket", 3),
        thread: Thread::Loop,
    },
    Work {
        name: "sweep and audit after a redemption",
        before: "",
        begin: Begin::DeathAt("redeem the last use", 6),
        thread: Thread::Loop,
    },
    Work { name: "sweep and audit after a send", before: "", begin: Begin::DeathAt("send", 3), thread: Thread::Loop },
    Work {
        name: "sweep and audit after a reception",
        before: "",
        begin: Begin::DeathAt("receive", 4),
        thread: Thread::Loop,
    },
    Work { name: "sweep after a last drop", before: "", begin: Begin::DeathAt("last drop", 3), thread: Thread::Loop },
    // Dead, and its generation written.
    Work {
        name: "sweep of an owner",
        before: "",
        begin: Begin::DeathAt("drop of the own slab's", 3),
        thread: Thread::Loop,
    },
    // Dead, in a lane, and on the stack of its owner.
    Work {
        name: "sweep after a drop of another's slab's",
        before: "",
        begin: Begin::DeathAt("last drop of another's slab's", 5),
        thread: Thread::Loop,
    },
    Work { name: "call with a snapshot", before: "host", begin: Begin::Ask("write"), thread: Thread::Call },
    Work { name: "creation with a snapshot", before: "host", begin: Begin::Ask("host"), thread: Thread::Call },
    Work { name: "collect", before: "cycle", begin: Begin::Ask("collect"), thread: Thread::Call },
    Work { name: "adoption", before: "lock", begin: Begin::Succession, thread: Thread::Loop },
];

/// The role of the client for which the broker works. It lives on.
pub(crate) fn work(broker: &str) {
    let manager = Manager::connect(broker).expect("connected");
    let board: Array<u64> = manager.lookup("board").expect("published");
    let mut held: Vec<Object> = Vec::new();
    let mut notes: Vec<NoteProxy> = Vec::new();
    say("ready");
    while let Some(line) = listen() {
        let done = perform(&manager, &board, &line, &mut held, &mut notes);
        say(done.map_or_else(|error| format!("{:?}", error.kind()), |()| "done".into()));
    }
}

fn perform(
    manager: &Manager,
    board: &Array<u64>,
    what: &str,
    held: &mut Vec<Object>,
    notes: &mut Vec<NoteProxy>,
) -> sharehold::Result<()> {
    let untyped = |array: Array<u64>| manager.redeem::<Object>(&array.ticket()?);
    static CREATED: AtomicU32 = AtomicU32::new(0);
    match what {
        // Other words in the slot each time: what stands there already is no change. And of a shape of its own, which is in no slab.
        "create" if matches!(CREATED.fetch_add(1, Ordering::Relaxed), 0 | 2 | 4) => {
            let value = manager.value(7_u8)?;
            held.push(manager.redeem(&value.ticket()?)?);
        }
        "create" => {
            let len = 20 + CREATED.load(Ordering::Relaxed) as usize % 480;
            held.push(untyped(manager.array(&canaries(len))?)?);
        }
        // The fifth of a shape comes with a slab.
        "four" => {
            let len = 20 + CREATED.fetch_add(1, Ordering::Relaxed) as usize % 480;
            for _ in 0..4 {
                held.push(untyped(manager.array(&canaries(len))?)?);
            }
        }
        "fifth" => {
            let len = 19 + CREATED.load(Ordering::Relaxed) as usize % 480;
            held.push(untyped(manager.array(&canaries(len))?)?);
        }
        "create 8 KB" => held.push(untyped(manager.array(&canaries(1024))?)?),
        "channel" => {
            let channel: Channel<Array<u64>> = manager.channel(2)?;
            let sender = channel.sender()?;
            sender.send(board.clone())?;
            sender.send(manager.array(&canaries(20))?)?;
            held.push(manager.redeem(&channel.ticket()?)?);
        }
        "host" => notes.push(NoteProxy::new(manager, "first".into())?),
        // A method of the broker has a lock when it dies.
        "lock" => {
            // It goes on creating from what it has.
            held.push(untyped(from_slabs(manager, 1).pop().expect("one"))?);
            let note = NoteProxy::new(manager, "first".into())?;
            let (same, blackboard) = (note.clone(), manager.lookup::<Object>("blackboard")?);
            notes.push(note);
            // The call ends with the broker.
            std::thread::spawn(move || same.lock(blackboard));
            let blackboard: Array<u64> = manager.lookup("blackboard")?;
            eventually("it is locked", || blackboard.read_for(Duration::ZERO).is_err());
        }
        "write" => {
            let note = notes.last().expect("hosted");
            note.write("second".into())?;
        }
        "drop" => {
            held.clear();
            notes.clear();
            manager.stats()?;
        }
        "cycle" => {
            let (first, second) = (List::new(manager)?, List::new(manager)?);
            first.push(second.clone())?;
            second.push(first.clone())?;
        }
        "collect" => assert_eq!(manager.collect()?, 2, "both lists of a cycle"),
        "publish" => manager.publish("extra", board)?,
        "publish over" => manager.publish_over("extra", &manager.array(&canaries(10))?)?,
        "unpublish" => manager.unpublish("extra")?,
        "back" => {
            manager.stats()?;
        }
        "audit" => {
            manager.audit()?;
        }
        "ticket" => {
            board.ticket_with(TicketOptions { uses: 1, deadline: Some(TICKET_LIFE) })?;
        }
        // All that it holds is alive and whole; then it lets go.
        "tidy" => {
            for object in held.drain(..) {
                match object.kind()? {
                    // What is in it goes with it.
                    Kind::Channel => {}
                    Kind::Array => whole(&object.downcast::<Array<u64>>()?.read()?),
                    _ => assert_eq!(object.downcast::<Value<u8>>()?.get()?, 7),
                }
            }
            for note in notes.drain(..) {
                let text = note.text()?;
                assert!(["first", "second"].contains(&text.as_str()), "{text}");
            }
            if manager.names()?.iter().any(|name| name.name == "extra") {
                manager.unpublish("extra")?;
            }
        }
        other => panic!("{other}?"),
    }
    Ok(())
}

/// The role of one that holds all kinds of things.
pub(crate) fn hold(broker: &str) {
    let manager = Manager::connect(broker).expect("connected");
    let board: Array<u64> = manager.lookup("board").expect("published");
    let blackboard: Array<u64> = manager.lookup("blackboard").expect("published");
    let counter: Value<[u64; 8]> = manager.lookup("counter").expect("published");
    let _held = (board.clone(), board.clone(), manager.array(&canaries(30)).expect("room"));
    let belt: Channel<Array<u64>> = manager.lookup("belt").expect("published");
    let _ends = (belt.sender().expect("free"), belt.receiver().expect("free"));
    let _large = manager.array(&canaries(1024)).expect("room");
    let _note = NoteProxy::new(&manager, "held".into()).expect("created");
    let _reads = board.read().expect("nobody writes");
    let _writes = blackboard.write().expect("nobody writes");
    let _changes = counter.update(|_| {
        say("ready");
        while listen().is_some() {}
    });
}

/// The role of one that comes by.
pub(crate) fn visit(broker: &str) {
    say("ready");
    listen();
    say(Manager::connect(broker).map_or_else(|error| format!("{:?}", error.kind()), |_| "done".into()));
    while listen().is_some() {}
}

/// The role of a broker that is traced from its first instruction on.
pub(crate) fn succeed(arguments: &[String]) {
    say(thread_id());
    listen();
    mark(BEGIN);
    serve(arguments);
}

pub(crate) fn kill_at_every_step(work: &str, backing: &'static str) {
    let work = WORKS.iter().find(|known| known.name == work).expect("known");
    let Some(which) = Which::asked() else { return };
    let _core = Core::take();
    let mut scene = Scene::new(backing, which);
    let mut report = Report::new(&format!("{} ({backing})", work.name));
    let mut point = which.first;
    loop {
        let mut place = Place { what: work.name, point, walked: Walked::default(), address: 0 };
        let Some((walked, next)) = scene.kill_at(work, &mut place) else {
            scene = Scene { track: scene.track, ..Scene::new(backing, which) };
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
    fn new(backing: &'static str, which: Which) -> Self {
        let mut fixture = Fixture::new(backing);
        // From now on nobody but the worker calls.
        fixture.served.restart();
        // What it calls comes over the socket, so that the broker's thread begins with it where it was stopped.
        let mut command = Command::new("/proc/self/exe");
        command.env("SHAREHOLD_CALL_RING", "off");
        let worker = Actor::start_by(command, "work", &[&fixture.served.name]);
        assert_eq!(worker.hear(), "ready");
        eventually("the session is back", || fixture.manager.stats().is_ok());
        let view = View::of(&fixture.served.name);
        Self { base: fixture.base(), fixture, worker, view, track: Track::default(), which }
    }

    fn ask(&mut self, what: &str) -> String {
        self.worker.tell(what);
        self.worker.hear()
    }

    /// Returns how far the broker has got, and how long the next operation of a client took. `None` if the broker was so slow that it has begun with an empty region.
    fn kill_at(&mut self, work: &Work, place: &mut Place<'_>) -> Option<(Option<Walked>, Duration)> {
        if !work.before.is_empty() {
            assert_eq!(self.ask(work.before), "done");
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
        self.fixture.served.restart();
        eventually("the session is back", || self.fixture.manager.stats().is_ok());
        let heard = heard.or_else(|| match work.begin {
            Begin::Ask(_) | Begin::Repair => Some(self.worker.hear()),
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
            Begin::Death => "hold",
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
        let actor = Actor::start(role, &[&self.fixture.served.name]);
        assert_eq!(actor.hear(), "ready");
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
            Begin::Death => drop(other.actor.take()),
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
            Begin::Death | Begin::DeathAt(..) => view.sessions() == 3,
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
    let mut found = None;
    eventually("a thread waits for calls", || {
        let threads = std::fs::read_dir(format!("/proc/{broker}/task")).expect("it lives").flatten();
        found = threads.map(|thread| thread.path()).find(|thread| {
            let of = |file: &str| std::fs::read_to_string(thread.join(file)).unwrap_or_default();
            of("comm").trim() == "sharehold-call" && of("syscall").starts_with(&format!("{} ", libc::SYS_recvfrom))
        });
        found.is_some()
    });
    found.and_then(|path| path.file_name()?.to_str()?.parse().ok()).expect("a number")
}
