//! C programs as a user compiles them: with all warnings, with the shared and the static library, and under the address sanitizer.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod built;

use std::process::Command;

use built::Stage;

const SAID: &str = "3 elements, the first is 10\nthe price is 41\nthe list has 2 elements\nthe value is held 2 times\n3 objects\n3 are known\n";

fn says(stage: &Stage, command: &mut Command, said: &str) {
    let output = stage.run(command);
    assert_eq!(String::from_utf8_lossy(&output.stdout), said);
}

#[test]
fn a_program_does_all_with_the_shared_library() {
    let stage = Stage::new("shared");
    let program = stage.compile("examples/hello.c", "gcc", &["-std=c99"], false);
    says(&stage, &mut Command::new(program), SAID);
}

#[test]
fn a_program_does_all_with_the_static_library() {
    let stage = Stage::new("static");
    let program = stage.compile("examples/hello.c", "gcc", &["-std=c99"], true);
    says(&stage, &mut Command::new(program), SAID);
}

#[test]
fn the_header_is_also_one_of_cpp() {
    let stage = Stage::new("cpp");
    stage.compile("tests/c/header.cpp", "g++", &["-std=c++11", "-fsyntax-only"], false);
}

#[test]
fn the_address_sanitizer_finds_no_error_and_no_leak() {
    let stage = Stage::new("asan");
    let program = stage.compile("examples/hello.c", "gcc", &["-std=c99", "-fsanitize=address"], false);
    says(&stage, &mut Command::new(program), SAID);
}

#[test]
fn misuse_is_an_error_and_never_a_crash() {
    let stage = Stage::new("misuse");
    let program = stage.compile("tests/c/misuse.c", "gcc", &["-std=c99", "-Wno-cast-align"], false);
    says(&stage, &mut Command::new(program), "refused\n");
}

#[test]
fn classes_of_c_are_served_by_the_program_run_again() {
    let stage = Stage::new("classes");
    let program = stage.compile("examples/classes.c", "gcc", &["-std=c99"], false);
    says(
        &stage,
        &mut Command::new(program),
        "the counter is at 42\nCounter.add failed: too much\n0 counters are left\n",
    );
}
