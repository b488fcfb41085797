//! The C library: each function checks what it is given, calls the Rust crate, and tells how that went.
//!
//! [`border`] is what all of them go through. The header is made of this crate's public items and their comments.
#![allow(unsafe_code, reason = "pointers of C are what this crate is about")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "all pointers of a function rely on one thing: that its caller keeps to the header"
)]
#![allow(clippy::missing_safety_doc, reason = "the head of the header says it for all functions")]
#![allow(non_camel_case_types, reason = "types are named as in C")]

pub mod array;
pub mod border;
pub mod channel;
pub mod class;
pub mod datum;
pub mod manager;
pub mod object;
pub mod status;
pub mod types;
pub mod value;
