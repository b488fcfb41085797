//! Where processes run.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

pub fn affinity(pid: Option<u32>) -> CpuSet {
    sched_getaffinity(process(pid)).expect("the cores of a process")
}

/// Where a process, or this thread, may run.
pub fn set_affinity(pid: Option<u32>, cores: &CpuSet) {
    let Some(pid) = pid else { return sched_setaffinity(None, cores).expect("allowed") };
    // All threads that it has; those to come take after them.
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives").flatten() {
        let thread = task.file_name().to_string_lossy().parse().ok();
        // A thread may end meanwhile.
        let _ = sched_setaffinity(process(thread), cores);
    }
}

/// Keeps a process, or this thread, on the n-th core that it may use; on the last one if there are fewer.
pub fn pin(pid: Option<u32>, n: usize) {
    let all = affinity(pid);
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
    let mut one = CpuSet::new();
    one.set(cores[n.min(cores.len() - 1)]);
    set_affinity(pid, &one);
}

fn process(pid: Option<u32>) -> Option<Pid> {
    pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).expect("a pid")))
}
