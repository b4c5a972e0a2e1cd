//! What a person or a script sees: tables by default, JSON when asked.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::io::Write as _;

/// `-o`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    /// More columns
    Wide,
    Json,
}

/// A thing that can be shown as rows.
pub(crate) struct Rows<'a> {
    pub(crate) head: &'a [&'a str],
    pub(crate) rows: Vec<Vec<String>>,
}

/// Shows `value` as JSON, or its rows as a table.
pub(crate) fn show<T: Serialize>(
    format: Format,
    value: &T,
    rows: impl FnOnce() -> Rows<'static>,
) -> anyhow::Result<()> {
    match format {
        Format::Json => json(value),
        Format::Table | Format::Wide => table(&rows()),
    }
}

/// One line per fact: `key  value`.
pub(crate) fn facts<T: Serialize>(
    format: Format,
    value: &T,
    facts: Vec<(&str, String)>,
) -> anyhow::Result<()> {
    match format {
        Format::Json => json(value),
        Format::Table | Format::Wide => {
            let width = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
            let mut out = std::io::stdout().lock();
            for (key, value) in facts {
                writeln!(out, "{key:width$}  {value}")?;
            }
            Ok(())
        }
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

fn table(rows: &Rows<'_>) -> anyhow::Result<()> {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(rows.head);
    rows.rows.iter().for_each(|row| {
        table.add_row(row);
    });
    let mut out = std::io::stdout().lock();
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    if rows.rows.is_empty() {
        writeln!(out, "(none)")?;
    }
    Ok(())
}

/// An optional value in a table.
pub(crate) fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// The word that serde writes for a plain enum.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => "?".into(),
    }
}
