//! What brings an object back after its broker has died.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::MethodError;
use crate::error::Result;
use crate::object::transit;
use crate::session::Session;

/// A class whose objects outlive their broker: `#[class(snapshot)]`, or [`ClassBuilder::snapshot`](crate::ClassBuilder::snapshot).
///
/// After the constructor and after every method that changes the object, before the caller is answered, the object is saved, and what is saved is kept in the region,
/// as a sealed array that the broker holds. When the broker has died and another one takes the region over, the object is restored from it: what was answered is
/// kept, what was not may or may not have been done. It costs the writing of the whole object at each change, so it is for small ones.
///
/// Proxies can be part of what is saved: what they stand for is held meanwhile, as before.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use sharehold::{Manager, MethodError, Snapshot};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// pub struct Counter {
///     count: u64,
/// }
///
/// impl Snapshot for Counter {
///     type Saved = Self;
///
///     fn save(&self) -> Self {
///         self.clone()
///     }
///
///     fn restore(saved: Self) -> Result<Self, MethodError> {
///         Ok(saved)
///     }
/// }
///
/// #[sharehold::class(snapshot)]
/// impl Counter {
///     pub fn new() -> Self {
///         Self { count: 0 }
///     }
///
///     pub fn add(&mut self, n: u64) -> u64 {
///         self.count += n;
///         self.count
///     }
/// }
///
/// let manager = Manager::builder().class::<Counter>().start()?;
/// let counter = CounterProxy::new(&manager)?;
/// counter.add(41)?;
/// let broker = manager.child_pid().expect("it is our child").to_string();
/// std::process::Command::new("kill").args(["-9", &broker]).status().expect("kill runs");
/// while counter.add(0).is_ok() {} // until the signal has arrived
///
/// manager.restart()?;
/// assert_eq!(counter.add(1)?, 42);
/// # Ok::<(), sharehold::Error>(())
/// ```
pub trait Snapshot: Sized {
    /// What is kept.
    type Saved: Serialize + DeserializeOwned;

    /// What brings the object back as it is now. Called while no method changes the object.
    fn save(&self) -> Self::Saved;

    /// The object as it was when it was saved. Called before the broker serves: it can't call other objects or ask the broker.
    ///
    /// # Errors
    /// If it can't be brought back. It is lost then, with a line in the log.
    fn restore(saved: Self::Saved) -> Result<Self, MethodError>;
}

/// How the objects of a class are saved and restored.
pub(crate) struct Keeping<T> {
    pub(crate) save: fn(&Session, &T) -> Result<Vec<u8>>,
    pub(crate) restore: fn(&Arc<Session>, &[u8]) -> Result<T>,
}

impl<T> Clone for Keeping<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Keeping<T> {}

impl<T: Snapshot> Keeping<T> {
    pub(crate) fn new() -> Self {
        Self {
            // As arguments are: the object holds the proxies that are written.
            save: |session, object| transit::write_arguments(session.region(), &object.save()),
            restore: |session, bytes| {
                let saved = transit::read_arguments(session, bytes)?;
                T::restore(saved).map_err(|error| error.into_error("restore"))
            },
        }
    }
}
