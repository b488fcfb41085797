//! What is installed is found by pkg-config and by CMake, and by the loader under the name of its version.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod built;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use built::{Stage, done, has, library, root};

/// Installs into a folder of the stage's.
fn installed(stage: &Stage) -> PathBuf {
    let prefix = stage.0.join("prefix");
    let built = library("libsharehold.so");
    let mut install = Command::new(root().join("install/install.sh"));
    // As `just install PREFIX=...` gives it.
    install.arg(format!("PREFIX={}", prefix.display())).arg(built.parent().expect("a folder")).env_remove("DESTDIR");
    done(&mut install);
    prefix
}

fn says_hello(stage: &Stage, program: &Path) {
    let output = stage.run(&mut Command::new(program));
    assert!(output.stdout.starts_with(b"3 elements, the first is 10\n"), "{output:?}");
}

#[test]
fn all_that_belongs_to_it_is_installed() {
    let stage = Stage::new("installed");
    let prefix = installed(&stage);
    for file in [
        "include/sharehold.h",
        "include/sharehold.hpp",
        "lib/libsharehold.a",
        "lib/libsharehold.so",
        "lib/pkgconfig/sharehold.pc",
        "lib/cmake/sharehold/sharehold-config.cmake",
        "lib/cmake/sharehold/sharehold-config-version.cmake",
        "share/doc/sharehold/LICENSE-MIT",
        "share/doc/sharehold/LICENSE-APACHE",
        "share/doc/sharehold/c.md",
    ] {
        let text = fs::read(prefix.join(file)).expect(file);
        let is_filled_in = !["pkgconfig", "cmake"].iter().any(|folder| file.contains(folder)) || !text.contains(&b'@');
        assert!(!text.is_empty() && is_filled_in, "{file}");
    }
    // The name that a program looks for is there.
    let version = env!("CARGO_PKG_VERSION");
    let real = fs::canonicalize(prefix.join("lib/libsharehold.so")).expect("a link");
    assert_eq!(real.file_name().and_then(|name| name.to_str()), Some(&*format!("libsharehold.so.{version}")));
    let dynamic = done(Command::new("readelf").arg("-d").arg(&real)).stdout;
    let dynamic = String::from_utf8(dynamic).expect("text");
    let name = dynamic.lines().find(|line| line.contains("SONAME")).expect("a name for the loader");
    let (_, name) = name.split_once('[').expect("a name");
    assert!(prefix.join("lib").join(name.trim_end_matches(']')).exists(), "{name}");
}

#[test]
fn a_prefix_that_is_no_path_is_refused() {
    let output =
        Command::new(root().join("install/install.sh")).args(["PREFIX=here", "nowhere"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn pkg_config_finds_it() {
    if !has("pkg-config") {
        return;
    }
    let stage = Stage::new("pkg-config");
    let prefix = installed(&stage);
    let ask = |what: &[&str]| {
        let mut ask = Command::new("pkg-config");
        ask.args(what).arg("sharehold").env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
        String::from_utf8(done(&mut ask).stdout).expect("text").trim().to_owned()
    };
    assert_eq!(ask(&["--modversion"]), env!("CARGO_PKG_VERSION"));
    let source = root().join("examples/hello.c");
    for (program, libraries) in
        [("shared", ask(&["--cflags", "--libs"])), ("static", ask(&["--cflags", "--libs", "--static"]))]
    {
        let program = stage.0.join(program);
        let mut compile = stage.compiler(&source);
        compile.arg(&source).arg("-o").arg(&program);
        // `-static` would take the C library too; so the archive alone is named.
        let archive = prefix.join("lib/libsharehold.a").display().to_string();
        compile.args(libraries.split_whitespace().map(|word| {
            if program.ends_with("static") && word == "-lsharehold" { archive.clone() } else { word.to_owned() }
        }));
        done(&mut compile);
        let output = stage.run(Command::new(&program).env("LD_LIBRARY_PATH", prefix.join("lib")));
        assert!(output.stdout.starts_with(b"3 elements, the first is 10\n"), "{output:?}");
    }
}

#[test]
fn cmake_finds_it() {
    if !has("cmake") || !has("g++") {
        return;
    }
    let stage = Stage::new("cmake");
    let prefix = installed(&stage);
    let folder = stage.0.join("build");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(root().join("examples")).arg("-B").arg(&folder);
    done(configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
    done(Command::new("cmake").arg("--build").arg(&folder));
    for program in ["hello", "hello_static", "hello_cpp"] {
        says_hello(&stage, &folder.join(program));
    }
}
