//! Programs of C and C++ as a user compiles them: with all warnings, with the shared and the static library, under the address sanitizer and under valgrind.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod built;

use std::fs;
use std::process::Command;

use built::{Stage, Way, root};

const HELLO: &str = "3 elements, the first is 10\nthe price is 41\nthe list has 2 elements\nthe value is held 2 times\n3 objects\n3 are known\n";
const HELLO_CPP: &str = "3 elements, the first is 10\nthe price is 41\nthe list has 2 elements\nthe value is held 2 times\nthe array is not one of f32\n3 objects\n";
const CLASSES: &str = "the counter is at 42\nCounter.add failed: too much\n0 counters are left\n";
const CLASSES_CPP: &str = "the counter is at 42\nCounter.add failed: too much\n";

/// Compiles a program and runs it; it has to say this, and to make no error and leave nothing.
fn perform(source: &str, way: Way, said: &str) {
    if way.is_possible(source) {
        let name = std::thread::current().name().unwrap_or_default().replace("::", "-");
        let stage = Stage::new(&name);
        let program = stage.compile(source, way);
        stage.says(&mut way.command(&program), said);
    }
}

macro_rules! programs {
    ($($name:ident: $source:literal, $said:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn with_the_shared_library() {
                perform($source, Way::Shared, $said);
            }

            #[test]
            fn with_the_static_library() {
                perform($source, Way::Static, $said);
            }

            #[test]
            fn under_the_address_sanitizer() {
                perform($source, Way::Address, $said);
            }

            #[test]
            fn under_valgrind() {
                perform($source, Way::Valgrind, $said);
            }
        }
    )*};
}

programs! {
    hello: "examples/hello.c", HELLO;
    hello_cpp: "examples/hello.cpp", HELLO_CPP;
    classes: "examples/classes.c", CLASSES;
    classes_cpp: "examples/classes.cpp", CLASSES_CPP;
    misuse: "tests/c/misuse.c", "refused\n";
    objects: "tests/c/objects.c", "objects\n";
    channel: "tests/c/channel.c", "channel\n";
    server: "tests/c/server.c", "server\n";
    whole: "tests/c/whole.cpp", "whole\n";
}

#[test]
fn the_program_in_the_readme_runs() {
    let stage = Stage::new("readme");
    let readme = fs::read_to_string(root().join("../README.md")).expect("it is there");
    let (_, text) = readme.split_once("```c\n").expect("a program of C");
    let (text, _) = text.split_once("```").expect("its end");
    let source = stage.0.join("readme.c");
    fs::write(&source, text).expect("written");
    let program = stage.compile(source.to_str().expect("text"), Way::Shared);
    stage.says(&mut Command::new(program), "3 prices, the first is 1\n");
}
