//! Tables, JSON and errors.

use std::io::{self, Write};
use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// Why a command ends early.
pub(crate) enum Failure {
    Sharehold(sharehold::Error),
    /// Standard output could not be written.
    Output(io::Error),
    /// What the user can do about it stands behind the message.
    Other(String, &'static str),
}

pub(crate) type Outcome = Result<ExitCode, Failure>;

impl From<sharehold::Error> for Failure {
    fn from(error: sharehold::Error) -> Self {
        Self::Sharehold(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// Says on stderr what went wrong and what to do next.
    pub(crate) fn report(&self) {
        let (message, help) = match self {
            Self::Sharehold(error) => (error.message().to_owned(), error.advice()),
            Self::Output(error) => (format!("cannot write: {error}"), ""),
            Self::Other(message, help) => (message.clone(), *help),
        };
        let mut err = io::stderr().lock();
        // Nobody is left to be told if stderr is closed.
        let _ = writeln!(err, "error: {message}");
        if !help.is_empty() {
            let _ = writeln!(err, "help: {help}");
        }
    }
}

/// Prints one line.
pub(crate) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints anything as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Output(error.into()))?;
    Ok(line(text)?)
}

/// Prints a table whose columns `right` are aligned to the right.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>, right: &[usize]) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    line(table.trim_fmt())
}

/// The broker that is meant: the one named, or the only one there is.
pub(crate) fn broker(name: Option<String>) -> Result<String, Failure> {
    if let Some(name) = name {
        return Ok(name);
    }
    let mut names = sharehold::brokers();
    match (names.pop(), names.len()) {
        (Some(only), 0) => Ok(only),
        (Some(last), _) => {
            Err(Failure::Other(format!("several brokers run: {}, {last}", names.join(", ")), "say which one you mean"))
        }
        (None, _) => Err(Failure::Other(
            "no broker runs".into(),
            "start one with `sharehold serve --name NAME`, or look at SHAREHOLD_DIR",
        )),
    }
}
