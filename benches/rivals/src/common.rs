//! What the library's own benchmarks have, too: `benches/common`.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses its part")]

#[path = "../../common/cores.rs"]
pub mod cores;
#[path = "../../common/echo.rs"]
pub mod echo;
#[path = "../../common/magnifier.rs"]
pub mod magnifier;
#[path = "../../common/words.rs"]
pub mod words;
