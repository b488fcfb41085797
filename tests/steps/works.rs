//! What a broker does, and those for whom it does it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sharehold::{Array, Channel, Kind, List, Manager, Object, Proxy, TicketOptions, Value};

use crate::common::{eventually, listen, say};
use crate::fixture::{BOARD, NoteProxy, canaries, serve, whole};
use crate::operations::{ENOUGH, LARGE, from_slabs, ringed};
use crate::shared::rings;
use crate::tracer::{BEGIN, mark, thread_id};

const TICKET_LIFE: Duration = Duration::from_millis(60);

/// Something that a broker does.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// What the client does before.
    pub(crate) before: &'static str,
    pub(crate) begin: Begin,
    pub(crate) thread: Thread,
}

/// How it comes to do it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin {
    /// The client asks for it.
    Ask(&'static str),
    /// The client asks for an audit, which finds a pin too many.
    Repair,
    /// Another process is killed, which is in this role.
    Death(&'static str),
    /// Another process is killed after so many changes of an operation.
    DeathAt(&'static str, u64),
    /// Another process attaches.
    Visit,
    /// The client has done all; time passes.
    Time,
    /// It follows one that was killed.
    Succession,
}

/// The thread that does it.
pub(crate) enum Thread {
    Loop,
    /// The one that serves the client's calls, and waits at its socket.
    Call,
    /// The same at its ring.
    Ring,
}

const WORKS: &[Work] = &[
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
    Work { name: "sweep", before: "", begin: Begin::Death("hold"), thread: Thread::Loop },
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

/// What is done for clients that have call rings.
const RINGED: &[Work] = &[
    Work { name: "giving of a ring", before: "host", begin: Begin::Ask("calls"), thread: Thread::Loop },
    Work { name: "call through a ring", before: "host, calls", begin: Begin::Ask("read"), thread: Thread::Ring },
    Work {
        name: "call through a ring: a proxy as argument",
        before: "host, calls",
        begin: Begin::Ask("measure"),
        thread: Thread::Ring,
    },
    Work {
        name: "call through a ring: a proxy as result",
        before: "host, calls",
        begin: Begin::Ask("find"),
        thread: Thread::Ring,
    },
    Work {
        name: "call through a ring with a snapshot",
        before: "host, calls",
        begin: Begin::Ask("write"),
        thread: Thread::Ring,
    },
    Work {
        name: "call beside a ring: large arguments",
        before: "host, calls",
        begin: Begin::Ask("send"),
        thread: Thread::Ring,
    },
    Work { name: "sweep of one that waits at a ring", before: "", begin: Begin::Death("wait"), thread: Thread::Loop },
];

/// All that there is.
pub(crate) fn works() -> impl Iterator<Item = &'static Work> {
    [WORKS, RINGED].into_iter().flatten()
}

impl Work {
    /// Whether it is done for those who have call rings. All else is done as it is without.
    pub(crate) fn has_ring(&self) -> bool {
        RINGED.iter().any(|known| known.name == self.name)
    }
}

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
        // Until there is a ring, and somebody attends there.
        "calls" => {
            let note = notes.last().expect("hosted");
            for _ in 0..ENOUGH {
                note.text()?;
            }
            assert_eq!(rings(std::process::id()).count(), 1, "calls go over the socket");
        }
        "read" => assert_eq!(notes.last().expect("hosted").text()?, "first"),
        "measure" => assert_eq!(notes.last().expect("hosted").measure(board)?, BOARD),
        "find" => held.push(notes.last().expect("hosted").find("board".into())?),
        // Zeros, as its memory has: what stands there already is no change.
        "send" => assert_eq!(notes.last().expect("hosted").count("\0".repeat(LARGE))?, LARGE),
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

/// The role of one that waits for the answer to a call.
pub(crate) fn wait(broker: &str) {
    let manager = Manager::connect(broker).expect("connected");
    let note = ringed(&manager);
    say("ready");
    listen();
    note.wait_for_end().expect("answered");
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
