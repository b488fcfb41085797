//! What comes back when a method fails.

use sharehold::{ErrorKind, Manager, Proxy};

use crate::classes::{AccountProxy, GrumpyProxy, Magnifier, MagnifierProxy, ShopProxy, TillProxy, started};
use crate::common::eventually;

#[test]
fn an_error_three_calls_deep_names_all_three_places_its_type_and_its_backtrace() {
    let manager = started();
    let account = AccountProxy::new(&manager).expect("created");
    let till = TillProxy::new(&manager).expect("created");
    let shop = ShopProxy::new(&manager).expect("created");
    let error = shop.buy(&till, &account).expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::MethodFailed);
    let remote = error.remote().expect("remote");
    assert_eq!((&*remote.causes[0].type_name, &*remote.causes[0].message), ("TooLittle", "99 are missing"));
    let calls: Vec<&str> = remote.places.iter().map(|place| &*place.call).collect();
    assert_eq!(calls, ["Account.withdraw", "Till.pay", "Shop.buy"]);
    assert!(remote.places.iter().all(|place| place.file.ends_with("tests/hosted/classes.rs") && place.line > 0));
    let unwanted = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "0");
    // It begins in the method, or in a closure of it, and says nothing of how the broker works.
    let first: Vec<&str> = remote.backtrace.lines().take(2).collect();
    let begins = first.iter().any(|line| line.contains("withdraw") || line.contains("tests/hosted/classes.rs"));
    assert!(unwanted || begins, "{}", remote.backtrace);
    assert!(!remote.backtrace.contains("src/broker/"), "{}", remote.backtrace);
    let said = error.to_string();
    for place in ["Account.withdraw failed: 99 are missing at", "called by Till.pay at", "called by Shop.buy at"] {
        assert!(said.contains(place), "{said}");
    }
}

#[test]
fn a_program_that_a_method_starts_is_no_broker() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let listed = lens.run_this_program().expect("it comes to its main function");
    assert!(listed.contains("perform_role: test"), "{listed}");
}

#[test]
fn a_method_whose_result_has_no_class_says_so_at_its_own_place() {
    let manager = Manager::builder().class::<Magnifier>().start().expect("started without the other classes");
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let error = lens.twin().expect_err("there is no class for the twin");
    assert!(error.to_string().contains("no class 'Cloned'"), "{error}");
    assert!(error.remote().expect("remote").places[0].file.ends_with("classes.rs"), "{error}");
}

#[test]
fn a_panic_is_an_error_and_poisons_only_what_was_being_changed() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let error = lens.panic_shared().expect_err("it panics");
    assert_eq!(error.kind(), ErrorKind::MethodPanicked);
    assert!(error.to_string().contains("Magnifier.panic_shared panicked: a shared panic at"), "{error}");
    assert_eq!(lens.scale(1.0).expect("not poisoned"), 2.0);
    assert_eq!(lens.panic_changing().expect_err("it panics").kind(), ErrorKind::MethodPanicked);
    assert_eq!(lens.scale(1.0).expect_err("poisoned").kind(), ErrorKind::Poisoned);
    assert!(manager.describe(lens.id()).expect("described").ends_with("(poisoned)"));
    manager.clear_poison(&lens).expect("cleared");
    assert!(lens.scale(1.0).expect("callable again").is_nan());
}

#[test]
fn a_result_that_cant_be_written_is_an_error_and_the_connection_lives() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let error = lens.unwritable().err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Unserializable);
    assert!(error.to_string().contains("this can't be written"), "{error}");
    assert_eq!(lens.scale(1.0).expect("the connection lives"), 2.0);
}

#[test]
fn a_destructor_that_panics_harms_nobody() {
    let manager = started();
    drop(GrumpyProxy::new(&manager).expect("created"));
    eventually("it is gone", || manager.number_of_objects().expect("a number") == 0);
    assert_eq!(MagnifierProxy::new(&manager, 2.0).expect("created").scale(1.0).expect("called"), 2.0);
}
