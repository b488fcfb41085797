//! The header says what the library has, and the library has what the header says.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod built;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use built::{Stage, Way, done, has, root};

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

/// The names of the header's functions.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(root().join("include/sharehold.h")).expect("it is there");
    let declared: BTreeSet<String> = header
        .lines()
        .filter(|line| line.starts_with("sh_status sh_") || line.starts_with("const char *sh_"))
        .map(|line| {
            let before = line.split('(').next().expect("a name").trim();
            before.rsplit([' ', '*']).next().expect("a name").to_owned()
        })
        .collect();
    assert!(declared.len() > 60, "{declared:?}");
    declared
}

/// All words of a text that begin as the library's names do.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("sh_")).map(str::to_owned).collect()
}

/// The sources of programs with this ending.
fn sources(ending: &str) -> Vec<String> {
    let folders = ["examples", "tests/c"].map(|folder| fs::read_dir(root().join(folder)).expect("a folder"));
    let files = folders.into_iter().flatten().map(|file| file.expect("a file").path());
    let sources = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    sources.map(|path| path.strip_prefix(root()).expect("below").to_str().expect("text").to_owned()).collect()
}

#[test]
fn every_function_of_the_header_is_exported_and_no_other_one() {
    let listed = Command::new("nm").args(["-D", "--defined-only"]).arg(built::library("libsharehold.so")).output();
    let listed = String::from_utf8(listed.expect("nm runs").stdout).expect("text");
    let exported: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| line.split_once(" T ").map(|(_, name)| name.to_owned()))
        .filter(|name| name.starts_with("sh_"))
        .collect();
    assert_eq!(declared(), exported);
}

#[test]
fn every_function_is_called_by_a_program_of_c() {
    let read = |path: String| fs::read_to_string(root().join(path)).expect("it is there");
    let called: BTreeSet<String> = sources("c").into_iter().flat_map(|path| names(&read(path))).collect();
    let forgotten: Vec<_> = declared().into_iter().filter(|name| !called.contains(name)).collect();
    assert!(forgotten.is_empty(), "no program in tests/c or examples calls {forgotten:?}");
}

#[test]
fn every_function_that_the_header_of_cpp_calls_is_called_by_a_program() {
    if !has("g++") {
        return;
    }
    let header = fs::read_to_string(root().join("include/sharehold.hpp")).expect("it is there");
    let stage = Stage::new("called");
    let mut called = BTreeSet::new();
    for source in sources("cpp") {
        let program = stage.compile(&source, Way::Shared);
        let missing = done(Command::new("nm").args(["-D", "--undefined-only"]).arg(program)).stdout;
        called.extend(names(&String::from_utf8(missing).expect("text")));
    }
    let forgotten: Vec<_> =
        names(&header).intersection(&declared()).filter(|name| !called.contains(*name)).cloned().collect();
    assert!(forgotten.is_empty(), "no program of C++ comes to {forgotten:?}");
}

/// Of every function: its comment in the sources.
fn comments() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for file in fs::read_dir(root().join("src")).expect("a folder") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        let mut comment = String::new();
        for line in text.lines() {
            match line.strip_prefix("///") {
                Some(said) => comment += said,
                None if line.starts_with("#[") => {}
                None => {
                    if let Some((_, name)) = line.split_once("extern \"C\" fn sh_")
                        && line.starts_with("pub")
                    {
                        all.push((format!("sh_{}", name.split('(').next().expect("a name")), comment.clone()));
                    }
                    comment.clear();
                }
            }
        }
    }
    assert_eq!(all.len(), declared().len());
    all
}

#[test]
fn every_function_says_which_threads_may_call_it() {
    let silent: Vec<_> = comments().into_iter().filter(|(_, comment)| !comment.contains("thread")).collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn every_function_that_gives_something_says_who_drops_it() {
    let header = fs::read_to_string(root().join("include/sharehold.h")).expect("it is there");
    for (name, comment) in comments() {
        let (_, after) =
            header.split_once(&format!(" {name}(")).or_else(|| header.split_once(&format!("*{name}("))).expect(&name);
        let arguments = after.split(");").next().expect("arguments");
        // What is written through a pointer to a pointer, or as bytes.
        let gives = arguments.contains(" **")
            || arguments.contains("*const *") && !arguments.contains("classes")
            || arguments.contains("sh_bytes *");
        let says = [
            "dropped by",
            "freed by",
            "not to be freed",
            "given to sh_unlock",
            "before sh_unlock",
            "as long as",
            "belongs to",
        ];
        assert!(!gives || says.iter().any(|says| comment.contains(says)), "{name} does not say who owns what it gives");
    }
}
