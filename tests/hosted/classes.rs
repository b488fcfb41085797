//! The classes of these tests.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use sharehold::{Array, Dict, Manager, MethodError, Proxy, Ticket, Weak};

use crate::common::{self};

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

pub(crate) static CACHE: Mutex<Option<HashMap<u64, Weak<CachedProxy>>>> = Mutex::new(None);

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

pub(crate) static STEPS: AtomicU64 = AtomicU64::new(0);

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
pub(crate) struct TooLittle {
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

pub(crate) static DROPPED: AtomicU64 = AtomicU64::new(0);

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

pub(crate) static KNOTS: Mutex<Vec<Weak<Dict>>> = Mutex::new(Vec::new());

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

pub(crate) fn started() -> Manager {
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

pub(crate) fn parse(text: &str) -> Ticket {
    text.parse().expect("a ticket")
}
