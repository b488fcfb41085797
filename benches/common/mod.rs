//! What the benchmarks have in common.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "each benchmark uses its part"
)]

pub mod cores;
pub mod echo;
pub mod fork;
pub mod magnifier;
pub mod report;
pub mod words;
