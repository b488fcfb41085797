//! Finds hosted objects that only hold each other, and frees them.
//!
//! Counting never frees a cycle. A cycle is garbage if every reference to its objects is in one of them. Suspects are found by looking at objects that go on
//! working meanwhile, so some of what is seen is not true any more; then all suspects are frozen, so that no reference can leave them, and each is counted
//! again. One that has a reference elsewhere is let go, with all that it reaches, until the rest hold nothing but each other.
//!
//! Why the second count can be believed: a reference to a frozen object is in a row of the ledger, a pin, or both while it moves. Taking one that is stored bumps
//! the epoch, so if `refs` is the same before and after the rows were read, none came out of a pin meanwhile; and the only stored references without a pin, those
//! inside of suspects, are behind their locks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::host::{Host, Hosted};
use crate::class::cell::Frozen;
use crate::class::failure::guarded;
use crate::object::Proxy;
use crate::region::{ObjectId, Region, SessionIndex};
use crate::sync::atomic::Ordering;
use crate::table::refs::Refs;
use crate::table::{Counts, counting, sessions};

/// References from objects to objects, each as often as it is there.
type Edges = HashMap<ObjectId, Vec<ObjectId>>;

/// Frees all cycles that nobody can reach. Returns how many objects that were.
pub(super) fn collect(host: &Arc<Host>) -> u64 {
    let objects = host.all();
    let region = host.region();
    let edges: Edges =
        objects.iter().filter_map(|hosted| Some((hosted.id, edges_of(&*hosted.cell.freeze()?)?))).collect();
    let suspects = unreachable(region, &edges, &edges.keys().copied().collect());
    if suspects.is_empty() {
        return 0;
    }
    let suspects: Vec<&Arc<Hosted>> = objects.iter().filter(|hosted| suspects.contains(&hosted.id)).collect();
    let mut frozen: HashMap<ObjectId, Box<dyn Frozen + '_>> =
        suspects.iter().filter_map(|hosted| Some((hosted.id, hosted.cell.freeze()?))).collect();
    let edges: Edges = frozen.iter().filter_map(|(id, cell)| Some((*id, edges_of(&**cell)?))).collect();
    let garbage = unreachable(region, &edges, &edges.keys().copied().collect());
    let contents: Vec<_> = garbage.iter().filter_map(|id| frozen.remove(id)).map(Frozen::take).collect();
    drop(frozen);
    // They let go of each other here; each then dies in the ordinary way.
    for content in contents {
        let _ = guarded(format_args!("collect"), || {
            drop(content);
            Ok(())
        });
    }
    host.take_back();
    tracing::info!(objects = objects.len(), freed = garbage.len(), "collected cycles");
    garbage.len() as u64
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

/// The largest part of `candidates` of which nothing is referred to from elsewhere.
fn unreachable(region: &Region, edges: &Edges, candidates: &HashSet<ObjectId>) -> HashSet<ObjectId> {
    let mut inside: HashMap<ObjectId, u64> = HashMap::new();
    for held in edges.values().flatten() {
        *inside.entry(*held).or_default() += 1;
    }
    let mut reached: Vec<ObjectId> = candidates
        .iter()
        .filter(|id| !is_held_by(region, **id, inside.get(id).copied().unwrap_or(0)))
        .copied()
        .collect();
    let mut left = candidates.clone();
    // Without recursion: a chain may be as long as there are objects.
    while let Some(id) = reached.pop() {
        if left.remove(&id) {
            reached.extend(edges.get(&id).into_iter().flatten());
        }
    }
    left
}

/// Whether an object has exactly this many references, all of them the broker's.
fn is_held_by(region: &Region, id: ObjectId, references: u64) -> bool {
    let Ok(words) = region.slot_words(id) else { return false };
    let before = Refs(words.refs.load(Ordering::Acquire));
    if !before.is_live() || before.pins() != 0 || region.id_of(id.slot()) != Some(id) {
        return false;
    }
    let rows_agree = sessions::attached(region).all(|session| {
        let count = Counts::cell(region, session.index, id.slot()).map_or(0, |cell| cell.load(Ordering::Acquire));
        count == if session.index == SessionIndex::BROKER { references * counting::PROXY } else { 0 }
    });
    rows_agree && words.refs.load(Ordering::Acquire) == before.0
}
