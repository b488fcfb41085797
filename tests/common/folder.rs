//! A folder for the brokers of one test, gone with the test.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

/// A user that owns nothing.
pub const NOBODY: u32 = 65534;

/// Whether this test may act as another user. Those that need it do nothing elsewhere.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub struct Folder(pub PathBuf);

impl Folder {
    /// A path that everybody can reach, and where nothing is.
    pub fn new(what: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(env::temp_dir().join(format!("sharehold-{what}-{}-{number}", std::process::id())))
    }

    /// One that only this user can look into, and is there.
    pub fn private(what: &str) -> Self {
        let folder = Self::new(what);
        DirBuilder::new().mode(0o700).create(&folder).expect("made");
        folder
    }

    /// As [`Folder::private`], of another user. Root may.
    pub fn private_of(what: &str, user: u32) -> Self {
        let folder = Self::private(what);
        chown(&folder, Some(user), None).expect("root may");
        folder
    }

    /// The place of a broker in it, as one of another user is named.
    pub fn place(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path").to_owned()
    }

    /// This program again, with the folder as that of its brokers.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env::current_exe().expect("a path"));
        command.env("SHAREHOLD_DIR", &self.0);
        command
    }

    /// What is in it.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .expect("a folder")
            .flatten()
            .map(|entry| entry.file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0).or_else(|_| fs::remove_file(&self.0));
    }
}
