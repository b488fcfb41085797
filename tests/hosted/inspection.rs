//! What is seen from outside, and what is asked in vain.

use sharehold::{ErrorKind, Kind, List, Proxy};

use crate::classes::{MagnifierProxy, started};
use crate::common::eventually;

#[test]
fn every_hosted_object_shows_its_class_its_holders_and_a_debug_form() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.5).expect("created");
    let second = lens.clone();
    let info = manager.debug_info().expect("listed");
    assert_eq!((info[0].kind, &*info[0].type_name, info[0].proxies()), (Kind::Hosted, "Magnifier", 2));
    assert_eq!(info[0].holders[0].pid, std::process::id());
    assert_eq!(manager.describe(second.id()).expect("described"), "Magnifier { factor: 2.5 }");
    let array = manager.array(&[1_u8]).expect("created");
    assert_eq!(manager.describe(array.id()).expect_err("not hosted").kind(), ErrorKind::InvalidArgument);
}

#[test]
fn objects_without_bytes_are_no_damage() {
    let manager = started();
    let list = List::new(&manager).expect("created");
    let empty = manager.array::<u64>(&[]).expect("created");
    list.push(empty).expect("pushed");
    assert_eq!(sharehold::check(manager.name()).expect("checked").findings, Vec::<String>::new());
}

#[test]
fn a_stale_proxy_never_reaches_another_object() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let weak = lens.downgrade();
    let id = lens.id();
    assert_eq!(weak.upgrade().expect("alive").id(), id);
    drop(lens);
    eventually("it is gone", || manager.number_of_objects().expect("a number") == 0);
    let other = MagnifierProxy::new(&manager, 3.0).expect("created in the same slot");
    assert_eq!(other.id().to_string().split('.').next(), id.to_string().split('.').next());
    assert!(weak.upgrade().is_none());
    assert_eq!(manager.describe(id).expect_err("gone").kind(), ErrorKind::Gone);
}
