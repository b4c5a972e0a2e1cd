//! Rows of numbers, written as JSON and shown as a table.

use holdfast_tests::plant::write;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// One number. Every goal is "at most".
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<f64>,
    baseline: Option<f64>,
    /// Null where there is no goal.
    ok: Option<bool>,
}

/// The numbers of one run, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// A number that shall be at most `goal`; `baseline` is what others need for the same, in its own unit.
    pub(crate) fn at_most(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        goal: f64,
        baseline: Option<f64>,
    ) {
        self.push(Row {
            name: name.into(),
            value,
            unit,
            goal: Some(goal),
            baseline,
            ok: Some(value <= goal),
        });
    }

    /// A number without a goal: it shows how cost grows.
    pub(crate) fn fact(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        baseline: Option<f64>,
    ) {
        self.push(Row { name: name.into(), value, unit, goal: None, baseline, ok: None });
    }

    fn push(&mut self, row: Row) {
        println!("  {}", line(&row));
        self.rows.push(row);
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        write(path, serde_json::to_string_pretty(&self.rows)?.as_bytes())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44} {:>14} {:<5} {:>12} {:>12}  ok", "name", "value", "unit", "goal", "baseline")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", line(row)))
    }
}

fn line(row: &Row) -> String {
    let ok = row.ok.map_or("", |ok| if ok { "yes" } else { "NO" });
    let optional = |value: Option<f64>| value.map_or_else(String::new, number);
    let (value, goal, baseline) = (number(row.value), optional(row.goal), optional(row.baseline));
    format!("{:<44} {value:>14} {:<5} {goal:>12} {baseline:>12}  {ok}", row.name, row.unit)
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.3}") }
}
