//! Objects that hold each other.

use std::sync::atomic::Ordering;

use sharehold::{Datum, Dict, ErrorKind, List, Namespace, Proxy};

use crate::classes::{KnotsProxy, LinkProxy, MagnifierProxy, started};
use crate::common::eventually;

#[test]
fn a_list_in_a_dict_is_one_list_for_all_and_dies_with_its_last_reference() {
    let manager = started();
    let dict = Dict::new(&manager).expect("created");
    let list = List::new(&manager).expect("created");
    dict.set("list", list.clone()).expect("set");
    let again: List = dict.get("list").expect("there").downcast().expect("a list");
    again.push("through the dict").expect("pushed");
    list.push("directly").expect("pushed");
    assert_eq!(again.len().expect("a number"), 2);
    assert_eq!(list.id(), again.id());
    drop((list, again));
    eventually("the dict holds it", || manager.number_of_objects().expect("a number") == 2);
    dict.remove("list").expect("removed");
    eventually("only the dict is left", || manager.number_of_objects().expect("a number") == 1);
}

#[test]
fn values_of_every_kind_survive_the_way_there_and_back() {
    let manager = started();
    let list = List::new(&manager).expect("created");
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let values = vec![
        Datum::Unit,
        true.into(),
        (-5).into(),
        u64::MAX.into(),
        i64::MIN.into(),
        1.5.into(),
        "text".into(),
        vec![0_u8, 255].into(),
        Datum::List(vec![1.into(), Datum::List(vec![])]),
        Datum::Map(vec![("a".into(), 1.into()), (2.into(), Datum::Unit)]),
        lens.clone().into(),
    ];
    list.extend(values.clone()).expect("sent");
    assert_eq!(list.to_vec().expect("received"), values);
    let error = list.push(Datum::Int(i128::MAX)).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Unserializable);
    let space = Namespace::new(&manager).expect("created");
    space.set("lens", lens).expect("set");
    let held: MagnifierProxy = space.get("lens").expect("there").downcast().expect("a magnifier");
    assert_eq!(held.scale(4.0).expect("called"), 8.0);
}

#[test]
fn many_references_in_one_result_are_each_taken_once() {
    let manager = started();
    let list = List::new(&manager).expect("created");
    let proxies = (0..8).map(|_| List::new(&manager).expect("created").into()).collect();
    list.extend(proxies).expect("sent");
    assert_eq!(list.slice(0, 8).expect("received").len(), 8);
    assert_eq!(manager.tickets().expect("listed"), []);
    list.clear().expect("cleared");
    eventually("only the list is left", || manager.number_of_objects().expect("a number") == 1);
}

#[test]
fn cycles_are_collected_and_nothing_else() {
    let manager = started();
    let keep = Dict::new(&manager).expect("created");
    let kept = List::new(&manager).expect("created");
    keep.set("kept", kept.clone()).expect("set");
    kept.push(keep.clone()).expect("a cycle that is held");
    drop(kept);
    assert_eq!(manager.collect().expect("collected"), 0);
    let (first, second) = (Dict::new(&manager).expect("created"), Dict::new(&manager).expect("created"));
    let tail = List::new(&manager).expect("created");
    first.set("other", second.clone()).expect("set");
    second.set("other", first.clone()).expect("set");
    second.set("tail", tail.clone()).expect("set");
    first.set("me", first.clone()).expect("set");
    // A name holds one of them from outside.
    manager.publish("cycle", &first).expect("published");
    drop((first, second, tail));
    assert_eq!(manager.collect().expect("collected"), 0);
    manager.unpublish("cycle").expect("unpublished");
    assert_eq!(manager.number_of_objects().expect("a number"), 5);
    assert_eq!(manager.collect().expect("collected"), 3);
    eventually("the held cycle is left", || manager.number_of_objects().expect("a number") == 2);
    assert_eq!(keep.len().expect("callable"), 1);
}

#[test]
fn collecting_while_others_work_frees_nothing_that_is_reachable() {
    let manager = started();
    let (one, two) = (Dict::new(&manager).expect("created"), Dict::new(&manager).expect("created"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            // A list is handed from one dict to the other and back: at every moment something holds it.
            let list = List::new(&manager).expect("created");
            list.push(list.clone()).expect("it holds itself");
            one.set("list", list.clone()).expect("set");
            drop(list);
            for round in 0..300 {
                let (from, to) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
                let list = from.remove("list").expect("there");
                to.set("list", list).expect("set");
            }
            stop.store(true, Ordering::Release);
        });
        while !stop.load(Ordering::Acquire) && !mover.is_finished() {
            assert_eq!(manager.collect().expect("collected"), 0);
        }
        mover.join().expect("the list was always alive");
    });
    one.remove("list").expect("there");
    assert_eq!(manager.collect().expect("collected"), 1);
}

#[test]
fn a_cycle_that_is_taken_up_by_a_weak_reference_is_whole_or_gone() {
    let manager = started();
    let knots = KnotsProxy::new(&manager).expect("created");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut touched, mut collected) = (0, 0);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut collected = 0;
            while !stop.load(Ordering::Acquire) {
                collected += manager.collect().expect("collected");
            }
            collected
        });
        for _ in 0..500 {
            knots.tie().expect("tied");
            touched += knots.touch().expect("what is there is whole");
        }
        stop.store(true, Ordering::Release);
        collected = collector.join().expect("no panic");
    });
    collected += manager.collect().expect("collected");
    assert_eq!(collected, 1000, "{touched} were touched");
    eventually("only the knots are left", || manager.number_of_objects().expect("a number") == 1);
    assert_eq!(sharehold::check(manager.name()).expect("checked").findings, Vec::<String>::new());
}

#[test]
fn a_hundred_thousand_levels_are_freed_without_a_stack_overflow() {
    let manager = started();
    let first = LinkProxy::new(&manager, None).expect("created");
    let chain = first.chain(100_000).expect("built");
    assert_eq!(manager.number_of_objects().expect("a number"), 100_001);
    drop(chain);
    eventually("all are gone", || manager.number_of_objects().expect("a number") == 1);
    assert_eq!(first.dropped().expect("called"), 100_000);
}
