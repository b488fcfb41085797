//! Where a broker is found: a socket and a lock file in a directory of this user alone.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, Mode, fcntl_lock};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// Longest name of a broker: with the directory it must fit the 108 bytes of a socket address.
const LONGEST_NAME: usize = 48;

/// The names that brokers of this very process hold: record locks do not exclude their own process.
static HELD_HERE: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// The directory of all brokers of this user: `$SHAREHOLD_DIR`, else `sharehold` in `$XDG_RUNTIME_DIR`, else `/tmp/sharehold-UID`.
pub(crate) fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("SHAREHOLD_DIR").filter(|value| !value.is_empty()) {
        return directory.into();
    }
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        return Path::new(&runtime).join("sharehold");
    }
    PathBuf::from(format!("/tmp/sharehold-{}", rustix::process::geteuid().as_raw()))
}

/// Checks that a broker may have this name: letters, digits, `.`, `_`, `-`, not starting with a dot.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > LONGEST_NAME || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("'{name}' can't be the name of a broker"))
            .help("use 1 to 48 letters, digits, dots, dashes and underscores, no dot at the start"));
    }
    Ok(())
}

/// The socket of the broker of this name.
pub(crate) fn socket_path(name: &str) -> PathBuf {
    directory().join(format!("{name}.sock"))
}

/// The POSIX segment of the broker of this name; another user's broker of the same name has another.
pub(crate) fn segment_name(name: &str) -> String {
    format!("/sharehold-{}-{name}", rustix::process::geteuid().as_raw())
}

/// Whether there is a segment of this name.
pub(crate) fn segment_exists(segment: &str) -> Result<bool> {
    match rustix::shm::open(segment, rustix::shm::OFlags::RDONLY, Mode::empty()) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(Error::os(format!("look for the segment {segment}"), error)),
    }
}

/// Removes a segment, if it is there. Who has it mapped keeps it.
pub(crate) fn remove_segment(segment: &str) -> Result<()> {
    match rustix::shm::unlink(segment) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::os(format!("remove the segment {segment}"), error)),
    }
}

/// The names of all brokers that have a socket here, alive or not.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".sock")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// A broker's claim on its name, held as long as it lives: a record lock, which the kernel drops with the process and
/// which a forked child does not inherit. Dropping it removes the lock file and the socket.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The open file is the lock.
    _file: File,
    lock_path: PathBuf,
    socket_path: PathBuf,
    is_successor: bool,
}

impl Claim {
    /// Claims the name; `BrokerExists` if a living process has it. What a dead broker left in the directory is removed.
    pub(crate) fn take(name: &str) -> Result<Self> {
        check_name(name)?;
        let directory = directory();
        make_private(&directory)?;
        let lock_path = directory.join(format!("{name}.lock"));
        let exists = |pid: &str| {
            Error::new(ErrorKind::BrokerExists, format!("a broker named '{name}' runs already, as process {pid}"))
                .help("connect to it, stop it, or choose another name")
        };
        let mut here = HELD_HERE.lock();
        if here.contains(&lock_path) {
            return Err(exists(&std::process::id().to_string()));
        }
        let file = loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
                .open(&lock_path)
                .map_err(|error| Error::os(format!("open {}", lock_path.display()), error))?;
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => {
                    let mut pid = String::new();
                    let _ = file.read_to_string(&mut pid);
                    return Err(exists(pid.trim()));
                }
                Err(error) => return Err(Error::os(format!("lock {}", lock_path.display()), error)),
            }
            // The file may have been removed by its last owner between open and lock: then the lock is on nothing.
            let same = fs::metadata(&lock_path)
                .ok()
                .zip(file.metadata().ok())
                .is_some_and(|(path, open)| path.ino() == open.ino());
            if same {
                break file;
            }
        };
        file.set_len(0)
            .and_then(|()| writeln!(&file, "{}", std::process::id()))
            .map_err(|error| Error::os(format!("write {}", lock_path.display()), error))?;
        here.insert(lock_path.clone());
        let socket_path = directory.join(format!("{name}.sock"));
        let mut claim = Self { _file: file, lock_path, socket_path, is_successor: false };
        match fs::remove_file(&claim.socket_path) {
            Ok(()) => {
                tracing::info!(socket = %claim.socket_path.display(), "removed the socket of a dead broker");
                claim.is_successor = true;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::os(format!("remove {}", claim.socket_path.display()), error)),
        }
        Ok(claim)
    }

    pub(crate) fn socket_path(&self) -> &Path {
        &self.socket_path
    }

    /// Whether an earlier broker of this name has died instead of ending in order.
    pub(crate) fn is_successor(&self) -> bool {
        self.is_successor
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The socket first: who sees no lock file may start a broker of this name at once.
        let _ = fs::remove_file(&self.socket_path);
        let _ = fs::remove_file(&self.lock_path);
        HELD_HERE.lock().remove(&self.lock_path);
    }
}

/// Makes the directory with mode 0700, or checks that it is this user's, closed to others and no link.
fn make_private(directory: &Path) -> Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) => return Err(Error::os(format!("make {}", directory.display()), error)),
    }
    let metadata = fs::symlink_metadata(directory)
        .map_err(|error| Error::os(format!("look at {}", directory.display()), error))?;
    let mine = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || !mine || metadata.mode() & 0o077 != 0 {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("{} is not a directory of this user alone", directory.display()),
        )
        .help("remove it, set its mode to 0700, or name another one in SHAREHOLD_DIR"));
    }
    Ok(())
}
