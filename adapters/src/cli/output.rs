//! Output of the verbs: text for people, JSON for machines, and exit codes.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use tidegate_core::problem::{Problem, Severity};

use crate::admin::ProblemView;

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All is well.
    Fine,
    /// Problems or differences were found.
    Found,
}

/// Exit code when a verb could not do its work: nothing was found out.
pub const CANNOT: u8 = 3;

impl From<End> for ExitCode {
    fn from(end: End) -> ExitCode {
        match end {
            End::Fine => ExitCode::SUCCESS,
            End::Found => ExitCode::from(1),
        }
    }
}

/// Prints one line on standard output. A closed pipe (`| head`) is no error.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a JSON document on standard output.
pub fn json(document: &serde_json::Value) {
    line(format_args!("{document:#}"));
}

/// Problems as JSON.
#[must_use]
pub fn problems_json(problems: &[&Problem]) -> serde_json::Value {
    serde_json::json!(problems.iter().map(|p| ProblemView::from(*p)).collect::<Vec<_>>())
}

/// Prints problems, the worst first.
pub fn problems_text(problems: &[&Problem]) {
    let mut sorted = problems.to_vec();
    sorted.sort_by_key(|problem| match problem.severity {
        Severity::Error => 0,
        Severity::Warning => 1,
        Severity::Info => 2,
    });
    for problem in sorted {
        let Problem { object, field, reason, severity, what, instead, fix } = problem;
        let severity = match severity {
            Severity::Warning => "warning",
            Severity::Error => "ERROR",
            Severity::Info => "info",
        };
        let field = if field.is_empty() { String::new() } else { format!("  {field}") };
        line(format_args!("{severity:<8} {object}{field}  ({})", reason.as_str()));
        line(format_args!("         what:    {what}"));
        line(format_args!("         instead: {instead}"));
        line(format_args!("         fix:     {fix}"));
    }
}

/// Rows as a table with a header; the last column is not padded.
#[must_use]
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count());
        cells.chain(header.get(column).map(|h| h.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let format_row = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![format_row(header.to_vec())];
    lines.push(format_row(widths.iter().map(|_| "").collect()));
    if let Some(rule) = lines.last_mut() {
        *rule = widths.iter().map(|w| "─".repeat(*w)).collect::<Vec<_>>().join("  ");
    }
    lines.extend(rows.iter().map(|row| format_row(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["bcd".to_owned(), "2".into()]];
        assert_eq!(table(&["x", "n"], &rows), "x    n\n───  ─\na    1\nbcd  2");
    }
}
