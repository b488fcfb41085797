//! Hosted objects: what goes wrong when methods run in another process, and what a user of Python's managers would fear.

#![allow(missing_docs, clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::{Actor, eventually, listen, role, say};
use sharehold::{
    Array, Broker, CallScope, Canceller, ClassBuilder, Datum, Dict, ErrorKind, Kind, List, Manager, MethodError,
    Namespace, Object, Proxy, Ticket, Weak,
};

// --- classes ---

/// A class with all that a class can have.
#[derive(Debug)]
pub struct Magnifier {
    factor: f64,
}

#[sharehold::class]
impl Magnifier {
    pub fn new(factor: f64) -> Result<Self, MethodError> {
        if factor == 0.0 {
            return Err(MethodError::new("a magnifier has a factor"));
        }
        Ok(Self { factor })
    }

    pub fn scale(&self, x: f64) -> f64 {
        self.factor * x
    }

    pub fn set(&mut self, factor: f64) {
        self.factor = factor;
    }

    #[proxy]
    pub fn twin(&self) -> Cloned {
        Cloned { factor: self.factor }
    }

    #[proxy]
    pub fn spawn(&self, factor: f64) -> Self {
        Self { factor }
    }

    pub fn panic_shared(&self) {
        panic!("a shared panic");
    }

    pub fn panic_changing(&mut self) {
        self.factor = f64::NAN;
        panic!("half changed");
    }

    pub fn unwritable(&self) -> Unwritable {
        Unwritable
    }

    pub fn greet(&self, name: &str, times: Vec<u32>) -> String {
        format!("{name} x{}", times.iter().sum::<u32>())
    }

    pub fn reverse(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes.into_iter().rev().collect()
    }

    pub fn fill(&self, array: &Array<u64>) -> Result<Array<u64>, MethodError> {
        array.write()?[0] = 77;
        Ok(Manager::current()?.array(&[1, 2, 3])?)
    }

    pub fn run_this_program(&self) -> Result<String, MethodError> {
        let out = Command::new("/proc/self/exe").arg("--list").output()?;
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    pub fn who_calls(&self) -> Option<u32> {
        sharehold::caller()
    }
}

/// A result that can't be sent.
pub struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("this can't be written"))
    }
}

impl<'de> serde::Deserialize<'de> for Unwritable {
    fn deserialize<D: serde::Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

/// A class that can't be created from outside: its objects come from methods.
#[derive(Debug)]
pub struct Cloned {
    factor: f64,
}

#[sharehold::class]
impl Cloned {
    pub fn scale(&self, x: f64) -> f64 {
        self.factor * x
    }
}

/// A factory that returns the same object as long as it lives.
#[derive(Debug)]
pub struct Cached(f64);

static CACHE: Mutex<Option<HashMap<u64, Weak<CachedProxy>>>> = Mutex::new(None);

#[sharehold::class]
impl Cached {
    #[constructor]
    pub fn shared(factor: f64) -> Result<CachedProxy, MethodError> {
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = cache.get_or_insert_default();
        if let Some(there) = cache.get(&factor.to_bits()).and_then(Weak::upgrade) {
            return Ok(there);
        }
        let made = Manager::current()?.host(Cached(factor))?;
        cache.insert(factor.to_bits(), made.downgrade());
        Ok(made)
    }

    pub fn scale(&self, x: f64) -> f64 {
        self.0 * x
    }
}

/// Waits for things.
#[derive(Debug, Default)]
pub struct Sleeper {
    changes: u32,
}

static STEPS: AtomicU64 = AtomicU64::new(0);

#[sharehold::class]
impl Sleeper {
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on until nobody waits for it, or for the longest time of a test.
    pub fn until_cancelled(&self) -> bool {
        STEPS.fetch_add(1, Ordering::SeqCst);
        let until = Instant::now() + common::PATIENCE;
        while !sharehold::is_cancelled() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        STEPS.fetch_add(1, Ordering::SeqCst);
        sharehold::is_cancelled()
    }

    pub fn change_until_cancelled(&mut self) {
        self.changes += 1;
        self.until_cancelled();
    }

    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// Calls another one of its kind while it is being changed itself.
    pub fn change_with(&mut self, other: SleeperProxy, depth: u32) -> Result<(), MethodError> {
        STEPS.fetch_add(1, Ordering::SeqCst);
        if depth > 0 {
            let until = Instant::now() + common::PATIENCE;
            while STEPS.load(Ordering::SeqCst) < 2 && Instant::now() < until {
                std::thread::yield_now();
            }
            other.change_with(other.clone(), depth - 1)?;
        }
        self.changes += 1;
        Ok(())
    }

    pub fn change_self(&mut self, me: SleeperProxy) -> Result<u32, MethodError> {
        Ok(me.changes()?)
    }

    pub fn steps(&self) -> u64 {
        STEPS.load(Ordering::SeqCst)
    }
}

/// Three classes, each of which calls the next.
#[derive(Debug, Default)]
pub struct Account;
#[derive(Debug, Default)]
pub struct Till;
#[derive(Debug, Default)]
pub struct Shop;

#[derive(Debug)]
struct TooLittle {
    missing: u32,
}

impl std::fmt::Display for TooLittle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} are missing", self.missing)
    }
}

impl std::error::Error for TooLittle {}

#[sharehold::class]
impl Account {
    pub fn new() -> Self {
        Self
    }

    pub fn withdraw(&mut self, amount: u32) -> Result<(), MethodError> {
        Err(TooLittle { missing: amount - 1 })?;
        Ok(())
    }
}

#[sharehold::class]
impl Till {
    pub fn new() -> Self {
        Self
    }

    pub fn pay(&self, account: &AccountProxy, amount: u32) -> sharehold::Result<()> {
        account.withdraw(amount)
    }
}

#[sharehold::class]
impl Shop {
    pub fn new() -> Self {
        Self
    }

    pub fn buy(&self, till: &TillProxy, account: &AccountProxy) -> Result<(), MethodError> {
        till.pay(account, 100)?;
        Ok(())
    }
}

/// Holds another object, and says when it goes.
#[derive(Debug)]
pub struct Link {
    _next: Option<LinkProxy>,
}

static DROPPED: AtomicU64 = AtomicU64::new(0);

impl Drop for Link {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

#[sharehold::class]
impl Link {
    pub fn new(next: Option<LinkProxy>) -> Self {
        Self { _next: next }
    }

    /// A chain of this many objects, of which the caller holds the first.
    #[proxy]
    pub fn chain(&self, length: u32) -> Result<Link, MethodError> {
        let manager = Manager::current()?;
        let mut next = None;
        for _ in 1..length {
            next = Some(manager.host(Link { _next: next })?);
        }
        Ok(Link { _next: next })
    }

    pub fn dropped(&self) -> u64 {
        DROPPED.load(Ordering::SeqCst)
    }
}

/// Ties cycles that it only knows by weak references.
#[derive(Debug, Default)]
pub struct Knots;

static KNOTS: Mutex<Vec<Weak<Dict>>> = Mutex::new(Vec::new());

#[sharehold::class]
impl Knots {
    pub fn new() -> Self {
        Self
    }

    pub fn tie(&self) -> Result<(), MethodError> {
        let manager = Manager::current()?;
        let (one, other) = (Dict::new(&manager)?, Dict::new(&manager)?);
        one.set("other", other.clone())?;
        other.set("other", one.clone())?;
        KNOTS.lock().unwrap_or_else(PoisonError::into_inner).push(one.downgrade());
        Ok(())
    }

    /// Looks into all that are still there, and tells how many.
    pub fn touch(&self) -> Result<usize, MethodError> {
        let knots = KNOTS.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let there: Vec<Dict> = knots.iter().filter_map(Weak::upgrade).collect();
        for dict in &there {
            let other: Dict = dict.get("other")?.downcast()?;
            other.get("other")?;
        }
        KNOTS.lock().unwrap_or_else(PoisonError::into_inner).retain(|knot| knot.upgrade().is_some());
        Ok(there.len())
    }
}

/// Its destructor fails.
#[derive(Debug, Default)]
pub struct Grumpy;

impl Drop for Grumpy {
    fn drop(&mut self) {
        panic!("no");
    }
}

#[sharehold::class]
impl Grumpy {
    pub fn new() -> Self {
        Self
    }
}

fn started() -> Manager {
    Manager::builder()
        .class::<Magnifier>()
        .class::<Cloned>()
        .class::<Cached>()
        .class::<Sleeper>()
        .class::<Account>()
        .class::<Till>()
        .class::<Shop>()
        .class::<Link>()
        .class::<Grumpy>()
        .class::<Knots>()
        .start()
        .expect("started")
}

fn parse(text: &str) -> Ticket {
    text.parse().expect("a ticket")
}

/// The entry of every process that a test of this file starts. Without a role it has nothing to do.
#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "scale" => {
            let lens: MagnifierProxy = sharehold::redeem(&parse(&arguments[0])).expect("redeemed");
            say(lens.scale(2.0).expect("called"));
            let twin = lens.twin().expect("a proxy that was passed on returns proxies");
            say(twin.scale(3.0).expect("called"));
            say(lens.who_calls().expect("called").expect("somebody"));
            while listen().is_some() {}
        }
        "produce" => {
            // Each proxy is dropped as soon as its ticket is written.
            let manager = Manager::connect(&arguments[0]).expect("connected");
            for number in 0..10 {
                let list = List::new(&manager).expect("created");
                list.push(number).expect("pushed");
                say(list.ticket().expect("issued"));
            }
        }
        "call_and_wait" => {
            let sleeper: SleeperProxy = sharehold::redeem(&parse(&arguments[0])).expect("redeemed");
            // The first calls of a connection go over the socket.
            (0..4).for_each(|_| assert_eq!(sleeper.changes().expect("called"), 0));
            say("calling");
            sleeper.change_until_cancelled().expect("called");
        }
        other => panic!("there is no role {other}"),
    }
}

// --- classes and creation ---

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

// --- errors ---

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
    assert!(remote.places.iter().all(|place| place.file.ends_with("tests/hosted.rs") && place.line > 0));
    let unwanted = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "0");
    // It begins in the method, or in a closure of it, and says nothing of how the broker works.
    let first: Vec<&str> = remote.backtrace.lines().take(2).collect();
    let begins = first.iter().any(|line| line.contains("withdraw") || line.contains("tests/hosted.rs"));
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
    assert!(error.remote().expect("remote").places[0].file.ends_with("hosted.rs"), "{error}");
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

// --- calls ---

#[test]
fn large_arguments_and_results_arrive_whole_and_leave_nothing() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    for len in [0, 1, 15_000, 16_000, 16_100, 17_000, 1_000_000] {
        let bytes: Vec<u8> = (0..len).map(|i: u32| i as u8).collect();
        let reversed = lens.reverse(bytes.clone()).expect("called");
        assert!(reversed.iter().rev().eq(&bytes), "{len}");
    }
    eventually("only the lens is left", || manager.number_of_objects().expect("a number") == 1);
    assert_eq!(manager.tickets().expect("listed"), []);
}

#[test]
fn arrays_go_through_calls_without_a_copy() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let array = manager.array(&[0_u64; 1000]).expect("created");
    let made = lens.fill(&array).expect("called");
    assert_eq!(array.read().expect("readable")[0], 77);
    assert_eq!(*made.read().expect("readable"), [1, 2, 3]);
    assert_eq!(manager.object_info(made.id()).expect("alive").proxies(), 1);
}

#[test]
fn a_slow_method_or_constructor_holds_up_nobody() {
    let manager = started();
    let sleeper = SleeperProxy::new(&manager).expect("created");
    let canceller = Canceller::new();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| CallScope::new().canceller(&canceller).run(|| sleeper.until_cancelled()));
        eventually("the slow method runs", || sleeper.steps().expect("called") == 1);
        let lens = MagnifierProxy::new(&manager, 2.0).expect("created meanwhile");
        assert_eq!(lens.scale(1.0).expect("called meanwhile"), 2.0);
        manager.publish("lens", &lens).expect("published meanwhile");
        canceller.cancel();
        let error = slow.join().expect("no panic").expect_err("cancelled");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        eventually("the method has seen it", || sleeper.steps().expect("called") == 2);
    });
}

#[test]
fn an_interrupted_call_never_gets_another_calls_answer() {
    let manager = started();
    let sleeper = SleeperProxy::new(&manager).expect("created");
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    let short = CallScope::new().timeout(Duration::from_millis(30));
    for i in 0..5 {
        let error = short.run(|| sleeper.until_cancelled()).expect_err("too slow");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(lens.scale(f64::from(i)).expect("called"), 2.0 * f64::from(i));
    }
    let error = short.run(|| {
        std::thread::sleep(Duration::from_millis(40));
        lens.scale(1.0).expect_err("the time of the scope is over")
    });
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(lens.scale(1.0).expect("outside of the scope"), 2.0);
}

#[test]
fn a_client_that_is_killed_in_the_middle_of_a_call_leaves_nothing_locked() {
    let manager = started();
    let sleeper = SleeperProxy::new(&manager).expect("created");
    let other = Actor::start("call_and_wait", &[&sleeper.ticket().expect("issued").to_string()]);
    assert_eq!(other.hear(), "calling");
    other.kill();
    // The call may or may not have begun: either way the object is free soon.
    let within = CallScope::new().timeout(common::PATIENCE);
    assert!(within.run(|| sleeper.changes()).expect("free again") <= 1);
    let info = manager.object_info(sleeper.id()).expect("alive");
    eventually("its proxy is given back", || manager.object_info(sleeper.id()).expect("alive").proxies() == 1);
    drop((sleeper, info));
    eventually("nothing is left", || manager.number_of_objects().expect("a number") == 0);
}

#[test]
fn a_call_that_waits_at_a_ring_hears_of_the_death_of_its_broker() {
    let manager = started();
    let sleeper = SleeperProxy::new(&manager).expect("created");
    (0..4).for_each(|_| assert_eq!(sleeper.changes().expect("called"), 0));
    let broker = manager.child_pid().expect("our child").to_string();
    let (about_to, calls) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        (0..4).for_each(|_| assert_eq!(sleeper.changes().expect("called"), 0));
        about_to.send(()).expect("listened to");
        sleeper.change_until_cancelled()
    });
    calls.recv().expect("it calls");
    assert!(Command::new("kill").args(["-9", &broker]).status().expect("kill runs").success());
    let error = waiting.join().expect("no panic").expect_err("nobody is left to answer");
    assert_eq!(error.kind(), ErrorKind::BrokerGone, "{error}");
}

#[test]
fn calls_that_wait_for_each_other_end_with_an_error_instead_of_never() {
    let manager = started();
    let (first, second) =
        (SleeperProxy::new(&manager).expect("created"), SleeperProxy::new(&manager).expect("created"));
    let error = first.change_self(first.clone()).expect_err("it would wait for itself");
    assert!(error.to_string().contains("in the middle of a call"), "{error}");
    std::thread::scope(|scope| {
        let one = scope.spawn(|| first.change_with(second.clone(), 1));
        let other = scope.spawn(|| second.change_with(first.clone(), 1));
        let ends = [one.join().expect("no panic"), other.join().expect("no panic")];
        let failed: Vec<String> = ends.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
        assert!(!failed.is_empty() && failed.iter().all(|error| error.contains("waits for")), "{failed:?}");
    });
    assert!(first.changes().expect("callable") + second.changes().expect("callable") >= 1);
}

#[test]
fn many_threads_call_at_once_and_changes_are_not_lost() {
    let manager = started();
    let list = List::new(&manager).expect("created");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..200).for_each(|i| list.push(i).expect("pushed")));
        }
    });
    assert_eq!(list.len().expect("a number"), 1600);
}

#[test]
fn more_callers_than_threads_wait_for_each_other_and_all_are_answered() {
    let manager = started();
    let lens = MagnifierProxy::new(&manager, 2.0).expect("created");
    // Each thread has a connection of its own while it calls; the broker has 512 threads at most.
    let callers = 560;
    let barrier = Barrier::new(callers);
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let (lens, barrier) = (&lens, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for x in 0..3 {
                    let x = f64::from(x) + caller as f64;
                    assert_eq!(lens.scale(x).expect("answered"), 2.0 * x);
                }
            });
        }
    });
}

#[test]
fn sleeping_callers_in_all_threads_hold_up_only_calls() {
    let manager = started();
    let sleeper = SleeperProxy::new(&manager).expect("created");
    let canceller = Canceller::new();
    std::thread::scope(|scope| {
        for _ in 0..520 {
            scope.spawn(|| CallScope::new().canceller(&canceller).run(|| sleeper.until_cancelled()));
        }
        // No call gets through, but all else does.
        eventually("all threads are in their calls", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", manager.child_pid().expect("a child")));
            let status = status.expect("it lives");
            let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).expect("Linux says");
            threads.trim().parse::<u32>().expect("a number") >= 512
        });
        manager.value(1_u8).expect("created meanwhile");
        canceller.cancel();
    });
    assert!(CallScope::new().timeout(common::PATIENCE).run(|| sleeper.steps()).expect("callable again") >= 512);
}

// --- nesting ---

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

// --- inspection and bad input ---

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
