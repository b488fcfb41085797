//! Finds the files, and reads them straight into shared memory.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use sharehold::{Array, Manager};
use walkdir::{DirEntry, WalkDir};

use super::budget::{Budget, Share};

/// Bytes between two steps of the progress bar.
const CHUNK: usize = 4 << 20;

/// A file to be counted.
pub(super) struct Listed {
    pub(super) path: PathBuf,
    /// Its size when it was found.
    pub(super) size: u64,
}

/// Why a file can't be counted, in the words of `wc`.
#[derive(Debug)]
pub(super) struct Trouble(pub(super) String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        Self(text.split(" (os error").next().unwrap_or_default().to_owned())
    }
}

impl From<sharehold::Error> for Trouble {
    fn from(error: sharehold::Error) -> Self {
        Self(error.to_string())
    }
}

/// All files, each folder in the order of names. What can't be looked at is told to `complain`.
pub(super) fn list(paths: &[PathBuf], complain: &mut impl FnMut(&Path, Trouble)) -> Vec<Listed> {
    let mut files = Vec::new();
    for path in paths {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => walk(path, &mut files, complain),
            Ok(found) => files.push(Listed { path: path.clone(), size: found.len() }),
            Err(error) => complain(path, error.into()),
        }
    }
    files
}

fn walk(folder: &Path, files: &mut Vec<Listed>, complain: &mut impl FnMut(&Path, Trouble)) {
    for entry in WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(is_wanted) {
        let found =
            entry.and_then(|entry| Ok((entry.file_type().is_file(), entry.metadata()?.len(), entry.into_path())));
        match found {
            Ok((true, size, path)) => {
                let path = path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path);
                files.push(Listed { path, size });
            }
            Ok((false, ..)) => {}
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_path_buf();
                let text = error.to_string();
                complain(&path, error.into_io_error().map_or(Trouble(text), Trouble::from));
            }
        }
    }
}

/// Not hidden and no build folder, unless it was asked for by name.
fn is_wanted(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let hidden = name.as_encoded_bytes().starts_with(b".");
    let build = entry.file_type().is_dir() && name == OsStr::new("target");
    entry.depth() == 0 || !(hidden || build)
}

/// A file in shared memory.
pub(super) struct Loaded<'a> {
    pub(super) text: Array<u8>,
    /// Bytes of `text` that are the file's: fewer than all if it became shorter while it was read.
    pub(super) len: u64,
    pub(super) share: Share<'a>,
}

/// Reads a file into shared memory and seals it there. What is appended meanwhile is not read.
pub(super) fn load<'a>(
    manager: &Manager,
    path: &Path,
    budget: &'a Budget,
    bar: &ProgressBar,
) -> Result<Loaded<'a>, Trouble> {
    // Looked at before it is opened, which for a pipe would wait for a writer.
    let found = fs::metadata(path)?;
    if found.is_dir() {
        return Err(Trouble("Is a directory".into()));
    }
    if !found.is_file() {
        return Err(Trouble("Not a regular file".into()));
    }
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let share = budget.take(size);
    let mut len = 0;
    let text = if size == 0 {
        // Those of /proc say that they are empty and are not.
        let mut text = Vec::new();
        len = file.read_to_end(&mut text)?;
        manager.array(&text)?
    } else {
        let size = usize::try_from(size).map_err(|_| Trouble("File too large".into()))?;
        manager.array_with(size, |place| {
            len = read_into(&mut file, place, |bytes| bar.inc(bytes as u64))?;
            Ok::<(), Trouble>(())
        })?
    };
    text.seal()?;
    Ok(Loaded { text, len: len as u64, share })
}

/// Reads until the place is full or the file at its end.
fn read_into(file: &mut impl Read, place: &mut [u8], mut progress: impl FnMut(usize)) -> io::Result<usize> {
    let mut len = 0;
    while len < place.len() {
        let end = place.len().min(len + CHUNK);
        match file.read(&mut place[len..end]) {
            Ok(0) => break,
            Ok(bytes) => {
                len += bytes;
                progress(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_became_shorter_or_longer_is_read_as_far_as_it_goes() {
        let mut place = [0; 4];
        assert_eq!(read_into(&mut &b"ab"[..], &mut place, |_| ()).ok(), Some(2));
        assert_eq!(place, *b"ab\0\0");
        assert_eq!(read_into(&mut &b"abcdef"[..], &mut place, |_| ()).ok(), Some(4));
        assert_eq!(place, *b"abcd");
    }

    #[test]
    fn trouble_is_told_as_wc_does() {
        assert_eq!(Trouble::from(io::Error::from_raw_os_error(13)).to_string(), "Permission denied");
    }
}
