//! A broker's claim on its name, and the directory that it is made in.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock};
use rustix::io::Errno;

use super::found::{self, Kind};
use super::place::{check_name, directory, socket_path};
use crate::error::{Error, ErrorKind, Result};

/// The names that brokers of this very process hold: record locks do not exclude their own process.
static HELD_HERE: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

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
    /// Claims the name; `BrokerExists` if a living process has it. What a dead broker left in the directory is removed; what is not a broker's is left as it is, and
    /// an error. `for_others`: other users can reach the directory, and not look around in it.
    pub(crate) fn take(name: &str, for_others: bool) -> Result<Self> {
        check_name(name)?;
        let directory = directory();
        make_directory(&directory, for_others)?;
        let lock_path = lock_path(name);
        let socket_path = socket_path(name);
        is_left_behind(&socket_path)?;
        let exists = |pid: &str| {
            Error::new(ErrorKind::BrokerExists, format!("a broker named '{name}' runs already, as process {pid}"))
                .help("connect to it, stop it, or choose another name")
        };
        let mut here = HELD_HERE.lock();
        if here.contains(&lock_path) {
            return Err(exists(&std::process::id().to_string()));
        }
        let file = loop {
            let mut file = open_lock(&lock_path)?;
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
            let same = fs::symlink_metadata(&lock_path)
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
        let is_successor = is_left_behind(&socket_path)?;
        if is_successor {
            fs::remove_file(&socket_path)
                .map_err(|error| Error::os(format!("remove {}", socket_path.display()), error))?;
            tracing::info!(socket = %socket_path.display(), "removed the socket of a dead broker");
        }
        here.insert(lock_path.clone());
        Ok(Self { _file: file, lock_path, socket_path, is_successor })
    }

    /// Claims a name that a dead broker has left; `None` if none has left anything. An error as of [`Claim::take`] if another one has it.
    pub(crate) fn of_dead(name: &str) -> Result<Option<Self>> {
        match found::look(&lock_path(name))? {
            Some(_) => Self::take(name, false).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a broker of this name has died and left its socket behind.
    pub(crate) fn is_successor(&self) -> bool {
        self.is_successor
    }

    pub(crate) fn socket_path(&self) -> &Path {
        &self.socket_path
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

fn lock_path(name: &str) -> PathBuf {
    directory().join(format!("{name}.lock"))
}

/// Whether a socket of a broker is there. An error if it is something else.
fn is_left_behind(socket: &Path) -> Result<bool> {
    let Some(there) = found::look(socket)? else { return Ok(false) };
    // Its mode says nothing: the broker before may have been open to others.
    found::check(socket, &there, Kind::Socket, found::user(), 0).map(|()| true)
}

/// Opens the lock file, or makes it. What is no file of ours is not touched.
fn open_lock(path: &Path) -> Result<File> {
    let doing = format!("open {}", path.display());
    let file = found::open_own(path, OFlags::CREATE, &doing)?;
    // The directory has gone.
    file.ok_or_else(|| Error::os(doing, Errno::NOENT))
}

/// Makes the directory with mode 0700, or checks that it is this user's, and that others can neither write nor look into it.
fn make_directory(directory: &Path, for_others: bool) -> Result<()> {
    let doing = || format!("make {}", directory.display());
    if found::look(directory)?.is_none() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| Error::os(doing(), error))?;
    }
    let there = found::look(directory)?
        .ok_or_else(|| Error::os(doing(), std::io::Error::from(std::io::ErrorKind::NotFound)))?;
    found::check(directory, &there, Kind::Directory, found::user(), found::READ_OR_WRITE)?;
    if for_others {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let open = rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| Error::os(doing(), error))?;
        rustix::fs::fchmod(open, Mode::from_raw_mode(0o711)).map_err(|error| Error::os(doing(), error))?;
        let is_closed = |path: &&Path| fs::metadata(path).is_ok_and(|there| there.mode() & 0o001 == 0);
        if let Some(closed) = directory.ancestors().find(is_closed) {
            // Groups and access lists may let some through.
            tracing::warn!(directory = %closed.display(), "other users may not get to the broker: name a place in SHAREHOLD_DIR that they can reach");
        }
    }
    Ok(())
}
