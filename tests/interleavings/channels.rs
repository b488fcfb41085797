//! References in a channel: `src/table/ring.rs`, and the seats of those who have an end of it.
#![expect(clippy::expect_used, reason = "a test that can't go on fails")]

use std::rc::Rc;

use loom::thread;

use crate::flaw::Flaw;
use crate::region::{Generation, ObjectId, SlotIndex};
use crate::scenes::join;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::table::ring::Ring;
use crate::table::seats::{NO_SENDERS, Side};
use crate::world::{ONE, Session, TWO, World, first};

const A: SlotIndex = SlotIndex(0);
const B: SlotIndex = SlotIndex(1);

/// The words of a channel.
struct Words {
    tail: AtomicU64,
    head: AtomicU64,
    entries: Vec<AtomicU64>,
}

impl Words {
    fn new(entries: usize) -> Rc<Self> {
        Rc::new(Self {
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            entries: (0..entries).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn ring(&self) -> Ring<'_> {
        Ring { tail: &self.tail, head: &self.head, entries: &self.entries, is_single: false }
    }

    /// As `Sender::offer`.
    fn send(&self, session: &Session, id: ObjectId) -> bool {
        let store = || {
            while let Some(vacancy) = self.ring().vacancy().expect("whole") {
                if self.ring().fill(&vacancy, id) {
                    return true;
                }
            }
            false
        };
        session.send(id, store)
    }

    /// As `Receiver::take`.
    fn receive(&self, session: &Session) -> Option<ObjectId> {
        while let Some(oldest) = self.ring().oldest().expect("whole") {
            let id = ObjectId::new(oldest.slot, Generation(1));
            if session.receive(id, || self.ring().take(&oldest)) {
                return Some(id);
            }
        }
        None
    }

    fn stored(&self, id: ObjectId) -> u32 {
        self.ring().full().filter(|full| full.slot == id.slot()).count() as u32
    }
}

/// Receives, and lets go of what it gets.
fn use_up(words: &Words, session: &Session) -> u32 {
    let mut count = 0;
    while let Some(id) = words.receive(session) {
        session.read(id);
        session.let_go(id.slot());
        count += 1;
    }
    count
}

/// One sends its last proxy while another receives: the object is whole there, and dies there.
pub(crate) fn hand_over() {
    let (world, words) = (World::new([[0, 0], [1, 0], [0, 0]], 0), Words::new(2));
    let (two, theirs) = (Session::new(&world, TWO), Rc::clone(&words));
    let receiver = thread::spawn(move || _ = use_up(&theirs, &two));
    let one = Session::new(&world, ONE);
    one.write(first(0));
    assert!(words.send(&one, first(0)));
    join(receiver);
    use_up(&words, &one);
    world.assert_freed(0, 1);
}

/// Two want the one that is there: one gets it.
pub(crate) fn two_receive() {
    let (world, words) = (World::new([[0, 0], [1, 0], [0, 0]], 0), Words::new(1));
    let one = Session::new(&world, ONE);
    assert!(words.send(&one, first(0)));
    let (two, theirs) = (Session::new(&world, TWO), Rc::clone(&words));
    let other = thread::spawn(move || _ = use_up(&theirs, &two));
    use_up(&words, &one);
    join(other);
    assert_eq!(words.stored(first(0)), 0, "it was there");
    world.assert_freed(0, 1);
}

/// Two send at once, and there is room for one: the other has its proxy still.
pub(crate) fn two_send() {
    let (world, words) = (World::new([[0, 0], [1, 0], [0, 1]], 0), Words::new(1));
    let (two, theirs) = (Session::new(&world, TWO), Rc::clone(&words));
    let other = thread::spawn(move || {
        if !theirs.send(&two, first(1)) {
            two.read(first(1));
            two.let_go(B);
        }
    });
    let one = Session::new(&world, ONE);
    if !words.send(&one, first(0)) {
        one.read(first(0));
        one.let_go(A);
    }
    join(other);
    assert_eq!(use_up(&words, &one), 1, "one has found room");
    world.assert_freed(0, 1);
    world.assert_freed(1, 1);
}

/// The broker audits an object while another takes it out.
pub(crate) fn audit_against_reception() {
    let (world, words) = (World::new([[0, 0], [1, 0], [0, 0]], 0), Words::new(1));
    let one = Session::new(&world, ONE);
    assert!(words.send(&one, first(0)));
    let (two, theirs) = (Session::new(&world, TWO), Rc::clone(&words));
    let receiver = thread::spawn(move || {
        let id = theirs.receive(&two).expect("it is there");
        two.read(id);
        assert_ne!(two.pins_of(A), None, "a proxy of a dead object");
        // And back again, while the audit goes on.
        assert!(theirs.send(&two, id));
    });
    world.audit(A, Flaw::LooksOnce.is_planted(), || words.stored(first(0)));
    join(receiver);
    assert_eq!(one.pins_of(A), Some(words.stored(first(0))), "pins that nobody stands for, or too few");
    assert_eq!(use_up(&words, &one), 1);
    world.assert_freed(0, 1);
}

struct Seats {
    state: AtomicU32,
    seats: [AtomicU64; 2],
}

impl Seats {
    fn new() -> Rc<Self> {
        Rc::new(Self { state: AtomicU32::new(0), seats: std::array::from_fn(|_| AtomicU64::new(0)) })
    }

    fn side(&self) -> Side<'_> {
        Side { state: &self.state, seats: &self.seats, none: NO_SENDERS }
    }

    /// The state says that there are none if and only if there are none.
    fn assert_settled(&self) {
        let none = self.state.load(Ordering::Acquire) & NO_SENDERS != 0;
        assert_eq!(none, !self.side().is_used(), "the state says something else than the seats");
    }
}

/// The last two leave at once.
pub(crate) fn two_leave() {
    let seats = Seats::new();
    [1, 2].into_iter().for_each(|me| seats.side().open(me, false).expect("room"));
    let theirs = Rc::clone(&seats);
    let other = thread::spawn(move || _ = theirs.side().close(2));
    seats.side().close(1);
    join(other);
    seats.assert_settled();
}

/// The last one leaves while another comes.
pub(crate) fn one_leaves_and_one_comes() {
    let seats = Seats::new();
    seats.side().open(1, false).expect("room");
    let theirs = Rc::clone(&seats);
    let other = thread::spawn(move || theirs.side().open(2, false).expect("room"));
    seats.side().close(1);
    join(other);
    seats.assert_settled();
}
