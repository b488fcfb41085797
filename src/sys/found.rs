//! What stands where something of ours belongs: looked at before it is used, never followed. Anybody may have put it there.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// What belongs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Socket,
}

/// Rights of others, in the mode of a file.
pub(crate) const ANY: u32 = 0o077;
pub(crate) const READ_OR_WRITE: u32 = 0o066;
pub(crate) const WRITE: u32 = 0o022;

/// What stands at a path itself, also if it is a link; `None` if nothing does.
pub(crate) fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Error::new(
            ErrorKind::Refused,
            format!("{} can't be reached by user {}: {error}", path.display(), user()),
        )
        .help("its directory, or one above it, is closed")
        .caused_by(error)),
        Err(error) => Err(Error::os(format!("look at {}", path.display()), error)),
    }
}

/// Checks that it is of this kind and of this user, and that others have none of the rights `kept`.
pub(crate) fn check(path: &Path, found: &Metadata, kind: Kind, owner: u32, kept: u32) -> Result<()> {
    let what = match kind {
        Kind::Directory => "directory",
        Kind::File => "file",
        Kind::Socket => "socket",
    };
    let is = kind_of(found);
    let wrong = if is != what {
        format!("is a {is}, where a {what} belongs")
    } else if found.uid() != owner {
        format!("is a {what} of user {}, where one of user {owner} belongs", found.uid())
    } else if found.mode() & kept != 0 {
        format!("is open to others: its mode is {:04o}", found.mode() & 0o7777)
    } else if kind == Kind::File && found.nlink() > 1 {
        "has another name elsewhere: it is a hard link".into()
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Refused, format!("{} {wrong}", path.display()))
        .help("somebody may have put it there: look at it, then remove it, or use another place or name"))
}

/// Opens a file that this user alone can read. A link to it may be its name.
pub(crate) fn open_private(path: &Path) -> Result<File> {
    let failed = |error| Error::os(format!("open {}", path.display()), error);
    // Whatever else stands there, opening it neither waits nor does anything.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let there = file.metadata().map_err(failed)?;
    check(path, &there, Kind::File, user(), ANY).map(|()| file)
}

/// Opens a file of this user alone to read and write it, with further flags; `None` if there is none. What somebody else has put there is not touched: it is told what it is.
pub(crate) fn open_own(path: &Path, flags: OFlags, doing: &str) -> Result<Option<File>> {
    let checked = |there: &Metadata| check(path, there, Kind::File, user(), ANY);
    let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            let file = File::from(file);
            let there = file.metadata().map_err(|error| Error::os(format!("look at {}", path.display()), error))?;
            checked(&there).map(|()| Some(file))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => {
            look(path)?.map_or(Ok(()), |there| checked(&there))?;
            Err(Error::os(doing, error))
        }
    }
}

fn kind_of(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_symlink() {
        "symbolic link"
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_file() {
        "file"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "FIFO"
    } else {
        "device"
    }
}

/// The user that this process works for.
pub(crate) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}
