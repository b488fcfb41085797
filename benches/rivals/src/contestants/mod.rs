//! One file a contestant.

pub mod boost;
pub mod floors;
pub mod iceoryx2;
pub mod ipc_channel;
pub mod lmdb;
pub mod python;
pub mod raw_sync;
pub mod redis;
pub mod sharehold;
pub mod tarpc;
