//! Gives the shared library its name for the loader, which changes with every release that old programs can't be run with.
#![allow(clippy::print_stdout, reason = "this is how cargo is told")]

fn main() {
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").unwrap_or_default();
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libsharehold.so.{major}");
    println!("cargo:rerun-if-changed=build.rs");
}
