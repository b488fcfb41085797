//! What this process has of slabs: slots that were granted to it and that nobody uses. Creating takes one, what dies comes back.
//!
//! Each thread has a few of each shape for itself, so that neither costs a lock or more than the shared words of the protocol (`docs/protocol.md`, "Slabs"); the rest stands on a shelf of the
//! process. All of it is private: what others write into the region is compared with it.
#![expect(unsafe_code, reason = "zeroed memory that is not touched until a slot is granted")]

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64};

use parking_lot::{Mutex, RwLock};

use super::Session;
use crate::error::Result;
use crate::region::layout::{DAMAGED, FILLED, Slot, WALKING};
use crate::region::{ObjectId, Offset, SlotIndex};
use crate::sync::atomic::{Ordering, fence};
use crate::sys::fork::ForkToken;
use crate::sys::memory;
use crate::table::Counts;
use crate::table::counting::{Checked, take_stack};
use crate::table::refs::Refs;
use crate::table::words::Words;

/// Most that a thread has of a shape; half of it goes to the shelf when it has more, or comes from there when it has none.
const MAGAZINE: usize = 32;
/// Most shapes that a thread has something of.
const MOST_MAGAZINES: usize = 16;

/// What objects have in common that can take each other's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: u32,
    pub(crate) type_fingerprint: u64,
    /// Bytes of payload.
    pub(crate) len: u64,
    pub(crate) align: u64,
}

/// A slot that is granted to this session and may be claimed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) id: ObjectId,
    pub(crate) refs: Refs,
    pub(crate) place: Offset,
}

/// The slabs of a session in one process. A forked child has others.
pub(crate) struct Slabs {
    /// Tells these slabs from all others that the process has ever had.
    home: u64,
    /// The number and generation of the session that they are granted to.
    number: u64,
    /// By slot: the number of its shelf + 1; 0 for one that is not of a slab of this session.
    places: Box<[AtomicU16]>,
    shelves: RwLock<Vec<Arc<Shelf>>>,
}

/// What the process has of one shape beside what its threads have.
pub(crate) struct Shelf {
    home: u64,
    /// Its number + 1.
    place: u16,
    shape: Shape,
    token: ForkToken,
    ready: Mutex<Vec<Ready>>,
    /// Held by the thread that asks the broker for more. Nobody needs it to bring something back.
    pub(crate) asking: Mutex<Asking>,
}

/// Objects of a shape that are asked for one by one, before there is a slab of it.
const SINGLES: u32 = 4;

/// How the process has asked for a shape so far.
#[derive(Debug)]
pub(crate) struct Asking {
    /// Objects that are yet to be asked for one by one.
    pub(crate) singles: u32,
    /// Slots of the last slab that was asked for.
    pub(crate) slots: u32,
    /// Whether one was asked for whose answer was not read yet.
    pub(crate) is_ordered: bool,
}

impl Default for Asking {
    fn default() -> Self {
        Self { singles: SINGLES, slots: 0, is_ordered: false }
    }
}

/// What a thread has of a shape.
struct Magazine {
    shelf: Arc<Shelf>,
    ready: Vec<Ready>,
}

/// The one that was used last comes first.
struct Magazines(Vec<Magazine>);

thread_local! {
    static MAGAZINES: RefCell<Magazines> = const { RefCell::new(Magazines(Vec::new())) };
}

impl Drop for Magazines {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Magazine::give_back);
    }
}

impl Magazine {
    /// Puts all of it on the shelf.
    fn give_back(self) {
        // In a forked child the shelf is of its parent, whose threads may have had it locked.
        if self.shelf.token.is_ours() && !self.ready.is_empty() {
            self.shelf.ready.lock().extend(self.ready);
        }
    }
}

impl Magazines {
    /// The magazine of a shelf, first from now on.
    fn find(&mut self, is_it: impl Fn(&Shelf) -> bool) -> Option<&mut Magazine> {
        let at = self.0.iter().position(|magazine| is_it(&magazine.shelf))?;
        self.0.swap(0, at);
        self.0.first_mut()
    }

    fn of(&mut self, shelf: &Arc<Shelf>) -> Option<&mut Magazine> {
        if self.find(|other| std::ptr::eq(other, &**shelf)).is_none() {
            if self.0.len() >= MOST_MAGAZINES {
                self.0.pop().into_iter().for_each(Magazine::give_back);
            }
            self.0.push(Magazine { shelf: Arc::clone(shelf), ready: Vec::with_capacity(MAGAZINE) });
            let last = self.0.len() - 1;
            self.0.swap(0, last);
        }
        self.0.first_mut()
    }
}

/// Does something with what this thread has. `None` where it has nothing any more, or is in the middle of this.
fn with_magazines<R>(work: impl FnOnce(&mut Magazines) -> Option<R>) -> Option<R> {
    MAGAZINES.try_with(|magazines| work(&mut *magazines.try_borrow_mut().ok()?)).ok()?
}

impl Slabs {
    /// Of a session with this number, in a region with so many slots: none yet.
    pub(super) fn new(number: u64, slots: u32) -> Self {
        static HOMES: AtomicU64 = AtomicU64::new(0);
        let home = HOMES.fetch_add(1, Ordering::Relaxed);
        // SAFETY: an atomic of zero bytes is an atomic with the value zero.
        let places = unsafe { Box::new_zeroed_slice(slots as usize).assume_init() };
        Self { home, number, places, shelves: RwLock::default() }
    }

    /// A slot of this shape that this thread has.
    #[inline]
    pub(crate) fn take(&self, shape: &Shape) -> Option<Ready> {
        let is_it = |shelf: &Shelf| shelf.home == self.home && shelf.shape == *shape;
        with_magazines(|magazines| magazines.find(is_it)?.ready.pop())
    }

    /// The shelf of a shape. `None` if there are too many.
    pub(crate) fn shelf(&self, shape: &Shape) -> Result<Option<Arc<Shelf>>> {
        let find = |shelves: &[Arc<Shelf>]| shelves.iter().find(|shelf| shelf.shape == *shape).map(Arc::clone);
        if let Some(shelf) = find(&self.shelves.read()) {
            return Ok(Some(shelf));
        }
        let mut shelves = self.shelves.write();
        let (Some(place), None) = (u16::try_from(shelves.len() + 1).ok(), find(&shelves)) else {
            return Ok(find(&shelves));
        };
        let shelf = Arc::new(Shelf {
            home: self.home,
            place,
            shape: *shape,
            token: ForkToken::of_this_process()?,
            ready: Mutex::default(),
            asking: Mutex::default(),
        });
        shelves.push(Arc::clone(&shelf));
        Ok(Some(shelf))
    }

    /// Notes slots that were granted for a shelf.
    pub(crate) fn add(&self, shelf: &Shelf, granted: impl Iterator<Item = Ready>) {
        let is_known = |ready: &Ready| {
            let place = self.places.get(ready.id.slot().0 as usize);
            place.map(|place| place.store(shelf.place, Ordering::Relaxed)).is_some()
        };
        shelf.ready.lock().extend(granted.filter(is_known));
    }

    /// Notes that a slot is not of these slabs any more.
    pub(crate) fn forget(&self, slot: SlotIndex) {
        if let Some(place) = self.places.get(slot.0 as usize) {
            place.store(0, Ordering::Relaxed);
        }
    }

    /// Puts a slot back that was taken, and not claimed.
    pub(crate) fn put_back(&self, ready: Ready) {
        if let Some(place) = self.place_of(ready.id.slot()) {
            self.put(place, ready);
        }
    }

    #[inline]
    pub(super) fn prefetch(&self, slot: SlotIndex) {
        memory::prefetch(self.places.as_ptr().wrapping_add(slot.0 as usize));
    }

    /// The place of a slot's shelf, if it is of a slab.
    #[inline]
    fn place_of(&self, slot: SlotIndex) -> Option<u16> {
        let place = self.places.get(slot.0 as usize)?.load(Ordering::Relaxed);
        (place != 0).then_some(place)
    }

    fn shelf_at(&self, place: u16) -> Option<Arc<Shelf>> {
        self.shelves.read().get(usize::from(place).checked_sub(1)?).map(Arc::clone)
    }

    /// Puts a slot back: with what this thread has, and if that is much, half of it on the shelf.
    fn put(&self, place: u16, ready: Ready) {
        let is_it = |shelf: &Shelf| shelf.home == self.home && shelf.place == place;
        let is_put = with_magazines(|magazines| {
            let magazine = match magazines.find(is_it) {
                Some(_) => magazines.0.first_mut()?,
                None => magazines.of(&self.shelf_at(place)?)?,
            };
            if magazine.ready.len() >= MAGAZINE {
                magazine.shelf.ready.lock().extend(magazine.ready.drain(..MAGAZINE / 2));
            }
            magazine.ready.push(ready);
            Some(())
        });
        if is_put.is_none()
            && let Some(shelf) = self.shelf_at(place)
        {
            shelf.ready.lock().push(ready);
        }
    }
}

impl Shelf {
    /// Takes one from the shelf, and some more for this thread. Tells how many are left.
    pub(crate) fn draw(self: &Arc<Self>) -> Option<(Ready, usize)> {
        let mut ready = self.ready.lock();
        let first = ready.pop()?;
        let more = ready.len().min(MAGAZINE / 2 - 1);
        let from = ready.len() - more;
        if more > 0 {
            with_magazines(|magazines| {
                magazines.of(self)?.ready.extend(ready.drain(from..));
                Some(())
            });
        }
        Some((first, ready.len()))
    }

    /// Tells it from other shelves of the process.
    pub(crate) fn key(&self) -> (u64, u16) {
        (self.home, self.place)
    }
}

impl Session {
    /// The slabs of this session, if it may have any: it counts for itself, and is no forked child that has yet to begin.
    #[inline]
    pub(crate) fn slabs(&self) -> Option<&Slabs> {
        let slabs = self.slabs.get();
        (slabs.number == self.number()).then_some(slabs)
    }

    /// As `Counting::check`, if the slot is of a slab of this session: then it is made anew. Returns whether it was one.
    #[inline]
    pub(super) fn check_own(&self, slot: SlotIndex) -> bool {
        let Some((slabs, place)) = self.slabs().and_then(|slabs| Some((slabs, slabs.place_of(slot)?))) else {
            return false;
        };
        match self.counting().check_own(slot, self.generation()) {
            Checked::Foreign => return false,
            Checked::Alive => {}
            Checked::Killed(dead) => match self.make_anew(slot, dead) {
                Some(ready) => slabs.put(place, ready),
                None => self.return_to_broker(slabs, slot),
            },
        }
        true
    }

    /// Makes a slot anew that this session has killed, or taken home (R73). `None`: it is the broker's.
    fn make_anew(&self, index: SlotIndex, dead: Refs) -> Option<Ready> {
        let region = self.region();
        let (slot, words): (&Slot, _) = (region.slot(index)?, Counts::slot(region, index)?);
        let (flags, said) = (slot.flags.load(Ordering::Relaxed), Words::read(slot));
        // What somebody else has written into it is found by the broker.
        let is_sound = flags & DAMAGED == 0 && said.are_sound(slot);
        // Relaxed: a broker that wants room looks for what is granted too.
        let is_wanted = region.header().wanted.load(Ordering::Relaxed) != 0;
        if is_wanted || !is_sound || !self.is_attached() {
            return None;
        }
        let next = said.renewed()?;
        let refs = self.counting().grant_anew(&words, dead, self.generation(), || {
            next.renew(slot);
            slot.lock.store(0, Ordering::Relaxed);
            slot.seq.store(0, Ordering::Relaxed);
            slot.flags.store(FILLED, Ordering::Relaxed);
        });
        Some(Ready { id: ObjectId::new(index, next.generation), refs, place: Offset(next.offset) })
    }

    /// Gives a slot up that is dead and of a slab of this session.
    #[cold]
    fn return_to_broker(&self, slabs: &Slabs, slot: SlotIndex) {
        slabs.forget(slot);
        let Some(words) = Counts::slot(self.region(), slot) else { return };
        self.with_lane(|lane| {
            // Released by the push.
            lane.store(slot.0 + 1, Ordering::Relaxed);
            self.counting().return_to_broker(&words, slot);
            lane.store(0, Ordering::Release);
        });
        if let Some(link) = self.link() {
            link.returned();
        }
    }

    /// Takes what other processes have brought back, and makes it anew (R74).
    pub(crate) fn take_home(&self) {
        let region = self.region();
        let (Some(slabs), Some(entry)) = (self.slabs(), region.session(self.index())) else { return };
        let left = self.with_lane(|lane| {
            lane.store(WALKING, Ordering::Relaxed);
            // Pairs with the fence of a broker that has won a slot: it sees that somebody walks here, or we see that it has won.
            fence(Ordering::SeqCst);
            let left = self.walk_home(slabs, take_stack(&entry.returned));
            lane.store(0, Ordering::Release);
            left
        });
        if let Some(link) = self.link().filter(|_| left != 0) {
            link.lost();
        }
    }

    /// Walks over a stack that was taken, from its head. Returns where it had to stop.
    fn walk_home(&self, slabs: &Slabs, mut next: u32) -> u32 {
        let region = self.region();
        // Nothing is on it twice: a ring would be somebody else's doing.
        for _ in 0..region.slots_used() {
            let Some(slot) = next.checked_sub(1).map(SlotIndex) else { break };
            let shelf = slabs.place_of(slot).and_then(|place| slabs.shelf_at(place));
            let (Some(shelf), Some(words)) = (shelf, Counts::slot(region, slot)) else { break };
            // The link first: what is made anew has none.
            next = words.next.load(Ordering::Relaxed);
            // Or the broker has it by now.
            let Some(dead) = self.counting().take_home(&words) else { continue };
            match self.make_anew(slot, dead) {
                Some(ready) => shelf.ready.lock().push(ready),
                None => self.return_to_broker(slabs, slot),
            }
        }
        next
    }
}
