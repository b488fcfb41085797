//! Repository rules: a module uses only what stands left of it, and `unsafe` stands only where it is opened with a reason.

#![allow(clippy::expect_used, reason = "a test that can't go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// Left to right: each may use itself and what stands before it. `error` and `region::address` numbers are everybody's.
const LAYERS: [&str; 11] =
    ["sys", "sync", "region", "table", "session", "heap", "object", "class", "control", "broker", "client"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Lines of code of a file, without comments and without its unit tests.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a source file");
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    product.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

#[test]
fn a_module_uses_only_what_stands_left_of_it() {
    let mut faults = Vec::new();
    for (rank, layer) in LAYERS.iter().enumerate() {
        let files = sources(&root().join(layer));
        assert!(!files.is_empty(), "the layer {layer} has no files");
        for path in files {
            for line in code(&path) {
                for right in &LAYERS[rank + 1..] {
                    if line.contains(&format!("crate::{right}::")) || line.contains(&format!("crate::{{{right}")) {
                        faults.push(format!("{}: {}", path.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "these lines look to the right:\n{}", faults.join("\n"));
}

#[test]
fn every_folder_of_the_library_is_a_layer() {
    let mut folders: Vec<String> = fs::read_dir(root())
        .expect("src")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "bin")
        .collect();
    folders.sort();
    let mut layers = LAYERS.map(str::to_owned).to_vec();
    layers.sort();
    assert_eq!(folders, layers);
}

#[test]
fn the_library_never_prints_and_unsafe_is_always_opened_with_a_reason() {
    for path in sources(&root()).into_iter().filter(|path| !path.starts_with(root().join("bin"))) {
        let lines = code(&path);
        let text = lines.join("\n");
        for print in ["println!(", "print!(", "dbg!("] {
            assert!(!text.contains(print), "{} prints", path.display());
        }
        if lines
            .iter()
            .any(|line| ["unsafe {", "unsafe impl", "unsafe fn", "unsafe trait"].iter().any(|form| line.contains(form)))
        {
            assert!(
                text.contains("expect(") && text.contains("unsafe_code,") && text.contains("reason ="),
                "{} uses unsafe without opening it",
                path.display()
            );
        }
        assert!(!text.contains("allow(unsafe_code"), "{} opens unsafe for ever: use expect", path.display());
        assert!(lines.len() < 800, "{} has {} lines: split it", path.display(), lines.len());
    }
}
