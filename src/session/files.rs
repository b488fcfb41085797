//! The frozen objects that this process has mapped, with their files: a broker that follows one that was killed gets these back.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::region::ObjectId;
use crate::sys::frozen::Frozen;

#[derive(Default)]
pub(crate) struct Files(Mutex<HashMap<ObjectId, Weak<Frozen>>>);

impl Files {
    pub(super) fn find(&self, id: ObjectId) -> Option<Arc<Frozen>> {
        self.0.lock().get(&id).and_then(Weak::upgrade)
    }

    pub(super) fn keep(&self, id: ObjectId, bytes: &Arc<Frozen>) {
        let mut all = self.0.lock();
        all.retain(|_, bytes| bytes.strong_count() > 0);
        all.insert(id, Arc::downgrade(bytes));
    }

    /// All that is read here.
    pub(crate) fn all(&self) -> Vec<(ObjectId, Arc<Frozen>)> {
        self.0.lock().iter().filter_map(|(id, bytes)| Some((*id, bytes.upgrade()?))).collect()
    }
}
