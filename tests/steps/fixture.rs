//! A broker, and objects that others hold while one dies.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sharehold::{
    Array, Broker, Channel, List, Manager, MethodError, Object, Proxy, Receiver, Sender, Snapshot, Value, check,
};

use crate::common::served::{self, Served};
use crate::common::{PATIENCE, eventually, say};
use crate::tracer::thread_id;

/// Elements of the board.
pub(crate) const BOARD: usize = 64;

/// Long enough for one that is executed step by step to fall asleep.
pub(crate) const IN_VAIN: Duration = Duration::from_millis(60);

const AT_ONCE: Duration = Duration::from_millis(50);

/// Every element follows from its place.
pub(crate) fn canaries(len: usize) -> Vec<u64> {
    (0..len as u64).map(|index| (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect()
}

/// Whether all elements are as they were written.
pub(crate) fn whole(elements: &[u64]) {
    let wrong = elements.iter().zip(canaries(elements.len())).position(|(is, was)| *is != was);
    assert_eq!(wrong, None, "CANARY: a wrong byte in {elements:x?}");
}

/// Keeps a snapshot.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[allow(unreachable_pub, reason = "its generated proxy is as public")]
pub struct Note {
    text: String,
}

impl Snapshot for Note {
    type Saved = Self;

    fn save(&self) -> Self {
        self.clone()
    }

    fn restore(saved: Self) -> Result<Self, MethodError> {
        Ok(saved)
    }
}

#[sharehold::class(snapshot)]
impl Note {
    pub fn new(text: String) -> Self {
        Self { text }
    }

    pub fn text(&self) -> String {
        self.text.clone()
    }

    pub fn write(&mut self, text: String) {
        self.text = text;
    }

    /// Takes its time.
    pub fn rest(&self) {
        std::thread::sleep(IN_VAIN);
    }

    /// Goes on as long as the one that has called waits.
    pub fn wait_for_end(&self) {
        while !sharehold::is_cancelled() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Elements of an array.
    pub fn measure(&self, array: &Array<u64>) -> usize {
        array.len()
    }

    /// What is published.
    pub fn find(&self, name: String) -> Result<Object, MethodError> {
        Ok(Manager::current()?.lookup(&name)?)
    }

    /// Bytes of a text.
    pub fn count(&self, text: String) -> usize {
        text.len()
    }

    /// Locks the blackboard until the broker dies.
    pub fn lock(&self, blackboard: Object) -> Result<(), MethodError> {
        let blackboard: Array<u64> = blackboard.downcast()?;
        let _lock = blackboard.write()?;
        loop {
            std::thread::park();
        }
    }
}

/// The role of the broker: a small region, so that all of it can be compared after each instruction.
pub(crate) fn serve(arguments: &[String]) {
    let broker = Broker::builder().capacity(4 << 20).class::<Note>().debuggable();
    let broker = broker.objects(64).sessions(6).tickets(64).names(16).types(16);
    served::serve_with(arguments, broker, || say(thread_id())).expect("served");
}

/// What there is in a region when nobody is doing anything.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Census {
    objects: u64,
    sessions: u32,
    tickets: u32,
    names: u32,
    heap_used: u64,
    damaged: u32,
    board: (u64, u32, usize),
    shelf: (u64, u32, usize),
}

pub(crate) struct Fixture {
    pub(crate) board: Array<u64>,
    /// All elements are the same; written under its lock.
    pub(crate) blackboard: Array<u64>,
    /// All elements are the same.
    pub(crate) counter: Value<[u64; 8]>,
    pub(crate) shelf: List,
    /// Both ends of a channel, which is empty.
    pub(crate) sender: Sender<Array<u64>>,
    pub(crate) receiver: Receiver<Array<u64>>,
    pub(crate) manager: Manager,
    /// Last: it ends when all proxies are gone.
    pub(crate) served: Served,
}

impl Fixture {
    pub(crate) fn new(backing: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let served = Served::start(&format!("steps-{}", NUMBER.fetch_add(1, Relaxed)), backing);
        let manager = served.manager();
        let board = manager.array(&canaries(BOARD)).expect("room");
        let blackboard = manager.array(&[0_u64; 64]).expect("room");
        let counter = manager.value([0_u64; 8]).expect("room");
        let shelf = List::new(&manager).expect("room");
        let belt: Channel<Array<u64>> = manager.channel(2).expect("room");
        let (sender, receiver) = (belt.sender().expect("free"), belt.receiver().expect("free"));
        manager.publish("belt", &belt).expect("published");
        manager.publish("board", &board).expect("published");
        manager.publish("blackboard", &blackboard).expect("published");
        manager.publish("counter", &counter).expect("published");
        manager.publish("shelf", &shelf).expect("published");
        Self { board, blackboard, counter, shelf, sender, receiver, manager, served }
    }

    /// How many references to the board a broker has left that died while it answered: the next one takes them back some time later.
    fn replies(&self) -> Option<u32> {
        let tickets = self.manager.tickets().ok()?;
        let replies = tickets.iter().filter(|ticket| ticket.object == self.board.id() && ticket.expires_in.is_none());
        Some(replies.count() as u32)
    }

    fn census(&self) -> Option<Census> {
        let (stats, replies) = (self.manager.stats().ok()?, self.replies()?);
        let holders = |info: sharehold::ObjectInfo| (info.proxies(), info.pins, info.holders.len());
        let mut board = self.manager.object_info(self.board.id()).ok()?;
        board.pins = board.pins.checked_sub(replies)?;
        Some(Census {
            objects: stats.objects,
            sessions: stats.sessions,
            tickets: stats.tickets.checked_sub(replies)?,
            names: stats.names,
            heap_used: stats.heap_used,
            damaged: stats.damaged,
            board: holders(board),
            shelf: holders(self.manager.object_info(self.shelf.id()).ok()?),
        })
    }

    /// Remembers what there is now.
    pub(crate) fn base(&self) -> Base {
        Base(self.census().expect("a broker"))
    }

    /// Waits until the session is known to a broker that has taken over.
    pub(crate) fn wait_for_session(&self) {
        eventually_or("the session is back", || self.manager.stats().map(drop).map_err(|error| format!("{error:?}")));
    }

    /// Waits for the sweep of those who have died.
    pub(crate) fn wait_for_sweep(&self, base: &Base) {
        eventually("the dead are swept", || self.manager.stats().is_ok_and(|stats| stats.sessions == base.0.sessions));
    }

    /// Waits until nothing is left of the answers of dead brokers.
    pub(crate) fn wait_for_replies(&self, base: &Base) {
        eventually("the replies of the dead are taken back", || self.replies() == Some(0));
        self.must_be(base);
    }

    /// All is as it was: nothing leaks, nothing is lost, no byte is wrong, no mark is left, and a check finds nothing.
    pub(crate) fn must_be(&self, base: &Base) {
        let mut last = None;
        eventually_or("all is as it was", || {
            last = self.census();
            if last.as_ref() == Some(&base.0) { Ok(()) } else { Err(format!("{last:?}\nand not {:?}", base.0)) }
        });
        assert_eq!(check(&self.served.name).expect("checked").findings, Vec::<String>::new());
        whole(&self.board.read_for(PATIENCE).expect("nobody writes"));
        assert!(self.receiver.try_recv().expect("whole").is_none());
        // All its entries.
        for _ in 0..2 {
            self.sender.try_send(self.board.clone()).expect("room");
        }
        assert_eq!(
            self.receiver.try_iter().map(|array| array.expect("whole").id()).collect::<Vec<_>>(),
            [self.board.id(); 2]
        );
        // Shorter than one waits for an owner before looking whether he lives: nobody has the locks, so nobody waits.
        let blackboard = self.blackboard.write_for(AT_ONCE).expect("no mark is left, and no lock");
        assert!(blackboard.iter().all(|x| *x == blackboard[0]), "torn: {:?}", &*blackboard);
        let counter = self.counter.update_for(AT_ONCE, |all| *all).expect("no lock is left");
        assert!(counter.iter().all(|x| *x == counter[0]), "torn: {counter:?}");
    }
}

/// What there is to be after each kill.
pub(crate) struct Base(Census);

/// As `eventually`, and says what is wrong.
fn eventually_or(what: &str, mut holds: impl FnMut() -> Result<(), String>) {
    let until = Instant::now() + PATIENCE;
    while let Err(wrong) = holds() {
        assert!(Instant::now() < until, "in vain: {what}: {wrong}");
        std::thread::yield_now();
    }
}
