//! LMDB, by heed: a memory-mapped store whose readers copy nothing and take no lock.
//!
//! It need not survive a crash of the machine here, so it does not wait for the disk (`NO_SYNC`), and writes into its map (`WRITE_MAP`), which lies in memory.

use std::hint::black_box;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

use crate::contestant::{Contestant, Prepared, Role, locked, repeat};
use crate::contestants::floors::name;
use crate::dice::Dice;
use crate::stage::Stage;
use crate::workload::{Operation, SMALL};

pub const CONTESTANT: Contestant = Contestant {
    name: "LMDB",
    role: Role::Rival,
    version: || locked("heed").map(|version| format!("0.9, by heed {version}")),
    prepare,
    memory: Some(|live, stage| {
        let store = Store::open(stage);
        store.fill(live);
        store.env.non_free_pages_size().expect("known") as f64 / live as f64
    }),
};

struct Store {
    env: Env,
    objects: Database<Bytes, Bytes>,
}

impl Store {
    fn open(stage: &Stage) -> Self {
        let folder = stage.fresh("lmdb");
        std::fs::create_dir(&folder).expect("a folder");
        let mut options = EnvOpenOptions::new();
        options.map_size(1 << 30);
        // SAFETY: what a crash may break is thrown away anyway.
        unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP | EnvFlags::NO_READ_AHEAD) };
        // SAFETY: nobody else opens or changes the files.
        let env = unsafe { options.open(folder) }.expect("opened");
        let mut writing = env.write_txn().expect("a transaction");
        let objects = env.create_database(&mut writing, None).expect("created");
        writing.commit().expect("committed");
        Self { env, objects }
    }

    fn fill(&self, live: usize) {
        let mut writing = self.env.write_txn().expect("a transaction");
        for n in 0..live {
            self.objects.put(&mut writing, name(n).as_bytes(), &[7; SMALL]).expect("put");
        }
        writing.commit().expect("committed");
    }

    /// Others see what was committed: so creating and removing are transactions of their own.
    fn put_get_delete(&self) {
        let key = b"object";
        let mut writing = self.env.write_txn().expect("a transaction");
        self.objects.put(&mut writing, key, black_box(&[7; SMALL])).expect("put");
        writing.commit().expect("committed");
        let reading = self.env.read_txn().expect("a transaction");
        assert!(black_box(self.objects.get(&reading, key).expect("read").expect("there"))[SMALL - 1] == 7);
        drop(reading);
        let mut writing = self.env.write_txn().expect("a transaction");
        self.objects.delete(&mut writing, key).expect("deleted");
        writing.commit().expect("committed");
    }
}

fn prepare(operation: Operation, stage: &Stage) -> Option<Prepared> {
    match operation {
        Operation::Create => {
            let store = Store::open(stage);
            Prepared::each("put + get + del", move || store.put_get_delete())
        }
        Operation::Get { live, .. } => {
            let store = Store::open(stage);
            store.fill(live);
            let names: Vec<String> = (0..live).map(name).collect();
            let mut dice = Dice(1);
            Prepared::new("get in a long transaction", move |times| {
                // As its documentation recommends: one transaction for many reads.
                let reading = store.env.read_txn().expect("a transaction");
                repeat(times, || {
                    let name = names[dice.below(live)].as_bytes();
                    assert!(black_box(store.objects.get(&reading, name).expect("read").expect("there"))[0] == 7);
                })
            })
        }
        _ => None,
    }
}
