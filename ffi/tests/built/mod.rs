//! The libraries, built as a user builds them, and programs of C and C++ that use them.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "each test binary uses its part; one that can't go on fails"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
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

/// Whether a tool is there. If not, says that the test is skipped, also where the output of tests is captured.
pub(crate) fn has(tool: &str) -> bool {
    let asked = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = asked.is_ok_and(|status| status.success());
    if !is_there {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        writeln!(std::io::stderr(), "{test} is skipped: there is no {tool}").expect("it can be said");
    }
    is_there
}

/// How a program is linked and run.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Way {
    Shared,
    Static,
    /// Under the address sanitizer, with the shared library.
    Address,
    /// Under valgrind, with the shared library.
    Valgrind,
}

impl Way {
    /// Whether what it needs for this source is there.
    pub(crate) fn is_possible(self, source: &str) -> bool {
        has(compiler(source)) && (self != Way::Valgrind || has("valgrind"))
    }

    /// Runs a program so that an error or a leak makes it fail.
    pub(crate) fn command(self, program: &Path) -> Command {
        if self != Way::Valgrind {
            return Command::new(program);
        }
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
        // A block of which only the inside is pointed to, as a hash table's, is not lost. Threads that wait for each other get their turns.
        command.args(["--errors-for-leak-kinds=definite,indirect", "--fair-sched=yes"]);
        command.arg(program);
        command
    }
}

fn compiler(source: &str) -> &'static str {
    if source.ends_with(".cpp") { "g++" } else { "gcc" }
}

/// A folder of its own for programs, their brokers' sockets and what they make, gone with the test.
pub(crate) struct Stage(pub(crate) PathBuf);

impl Stage {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sharehold-c-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    /// Where the programs' brokers have their sockets.
    pub(crate) fn run_folder(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Compiles a source of this package with all warnings as errors.
    pub(crate) fn compile(&self, source: &str, way: Way) -> PathBuf {
        let source = root().join(source);
        let program = self.0.join(source.file_stem().expect("a name"));
        let mut command = self.compiler(&source);
        command.arg("-I").arg(root().join("include")).arg(&source).arg("-o").arg(&program);
        match way {
            Way::Static => drop(command.arg(library("libsharehold.a")).args(["-lpthread", "-ldl", "-lm"])),
            Way::Address => drop(command.arg("-fsanitize=address,undefined")),
            Way::Shared | Way::Valgrind => {}
        }
        if way != Way::Static {
            let shared = library("libsharehold.so");
            // Under the name that the loader looks for.
            let named = self.0.join("libsharehold.so.0");
            let _ = fs::remove_file(&named);
            std::os::unix::fs::symlink(&shared, &named).expect("a link");
            command.arg("-L").arg(shared.parent().expect("a folder")).arg("-lsharehold");
            command.arg(format!("-Wl,-rpath,{}", self.0.display()));
        }
        done(&mut command);
        program
    }

    /// A compiler that lets nothing pass.
    pub(crate) fn compiler(&self, source: &Path) -> Command {
        let compiler = compiler(source.to_str().expect("text"));
        let mut command = Command::new(compiler);
        command.arg(if compiler == "g++" { "-std=c++17" } else { "-std=c99" });
        command.args(["-g", "-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread"]).current_dir(&self.0);
        command
    }

    pub(crate) fn run(&self, command: &mut Command) -> Output {
        done(command.env("SHAREHOLD_DIR", self.run_folder()))
    }

    /// Runs a program that has to say this.
    pub(crate) fn says(&self, command: &mut Command, said: &str) {
        let output = self.run(command);
        assert_eq!(String::from_utf8_lossy(&output.stdout), said);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a command that has to succeed.
pub(crate) fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}: {said}{complained}", output.status);
    output
}
