//! Finds hosted objects that only hold each other, and frees them.
//!
//! Counting never frees a cycle. A cycle is garbage if every reference to its objects is in one of them. Suspects are found by looking at objects that go on
//! working meanwhile, so some of what is seen is not true any more; then all suspects are frozen, so that no reference can leave them, and each is counted
//! again. One that has a reference elsewhere is let go, with all that it reaches, until the rest hold nothing but each other.
//!
//! Counting proves only what was before. Who has an object's id and no reference, as a weak proxy or one who has read a name that was removed since, may take one at any
//! time. So each is killed by a swap of `refs` from the very value that was read before its rows: whoever takes a reference changes it. If one swap
//! fails, those that were killed are set back to live, still frozen, and all is given up until the next time.

use std::collections::HashMap;
use std::sync::Arc;

use super::host::{Host, Hosted};
use crate::class::cell::Frozen;
use crate::class::failure::guarded;
use crate::object::Proxy;
use crate::region::{ObjectId, Region, SessionIndex};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::table::refs::Refs;
use crate::table::{Counts, counting, sessions};

/// References from objects to objects, each as often as it is there.
type Edges = HashMap<ObjectId, Vec<ObjectId>>;

/// Frees all cycles that nobody can reach. Returns how many objects that were.
pub(super) fn collect(host: &Arc<Host>) -> u64 {
    let _alone = host.collecting();
    let objects = host.all();
    let region = host.region();
    let edges: Edges =
        objects.iter().filter_map(|hosted| Some((hosted.id, edges_of(&*hosted.cell.freeze()?)?))).collect();
    let suspects = unreachable(region, &edges);
    let suspects: Vec<&Arc<Hosted>> = objects.iter().filter(|hosted| suspects.contains_key(&hosted.id)).collect();
    let mut frozen: HashMap<ObjectId, Box<dyn Frozen + '_>> =
        suspects.iter().filter_map(|hosted| Some((hosted.id, hosted.cell.freeze()?))).collect();
    let edges: Edges = frozen.iter().filter_map(|(id, cell)| Some((*id, edges_of(&**cell)?))).collect();
    let garbage = unreachable(region, &edges);
    if garbage.is_empty() || !kill(region, &garbage) {
        return 0;
    }
    let contents: Vec<_> = garbage.keys().filter_map(|id| frozen.remove(id)).map(Frozen::take).collect();
    drop(frozen);
    // They let go of each other here.
    for content in contents {
        let _ = guarded(format_args!("collect"), || {
            drop(content);
            Ok(())
        });
    }
    host.free_killed(garbage.keys().copied());
    tracing::info!(objects = objects.len(), freed = garbage.len(), "collected cycles");
    garbage.len() as u64
}

/// Kills all of them, or none.
fn kill(region: &Region, garbage: &HashMap<ObjectId, Refs>) -> bool {
    let mut killed: Vec<(&AtomicU64, Refs)> = Vec::new();
    for (id, before) in garbage {
        let Ok(words) = region.slot_words(*id) else { continue };
        let dead = before.dead(SessionIndex::BROKER);
        if words.refs.compare_exchange(before.0, dead.0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            for (refs, dead) in killed {
                // Nobody else changes what is dead and not on the stack of returned slots.
                refs.store(dead.live(0).0, Ordering::Release);
            }
            tracing::debug!(object = %id, "a cycle was taken up again while it was to be collected");
            return false;
        }
        killed.push((words.refs, dead));
    }
    true
}

/// What an object holds. `None` if its class fails to tell.
fn edges_of(cell: &dyn Frozen) -> Option<Vec<ObjectId>> {
    let mut held = Vec::new();
    let told = guarded(format_args!("references"), || {
        cell.references(&mut |object| held.push(object.id()));
        Ok(())
    });
    told.ok().map(|()| held)
}

/// The largest part of the noted objects of which nothing is referred to from elsewhere, with the `refs` that each had before it was counted.
fn unreachable(region: &Region, edges: &Edges) -> HashMap<ObjectId, Refs> {
    let mut inside: HashMap<ObjectId, u64> = HashMap::new();
    for held in edges.values().flatten() {
        *inside.entry(*held).or_default() += 1;
    }
    let mut left = HashMap::new();
    let mut reached = Vec::new();
    for id in edges.keys() {
        match held_only_by(region, *id, inside.get(id).copied().unwrap_or(0)) {
            Some(refs) => _ = left.insert(*id, refs),
            None => reached.push(*id),
        }
    }
    // Without recursion: a chain may be as long as there are objects.
    while let Some(id) = reached.pop() {
        for held in edges.get(&id).into_iter().flatten() {
            if left.remove(held).is_some() {
                reached.push(*held);
            }
        }
    }
    left
}

/// The `refs` of an object that has exactly this many references, all of them the broker's, as they were before the rows were read.
fn held_only_by(region: &Region, id: ObjectId, references: u64) -> Option<Refs> {
    let words = region.slot_words(id).ok()?;
    let before = Refs(words.refs.load(Ordering::Acquire));
    if !before.is_live() || before.pins() != 0 || region.id_of(id.slot()) != Some(id) {
        return None;
    }
    let agree = sessions::attached(region).all(|session| {
        let count = Counts::cell(region, session.index, id.slot()).map_or(0, |cell| cell.load(Ordering::Acquire));
        count == if session.index == SessionIndex::BROKER { references.wrapping_mul(counting::PROXY) } else { 0 }
    });
    agree.then_some(before)
}
