//! The header says what the library has, and the library has what the header says.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod built;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use built::root;

#[test]
fn the_header_is_the_one_that_the_sources_make() {
    let mut made = Vec::new();
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("a configuration");
    cbindgen::Builder::new()
        .with_crate(root())
        .with_config(config)
        .generate()
        .expect("the sources can be read")
        .write(&mut made);
    let path = root().join("include/sharehold.h");
    let made = String::from_utf8(made).expect("text");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&path, &made).expect("written");
    }
    assert!(
        fs::read_to_string(&path).expect("it is there") == made,
        "UPDATE_HEADER=1 cargo test -p sharehold-ffi header"
    );
}

#[test]
fn every_function_of_the_header_is_exported_and_no_other_one() {
    let header = fs::read_to_string(root().join("include/sharehold.h")).expect("it is there");
    let declared: BTreeSet<String> = header
        .lines()
        .filter(|line| line.ends_with("(") || line.ends_with(");") || line.ends_with(','))
        .filter(|line| {
            line.starts_with("sh_status sh_") || line.starts_with("const char *sh_") || line.starts_with("void sh_")
        })
        .map(|line| {
            let before = line.split('(').next().expect("a name").trim();
            before.rsplit([' ', '*']).next().expect("a name").to_owned()
        })
        .collect();
    assert!(declared.len() > 30, "{declared:?}");
    let listed = Command::new("nm").args(["-D", "--defined-only"]).arg(built::library("libsharehold.so")).output();
    let listed = String::from_utf8(listed.expect("nm runs").stdout).expect("text");
    let exported: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| line.split_once(" T ").map(|(_, name)| name.to_owned()))
        .filter(|name| name.starts_with("sh_"))
        .collect();
    assert_eq!(declared, exported);
}
