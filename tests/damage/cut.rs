//! A segment that is cut off.

use std::fs::{File, OpenOptions};

use sharehold::{Array, Backing, Broker, ErrorKind, Manager, check};

use crate::common::eventually;
use crate::common::region::{PAGE, Region};
use crate::common::served::Served;

#[test]
fn a_segment_that_was_cut_off_is_found_before_it_is_touched() {
    let name = format!("cut-{}", std::process::id());
    let running = Broker::builder()
        .name(&name)
        .capacity(1 << 20)
        .objects(100)
        .backing(Backing::Segment)
        .spawn()
        .expect("started");
    let manager = Manager::connect(&name).expect("connected");
    let _value = manager.value(1_u8).expect("room");
    // A copy under another name, as a broker that was killed leaves it, but shorter.
    let uid = std::fs::metadata("/proc/self").map(|me| std::os::unix::fs::MetadataExt::uid(&me)).expect("me");
    let left = format!("{name}-left");
    let (from, to) = (format!("/dev/shm/sharehold-{uid}-{name}"), format!("/dev/shm/sharehold-{uid}-{left}"));
    struct Remove(String);
    impl Drop for Remove {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
    let _remove = Remove(to.clone());
    std::fs::copy(&from, &to).expect("copied");
    assert!(check(&left).is_ok());
    let whole = std::fs::metadata(&to).expect("there").len();
    for len in [whole - 1, whole / 2, PAGE + 1, PAGE, 1, 0] {
        OpenOptions::new().write(true).open(&to).expect("open").set_len(len).expect("cut");
        let error = check(&left).expect_err("cut off");
        assert_eq!(error.kind(), ErrorKind::Damaged, "{len}: {error}");
    }
    running.stop().expect("in order");
}

/// Cuts the file of a region off while its broker sleeps, which touches nothing then. It has its length again in the end, also if the test fails: the proxies that are dropped
/// after it touch it.
struct Cut<'a>(&'a File, u64);

impl<'a> Cut<'a> {
    fn off(region: &'a Region, broker: u32, len: u64) -> Self {
        let whole = region.file.metadata().expect("there").len();
        let is_asleep = || {
            let threads = std::fs::read_dir(format!("/proc/{broker}/task")).expect("it lives").flatten();
            let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
            stats.filter_map(|stat| Some(stat.rsplit_once(") ")?.1.starts_with('S'))).all(|sleeps| sleeps)
        };
        eventually("it sleeps", || is_asleep() && is_asleep());
        region.file.set_len(len).expect("cut");
        Self(&region.file, whole)
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if self.0.metadata().is_ok_and(|now| now.len() < self.1) {
            let _ = self.0.set_len(self.1);
        }
    }
}

/// Whoever may write a segment may cut it off at any time, which no seal prevents.
#[test]
fn a_segment_that_is_cut_off_under_its_broker_loses_what_lay_behind_the_cut_and_nothing_else() {
    let served = Served::start("shrunk", "segment");
    let manager = served.manager();
    let region = Region::of(&served.name);
    // Small objects lie at the start of the heap, large ones at its end.
    let small = manager.array(&[1_u64; 8]).expect("room");
    let large = manager.array(&[2_u64; 1000]).expect("room");
    manager.publish("small", &small).expect("published");
    manager.publish("large", &large).expect("published");
    let broker = manager.stats().expect("stats").broker_pid;
    let _cut = Cut::off(&region, broker, region.heap + (1 << 20));
    // The broker gives it its length again before it does anything else.
    let findings = check(&served.name).expect("checked").findings;
    assert!(
        findings.iter().any(|finding| finding.contains("was cut off") && finding.contains("1 objects")),
        "{findings:?}"
    );
    assert_eq!(manager.lookup::<Array<u64>>("large").expect_err("lost").kind(), ErrorKind::Damaged);
    assert_eq!(*manager.lookup::<Array<u64>>("small").expect("found").read().expect("read"), [1; 8]);
    // Zeros, and no SIGBUS.
    assert_eq!(*large.read().expect("read"), [0; 1000]);
    for n in 0..100 {
        let array = manager.array(&[n; 10_000]).expect("room");
        assert_eq!(array.read().expect("read")[9999], n);
    }
    assert_eq!(manager.stats().expect("stats").broker_pid, broker);
    assert_eq!(manager.stats().expect("stats").damaged, 1);
}

#[test]
fn a_broker_whose_tables_were_cut_off_says_so_and_ends_in_order() {
    for len in [PAGE, 1, 0] {
        let mut served = Served::start("lost", "segment");
        let (manager, region) = (served.manager(), Region::of(&served.name));
        let value = manager.value(1_u8).expect("room");
        let broker = manager.stats().expect("stats").broker_pid;
        let cut = Cut::off(&region, broker, len);
        assert_eq!(manager.value(2_u8).expect_err("lost").kind(), ErrorKind::BrokerGone, "{len}");
        let broker = served.take();
        assert_eq!(broker.hear(), "Damaged");
        broker.end();
        // What the file has again is zero.
        drop((cut, value, manager));
        served.serve("segment");
        assert_eq!(served.manager().number_of_objects().expect("ours"), 0);
    }
}
