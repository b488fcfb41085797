//! Where contestants run, and where they put what they need.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use rustix::thread::CpuSet;

use crate::common::cores::{affinity, pin, set_affinity};
use crate::workload::Place;

/// The cores and the folder of a run. What is left in the folder goes with it.
pub struct Stage {
    all: CpuSet,
    place: Cell<Place>,
    folder: PathBuf,
    serial: Cell<u32>,
}

impl Stage {
    pub fn open() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("sharehold-rivals-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder of our own");
        Self { all: affinity(None), place: Cell::new(Place::OneCore), folder, serial: Cell::new(0) }
    }

    /// From now on this thread is on the first core that it may use, and whoever works beside it where the place says.
    pub fn set(&self, place: Place) {
        self.place.set(place);
        self.go_to(0);
    }

    /// Starts processes and threads on the core of those that work beside this thread: they inherit where they may run.
    pub fn beside<R>(&self, start: impl FnOnce() -> R) -> R {
        self.go_to(usize::from(self.place.get() == Place::TwoCores));
        let started = start();
        self.go_to(0);
        started
    }

    fn go_to(&self, core: usize) {
        set_affinity(None, &self.all);
        pin(None, core);
    }

    /// A path in the folder, and a name, that nobody else has.
    pub fn fresh(&self, what: &str) -> PathBuf {
        self.serial.set(self.serial.get() + 1);
        self.folder.join(format!("{what}-{}", self.serial.get()))
    }

    /// A name that nobody else on the machine has.
    pub fn unique(&self, what: &str) -> String {
        self.serial.set(self.serial.get() + 1);
        format!("rivals-{}-{what}-{}", std::process::id(), self.serial.get())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
