//! Classes of hosted objects: what can be called, and how a call is made on an object. Nothing here knows of sockets.
//!
//! [`table`] is the method table, the only truth of what may be called; [`cell`] holds an object with its lock; [`frame`] knows which calls this thread is
//! making; [`failure`] is the error of a method; [`snapshot`] brings an object back after its broker has died; [`builtin`] has the classes that every broker has.

pub(crate) mod builtin;
pub(crate) mod cell;
pub(crate) mod failure;
pub(crate) mod frame;
pub(crate) mod generated;
pub(crate) mod snapshot;
pub(crate) mod table;

pub use builtin::{Dict, Key, List, Namespace};
pub use failure::MethodError;
pub use frame::{caller, is_cancelled};
pub use snapshot::Snapshot;
pub use table::{Class, ClassBuilder, ClassProxy, ClassTable};
