//! What the printing commands have in common: tables, JSON, and text that others wrote.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// Which side of a column its cells are on.
pub(crate) enum Side {
    Left,
    Right,
}

/// Prints a table without lines. `columns` are the heads and sides.
pub(crate) fn print(columns: &[(&str, Side)], rows: impl IntoIterator<Item = Vec<String>>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if columns.iter().any(|(head, _)| !head.is_empty()) {
        table.set_header(columns.iter().map(|(head, _)| *head));
    }
    table.add_rows(rows);
    for (column, (_, side)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        column.set_cell_alignment(match side {
            Side::Left => CellAlignment::Left,
            Side::Right => CellAlignment::Right,
        });
    }
    line(&table.trim_fmt())
}

/// Prints a line, or several.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Prints JSON that people can read too.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(format!("this can't be written as JSON: {error}"), ""))?;
    line(&text)
}

/// Text from another process or a file system, without what could steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `1 ticket`, `2 tickets`.
pub(crate) fn counted(count: impl Into<u64>, what: &str) -> String {
    let count = count.into();
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
