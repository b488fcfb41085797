//! Where a broker is found: a socket and a lock file in a directory, and a segment if it has one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::found::{self, Kind};
use crate::error::{Error, ErrorKind, Result};

/// Longest name of a broker: with the directory it must fit the 108 bytes of a socket address.
const LONGEST_NAME: usize = 48;
/// Where the system keeps named segments. Anybody may make files there.
const SEGMENTS: &str = "/dev/shm";

/// Where a client expects a broker, and whose it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    directory: PathBuf,
    name: String,
    /// Whether the broker has to be this user's own. Else the user has named the directory, and trusts whoever owns it.
    is_own: bool,
}

impl Place {
    /// The place of a broker that is named by its name alone, or with the directory that it is in: `/srv/lab/prices`.
    pub(crate) fn of(name: &str) -> Result<Self> {
        let (directory, name, is_own) = match name.rsplit_once('/') {
            Some(("", name)) => ("/".into(), name, false),
            Some((directory, name)) => (Path::new(directory).components().collect(), name, false),
            None => (directory(), name, configured().is_none()),
        };
        check_name(name)?;
        Ok(Self { directory, name: name.to_owned(), is_own })
    }

    /// The socket of the broker.
    pub(crate) fn socket_path(&self) -> PathBuf {
        self.directory.join(format!("{}.sock", self.name))
    }

    /// The user whose broker it has to be. Nobody else can have put a socket there.
    ///
    /// # Errors
    /// `BrokerNotFound` if there is no such directory; `Refused` if others can write to it.
    pub(crate) fn owner(&self) -> Result<u32> {
        use std::os::unix::fs::MetadataExt;
        let there = found::look(&self.directory)?.ok_or_else(|| self.not_found())?;
        let owner = if self.is_own { found::user() } else { there.uid() };
        found::check(&self.directory, &there, Kind::Directory, owner, found::WRITE)?;
        Ok(owner)
    }

    /// The segment of the broker, if it is one of this user's own.
    pub(crate) fn segment(&self) -> Option<String> {
        (self.directory == directory()).then(|| segment_name(&self.name))
    }

    /// There is nothing where its socket would be.
    pub(crate) fn not_found(&self) -> Error {
        let path = self.socket_path();
        Error::new(
            ErrorKind::BrokerNotFound,
            format!("no broker named '{}' runs: there is no {}", self.name, path.display()),
        )
        .help("start one with `sharehold serve --name NAME`, or look at SHAREHOLD_DIR")
    }
}

/// The directory that the user has named.
fn configured() -> Option<PathBuf> {
    let directory = std::env::var_os("SHAREHOLD_DIR").filter(|value| !value.is_empty())?;
    // Without a slash at its end, which would have a link followed.
    Some(Path::new(&directory).components().collect())
}

/// The directory of all brokers of this user: `$SHAREHOLD_DIR`, else `sharehold` in `$XDG_RUNTIME_DIR`, else `/tmp/sharehold-UID`.
pub(crate) fn directory() -> PathBuf {
    configured().unwrap_or_else(|| match std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        Some(runtime) => Path::new(&runtime).join("sharehold"),
        None => PathBuf::from(format!("/tmp/sharehold-{}", found::user())),
    })
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

/// The socket of this user's broker of this name.
pub(crate) fn socket_path(name: &str) -> PathBuf {
    directory().join(format!("{name}.sock"))
}

/// The POSIX segment of the broker of this name; another user's broker of the same name has another.
pub(crate) fn segment_name(name: &str) -> String {
    format!("/sharehold-{}-{name}", found::user())
}

/// Opens the segment of this name, if there is one: a file of this user alone, and not what somebody else has put there.
pub(crate) fn open_segment(segment: &str) -> Result<Option<File>> {
    let path = Path::new(SEGMENTS).join(segment.trim_start_matches('/'));
    found::open_own(&path, OFlags::empty(), &format!("open the segment {segment}"))
}

/// Removes a segment, if it is there. Who has it mapped keeps it.
pub(crate) fn remove_segment(segment: &str) -> Result<()> {
    if open_segment(segment)?.is_none() {
        return Ok(());
    }
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
