//! Classes, and how their objects come to be.

use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use sharehold::{Broker, ClassBuilder, Datum, ErrorKind, Kind, List, Manager, Object, Proxy};

use crate::classes::{CachedProxy, MagnifierProxy, parse, started};
use crate::common::{Actor, eventually};

#[test]
fn a_class_is_created_called_and_changed() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    assert_eq!(lens.scale(21.0).expect("called"), 42.0);
    lens.set(3.0).expect("called");
    assert_eq!(lens.scale(2.0).expect("called"), 6.0);
    assert_eq!(lens.greet("a", vec![1, 2]).expect("called"), "a x3");
    let error = MagnifierProxy::new(&manager, 0.0).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::MethodFailed);
    assert!(error.to_string().contains("Magnifier.new failed: a magnifier has a factor"), "{error}");
    drop(lens);
    eventually("nothing is left", || manager.number_of_objects().expect("a number") == 0);
}

#[test]
fn an_unknown_class_or_method_is_an_error_that_lists_what_there_is() {
    let manager = started();
    let error = manager.create::<Object>("Microscope", &()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ClassNotFound);
    assert!(error.to_string().contains("List, Magnifier"), "{error}");
    let lens: Object = manager.create("Cached", &(1.0,)).expect("created");
    let error = lens.call::<()>("shrink", &()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::MethodNotFound);
    assert!(error.to_string().contains("it has scale(x: f64)"), "{error}");
    let error = manager.create::<Object>("Cloned", &()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Refused);
    let classes = manager.classes().expect("listed");
    let lens = classes.iter().find(|class| class.name == "Magnifier").expect("there");
    assert_eq!(lens.signatures[0], "Magnifier(factor: f64)");
    assert!(lens.signatures.contains(&"greet(name: &str, times: Vec<u32>)".to_owned()), "{:?}", lens.signatures);
}

#[test]
fn arguments_and_results_of_another_type_are_errors_that_name_what_is_taken() {
    let manager = started();
    let lens: Object = manager.create("Magnifier", &(2.0,)).expect("created");
    for error in [
        lens.call::<f64>("scale", &("two",)),
        lens.call::<f64>("scale", &(1.0, 2.0)),
        lens.call::<f64>("scale", &()),
        lens.call::<f64>("scale", &1.0),
    ] {
        let error = error.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::TypeMismatch, "{error}");
        assert!(error.to_string().contains("Magnifier.scale takes (x: f64)"), "{error}");
    }
    let error = lens.call::<String>("scale", &(2.0,)).expect_err("refused");
    assert!(error.to_string().contains("not of type String"), "{error}");
    assert_eq!(lens.call::<Datum>("scale", &(2,)).expect("a whole number is a number"), Datum::from(4.0));
    let list = List::new(&manager).expect("created");
    let error =
        list.clone().ticket().and_then(|ticket| manager.redeem::<MagnifierProxy>(&ticket)).expect_err("refused");
    assert!(error.to_string().contains("is hosted of List, not hosted of Magnifier"), "{error}");
}

#[test]
fn a_cached_object_is_one_object_also_while_its_last_proxy_goes() {
    let manager = started();
    let first = CachedProxy::shared(&manager, 2.0).expect("created");
    let second = CachedProxy::shared(&manager, 2.0).expect("created");
    assert_eq!(first.id(), second.id());
    let info = manager.object_info(first.id()).expect("alive");
    assert_eq!((info.kind, info.type_name.as_str(), info.proxies(), info.pins), (Kind::Hosted, "Cached", 2, 0));
    drop((first, second));
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..2000 {
                    let lens = CachedProxy::shared(&manager, 3.0).expect("created");
                    assert_eq!(lens.scale(2.0).expect("alive"), 6.0);
                }
            });
        }
    });
    eventually("nothing is left", || manager.number_of_objects().expect("a number") == 0);
}

#[test]
fn methods_return_proxies_of_two_classes_also_to_a_process_that_got_its_proxy_by_ticket() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    assert_eq!(lens.twin().expect("a clone").scale(9.0).expect("called"), 18.0);
    let spawned = lens.spawn(3.0).expect("another");
    assert_eq!(spawned.spawn(4.0).expect("another").scale(2.0).expect("called"), 8.0);
    let other = Actor::start("scale", &[&lens.ticket().expect("issued").to_string()]);
    assert_eq!(other.hear(), "4");
    assert_eq!(other.hear(), "6");
    assert_eq!(other.hear(), other.pid().to_string());
    other.end();
    drop(spawned);
    eventually("one is left", || manager.number_of_objects().expect("a number") == 1);
}

#[test]
fn proxies_dropped_at_once_by_their_sender_all_work_at_a_slow_receiver() {
    let manager = started();
    let producer = Actor::start("produce", &[manager.name()]);
    let tickets: Vec<String> = (0..10).map(|_| producer.hear()).collect();
    producer.end();
    for (number, ticket) in tickets.iter().enumerate() {
        let list: List = manager.redeem(&parse(ticket)).expect("held by its ticket");
        assert_eq!(list.get(0).expect("there"), Datum::from(number));
    }
    eventually("nothing is left", || manager.number_of_objects().expect("a number") == 0);
}

#[test]
fn a_class_by_hand_has_methods_factories_and_adopted_objects() {
    let counter = ClassBuilder::<AtomicU64>::new("Counter")
        .method("next", "", |count, (): ()| Ok(count.fetch_add(1, Ordering::Relaxed)))
        .build();
    let office = ClassBuilder::<()>::new("Office")
        .constructor("", |(): ()| Ok(()))
        .method("open", "start: u64", |(), (start,): (u64,)| {
            Ok(Manager::current()?.host_as("Counter", AtomicU64::new(start))?)
        })
        .method("wrong", "", |(), (): ()| Ok(Manager::current()?.host_as("Counter", 5_u8)?))
        .build();
    let name = format!("by-hand-{}", std::process::id());
    let broker = Broker::builder().name(&name).class_table(counter).class_table(office).spawn().expect("spawned");
    let manager = Manager::connect(&name).expect("connected");
    let office: Object = manager.create("Office", &()).expect("created");
    let counter: Object = office.call("open", &(7_u64,)).expect("adopted");
    assert_eq!(counter.call::<u64>("next", &()).expect("called"), 7);
    assert_eq!(counter.call::<u64>("next", &()).expect("called"), 8);
    let error = office.call::<Object>("wrong", &()).expect_err("refused");
    assert!(error.to_string().contains("objects of another type"), "{error}");
    let error = manager.host_as("Counter", AtomicU64::new(0)).expect_err("refused outside");
    assert_eq!(error.kind(), ErrorKind::Refused);
    drop((office, counter, manager));
    broker.stop().expect("stopped");
}
