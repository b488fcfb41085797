//! The libraries, built as a user builds them, and C programs that use them.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "each test binary uses its part; one that can't go on fails"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// This package's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A library's file. Cargo does not build it for tests, which can't link it.
pub(crate) fn library(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // Beside this test's own folder. Together with the crate that it is made of, which is built already then.
        let test = std::env::current_exe().expect("this program has a path");
        let folder = test.ancestors().nth(2).expect("two folders up").to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--lib", "-p", "sharehold", "-p", "sharehold-ffi", "--target-dir"]);
        build.arg(folder.parent().expect("the folder of all")).current_dir(root());
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the library can't be built");
        folder
    });
    folder.join(name)
}

/// A folder of its own for a program, its brokers' sockets and what it makes, gone with the test.
pub(crate) struct Stage(pub(crate) PathBuf);

impl Stage {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sharehold-c-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    /// Compiles a source of this package with all warnings as errors.
    pub(crate) fn compile(&self, source: &str, compiler: &str, options: &[&str], is_static: bool) -> PathBuf {
        let program = self.0.join("program");
        let shared = library("libsharehold.so");
        let folder = shared.parent().expect("a folder");
        let mut command = Command::new(compiler);
        command
            .args(["-g", "-Wall", "-Wextra", "-Werror", "-pedantic"])
            .args(options)
            .arg("-I")
            .arg(root().join("include"));
        command.arg(root().join(source)).arg("-o").arg(&program);
        if is_static {
            command.arg(library("libsharehold.a")).args(["-lpthread", "-ldl", "-lm"]);
        } else {
            // Under the name that the loader looks for.
            let named = self.0.join("libsharehold.so.0");
            let _ = std::fs::remove_file(&named);
            std::os::unix::fs::symlink(&shared, &named).expect("a link");
            command.arg("-L").arg(folder).arg("-lsharehold").arg(format!("-Wl,-rpath,{}", self.0.display()));
        }
        let output = command.output().unwrap_or_else(|error| panic!("there is no C compiler, {compiler}: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    }

    pub(crate) fn run(&self, command: &mut Command) -> Output {
        let output = command.env("SHAREHOLD_DIR", self.0.join("run")).output().expect("it runs");
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {said}{complained}", output.status);
        output
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
