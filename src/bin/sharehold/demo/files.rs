//! Finds files, and loads them straight into shared memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sharehold::{Array, Manager};
use walkdir::{DirEntry, WalkDir};

/// How often a file that changes its length while it is read is tried again.
const TRIES: u32 = 3;

pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    /// Length when it was found, for the progress bar.
    pub(super) len: u64,
}

/// All files of the paths, in the order of their names. A path that can't be read stays in the list: loading it tells why.
pub(super) fn find(paths: &[PathBuf]) -> Vec<FoundFile> {
    let here = [PathBuf::from(".")];
    let roots = if paths.is_empty() { &here[..] } else { paths };
    let mut found = Vec::new();
    for root in roots {
        for entry in WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(is_wanted) {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                // What a folder contains besides files is not asked for; what the user names is.
                Ok(entry) if entry.depth() > 0 && !entry.path().is_file() => {}
                Ok(entry) => {
                    let path = entry.path().strip_prefix("./").unwrap_or(entry.path()).to_owned();
                    let len = path.metadata().map_or(0, |metadata| metadata.len());
                    found.push(FoundFile { path, len });
                }
                Err(error) => found.push(FoundFile { path: error.path().unwrap_or(root).to_owned(), len: 0 }),
            }
        }
    }
    found
}

fn is_wanted(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.depth() == 0 || !(name.starts_with('.') || entry.file_type().is_dir() && name == "target")
}

/// Why a file could not be loaded.
pub(super) enum Unloaded {
    Io(io::Error),
    Sharehold(sharehold::Error),
}

impl fmt::Display for Unloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => {
                let text = error.to_string();
                // As the system's own tools say it.
                f.write_str(text.split(" (os error").next().unwrap_or(&text))
            }
            Self::Sharehold(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Unloaded {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<sharehold::Error> for Unloaded {
    fn from(error: sharehold::Error) -> Self {
        Self::Sharehold(error)
    }
}

/// Reads a file into a new shared array and seals it.
pub(super) fn load(manager: &Manager, file: &FoundFile) -> Result<Array<u8>, Unloaded> {
    for _ in 0..TRIES {
        if let Some(array) = try_load(manager, &file.path)? {
            array.seal()?;
            return Ok(array);
        }
    }
    Err(io::Error::other("it changes while it is read").into())
}

/// `None`: the file had another length than it said.
fn try_load(manager: &Manager, path: &Path) -> Result<Option<Array<u8>>, Unloaded> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
    }
    let len = usize::try_from(metadata.len()).map_err(io::Error::other)?;
    if !metadata.is_file() || len == 0 {
        // A pipe or a file of the kernel does not tell its length.
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        return Ok(Some(manager.array(&bytes)?));
    }
    let mut whole = false;
    let array = manager.array_with(len, |place| -> Result<(), Unloaded> {
        let read = file.read_exact(place);
        whole = match read {
            Ok(()) => file.read(&mut [0])? == 0,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(error.into()),
        };
        Ok(())
    })?;
    Ok(whole.then_some(array))
}
