//! A client is killed at every step of an operation.

use std::process::Command;
use std::time::Instant;

use crate::common::{Actor, eventually};
use crate::fixture::Fixture;
use crate::operations::{Operation, Prepared, operations};
use crate::report::{Place, Report};
use crate::shared::rings;
use crate::tracer::{BEGIN, END, Next, Tracee};
use crate::view::View;
use crate::walk::{Track, Walk, Walked, Which};

/// The role of the one that is killed.
pub(crate) fn perform(broker: &str, operation: &str, text: &str) {
    (find(operation).perform)(broker, text);
}

pub(crate) fn find(operation: &str) -> &'static Operation {
    operations().find(|known| known.name == operation).expect("known")
}

/// A process that is stopped where an operation begins.
pub(crate) fn start(fixture: &Fixture, operation: &Operation, prepared: &Prepared) -> (Actor, Tracee) {
    let mut command = Command::new("/proc/self/exe");
    command.env("SHAREHOLD_CALL_RING", if operation.has_ring() { "on" } else { "off" });
    let mut actor = Actor::start_by(command, "client", &[&fixture.served.name, operation.name, &prepared.text]);
    let mut tracee = Tracee::seize(actor.pid(), actor.hear().parse().expect("a thread"));
    tracee.interrupt();
    actor.tell("begin");
    tracee.run_to(BEGIN);
    (actor, tracee)
}

pub(crate) fn kill_at_every_step(operation: &str) {
    let operation = find(operation);
    let Some(which) = Which::asked() else { return };
    let mut fixture = Fixture::new("memfd");
    let mut view = View::of(&fixture.served.name);
    let base = fixture.base();
    let core = crate::report::Core::take();
    let mut report = Report::new(operation.name);
    let mut track = Track::default();
    let mut point = which.first;
    loop {
        let mut place = Place { what: operation.name, point, walked: Walked::default(), address: 0 };
        let prepared = (operation.prepare)(&fixture);
        let (actor, mut tracee) = start(&fixture, operation, &prepared);
        let others = [fixture.served.broker().pid()];
        let mut walk = Walk { tracee: &mut tracee, view: &mut view, others: &others, points: which.points };
        let walked = walk.to(point, &mut track, |_| false);
        (place.walked, place.address) = (walked.unwrap_or_default(), tracee.place());
        assert!(walked.is_none_or(|walked| walked.reached || tracee.next() == Next::SystemCall(END)), "it waits");
        tracee.kill();
        let killed = Instant::now();
        (operation.next)(&fixture, &prepared);
        let next = killed.elapsed();
        tracee.reap();
        actor.kill();
        fixture.wait_for_sweep(&base);
        (operation.tidy)(&fixture, prepared);
        fixture.must_be(&base);
        let broker = fixture.served.broker().pid();
        eventually("the rings of the dead are gone", || {
            let mine: Vec<_> = rings(std::process::id()).map(|ring| ring.inode).collect();
            rings(broker).all(|ring| mine.contains(&ring.inode))
        });
        report.add(walked, next);
        point += walked.map_or(0, |_| which.every);
        if let Some(walked) = walked.filter(|walked| !walked.reached) {
            assert_eq!(walked.elsewhere > 0, operation.has_ring(), "{walked:?}");
            break;
        }
    }
    report.tell();
    drop(core);
}
