//! A client is killed at every step of an operation.

use std::time::Instant;

use crate::common::Actor;
use crate::fixture::Fixture;
use crate::operations::{OPERATIONS, Operation, Prepared};
use crate::report::{Place, Report};
use crate::tracer::{BEGIN, Tracee};
use crate::view::View;
use crate::walk::{Track, Walk, Walked, Which};

/// The role of the one that is killed.
pub(crate) fn perform(broker: &str, operation: &str, text: &str) {
    (find(operation).perform)(broker, text);
}

pub(crate) fn find(operation: &str) -> &'static Operation {
    OPERATIONS.iter().find(|known| known.name == operation).expect("known")
}

/// A process that is stopped where an operation begins.
pub(crate) fn start(fixture: &Fixture, operation: &Operation, prepared: &Prepared) -> (Actor, Tracee) {
    let mut actor = Actor::start("client", &[&fixture.served.name, operation.name, &prepared.text]);
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
        tracee.kill();
        let killed = Instant::now();
        (operation.next)(&fixture, &prepared);
        let next = killed.elapsed();
        tracee.reap();
        actor.kill();
        fixture.wait_for_sweep(&base);
        (operation.tidy)(&fixture, prepared);
        fixture.must_be(&base);
        report.add(walked, next);
        point += walked.map_or(0, |_| which.every);
        if walked.is_some_and(|walked| !walked.reached) {
            break;
        }
    }
    report.tell();
    drop(core);
}
