//! Objects from the own slabs: without a message, as long as there is something ready, and asked for before there is nothing.

use std::sync::Arc;

use super::create::{ControlChannel, Created, PATIENCE, Wanted};
use super::message::{self, Granted, OrderSlab, Request, SLAB_SLOTS};
use crate::error::{Error, Result};
use crate::heap::Extents;
use crate::region::layout::{DAMAGED, PAGE};
use crate::region::{ObjectId, Offset};
use crate::session::slabs::{Asking, Ready, Shelf, Slabs};
use crate::session::{Hold, Session};
use crate::sync::atomic::Ordering;
use crate::table::refs::Refs;
use crate::table::words::Words;

/// Objects that are asked for one by one after the broker had no room for a slab.
const SINGLES_WITHOUT_ROOM: u32 = 64;
/// Slots of the first slab of a shape; each further one is so much larger.
const FIRST: u32 = 8;
const GROWTH: u32 = 4;

/// Creates an object from a slab of this session. `None`: it is to be asked for alone.
pub(super) fn create(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    wanted: &Wanted<'_>,
) -> Result<Option<Created>> {
    let Some(slabs) = session.slabs().filter(|_| is_small(wanted.shape.len)) else { return Ok(None) };
    loop {
        let ready = match slabs.take(&wanted.shape) {
            Some(ready) => ready,
            None => match stock_up(session, channel, slabs, wanted)? {
                Some(ready) => ready,
                None => return Ok(None),
            },
        };
        let claimed = Hold::claim(session, ready.id, ready.refs).inspect_err(|_| slabs.put_back(ready))?;
        // Else it was withdrawn, or somebody has written into it: then it goes to the broker with the hold.
        if let Some(hold) = claimed.filter(|_| is_as_granted(session, &ready, wanted)) {
            return Ok(Some(Created::at(hold, ready.place, wanted.shape.len)));
        }
    }
}

/// Whether an object of this size takes less than a page: its memory is the broker's to reserve, and a slab may have it.
pub(super) fn is_small(len: u64) -> bool {
    Extents::footprint(len).is_some_and(|footprint| footprint < PAGE)
}

/// Whether the slot says what it did when it was granted.
fn is_as_granted(session: &Session, ready: &Ready, wanted: &Wanted<'_>) -> bool {
    session.region().slot(ready.id.slot()).is_some_and(|slot| {
        let words = Words::read(slot);
        slot.flags.load(Ordering::Relaxed) & DAMAGED == 0
            && words.are_sound(slot)
            && (words.generation, words.offset, words.len) == (ready.id.generation(), ready.place.0, wanted.shape.len)
    })
}

/// Gets this thread more of a shape: from the shelf, from what has come back, or from the broker. `None`: there is none yet.
#[cold]
fn stock_up(
    session: &Session,
    channel: &dyn ControlChannel,
    slabs: &Slabs,
    wanted: &Wanted<'_>,
) -> Result<Option<Ready>> {
    let Some(shelf) = slabs.shelf(&wanted.shape)? else { return Ok(None) };
    if let Some((ready, left)) = shelf.draw() {
        if let Some(mut asking) = shelf.asking.try_lock() {
            order_in_time(channel, &shelf, &mut asking, left, wanted);
        }
        return Ok(Some(ready));
    }
    let mut asking = shelf.asking.lock();
    // Others may have brought something back meanwhile, or asked.
    if let Some((ready, _)) = shelf.draw() {
        return Ok(Some(ready));
    }
    if asking.slots > 0 {
        session.take_home();
        if let Some((ready, _)) = shelf.draw() {
            return Ok(Some(ready));
        }
    }
    if asking.singles > 0 {
        asking.singles -= 1;
        return Ok(None);
    }
    let ordered = std::mem::take(&mut asking.is_ordered).then(|| channel.delivered(shelf.key())).flatten();
    let answer = match ordered {
        Some(answer) => answer,
        None => {
            let body = next_order(&mut asking, wanted)?;
            // Whatever is the matter: it is found when the object is asked for alone.
            channel.call(Request::Slab, &body, PATIENCE).unwrap_or_default()
        }
    };
    slabs.add(&shelf, read(&answer).into_iter());
    let Some((ready, left)) = shelf.draw() else {
        *asking = Asking { singles: SINGLES_WITHOUT_ROOM, slots: FIRST, is_ordered: false };
        return Ok(None);
    };
    order_in_time(channel, &shelf, &mut asking, left, wanted);
    Ok(Some(ready))
}

/// Asks for the next slab while some of the last one is left, without waiting for the answer. The first one is small and costs more to wait for than it saves.
fn order_in_time(
    channel: &dyn ControlChannel,
    shelf: &Arc<Shelf>,
    asking: &mut Asking,
    left: usize,
    wanted: &Wanted<'_>,
) {
    let is_due = asking.slots > FIRST && left * 4 < asking.slots as usize;
    if is_due && !asking.is_ordered {
        asking.is_ordered = next_order(asking, wanted).is_ok_and(|body| channel.order(shelf.key(), &body));
    }
}

fn next_order(asking: &mut Asking, wanted: &Wanted<'_>) -> Result<Vec<u8>> {
    let count = (asking.slots * GROWTH).clamp(FIRST, SLAB_SLOTS as u32);
    asking.slots = count;
    message::archive(&OrderSlab { create: wanted.create(), count })
}

/// What a broker has granted.
fn read(answer: &[u8]) -> Vec<Ready> {
    let ready = |granted: Granted| Ready {
        id: ObjectId::from_bits(granted.object),
        refs: Refs(granted.refs),
        place: Offset(granted.offset),
    };
    message::slab(answer).unwrap_or_else(not_read).into_iter().map(ready).collect()
}

fn not_read(error: Error) -> Vec<Granted> {
    tracing::warn!(%error, "a slab can't be read");
    Vec::new()
}
