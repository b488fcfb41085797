//! A factory with a cache: whoever asks for a magnifier of the same factor gets a proxy of the same object.
//!
//! Run it with `cargo run --example cached`.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sharehold::{Manager, MethodError, Proxy, Weak};

struct Magnifier {
    factor: f64,
}

/// The magnifiers that are alive, by the bits of their factor. This lives in the broker, where the factory runs.
///
/// A `Weak` keeps nothing alive: a magnifier dies with its last proxy, although the cache knows it.
static CACHE: Mutex<BTreeMap<u64, Weak<MagnifierProxy>>> = Mutex::new(BTreeMap::new());

#[sharehold::class]
impl Magnifier {
    /// Gives the magnifier of this factor. Since it returns a proxy instead of `Self`, the object may exist already.
    #[constructor]
    pub fn of_factor(factor: f64) -> Result<MagnifierProxy, MethodError> {
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache.get(&factor.to_bits()).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let made = Manager::current()?.host(Magnifier { factor })?;
        cache.insert(factor.to_bits(), made.downgrade());
        Ok(made)
    }

    pub fn scale(&self, x: f64) -> f64 {
        self.factor * x
    }
}

fn main() -> sharehold::Result<()> {
    let manager = Manager::builder().class::<Magnifier>().start()?;
    let first = MagnifierProxy::of_factor(&manager, 2.0)?;
    let second = MagnifierProxy::of_factor(&manager, 2.0)?;
    let other = MagnifierProxy::of_factor(&manager, 3.0)?;

    let proxies = manager.object_info(first.id())?.proxies();
    println!("Both proxies of factor 2 are of object {}, which has {proxies} proxies.", first.id());
    assert_eq!(first.id(), second.id());
    assert_eq!(proxies, 2);

    println!("The magnifier of factor 3 is another one, object {}.", other.id());
    assert_ne!(other.id(), first.id());
    assert_eq!(manager.number_of_objects()?, 2);

    println!("Four times 2 is {}, and four times 3 is {}.", second.scale(4.0)?, other.scale(4.0)?);
    assert_eq!((second.scale(4.0)?, other.scale(4.0)?), (8.0, 12.0));
    Ok(())
}
