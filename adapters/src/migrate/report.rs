//! A report as text for people and as JSON.

use std::fmt::Write as _;

use tidegate_core::annotations::PREFIX;

use super::{Deed, Need, Place, Report, Row};
use crate::admin::ProblemView;
use crate::cli::output;

/// Longest value that is shown in the table.
const SHOWN_MAX: usize = 40;

/// Most keys that are shown in a row of the table.
const PAIRS_MAX: usize = 3;

/// How many rows need what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys that protect there and would not here.
    pub open: usize,
    /// Other keys that need a human.
    pub human: usize,
    /// Keys that need nothing, or only a rewrite.
    pub nothing: usize,
}

impl Report {
    /// How many rows need what.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in &self.rows {
            match row.need {
                Need::Open => counts.open += 1,
                Need::Human => counts.human += 1,
                Need::Nothing => counts.nothing += 1,
            }
        }
        counts
    }

    fn place(&self, row: &Row) -> String {
        let place = self.places.get(row.at).filter(|(path, _)| !path.as_os_str().is_empty());
        place.map_or_else(String::new, |(path, line)| format!("{}:{line}", path.display()))
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = self.open();
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        if !rows.is_empty() {
            let header = ["object", "key", "verdict", "here", "remark"];
            let _ = writeln!(out, "{}\n", output::table(&header, &rows));
        }
        for row in self.rows.iter().filter(|row| !row.problems.is_empty()) {
            for problem in &row.problems {
                let place = self.place(row);
                let _ = writeln!(out, "value    {}  {}  {place}", row.object, row.key);
                let _ = writeln!(out, "         what:    {}", problem.what);
                let _ = writeln!(out, "         instead: {}", problem.instead);
                let _ = writeln!(out, "         fix:     {}\n", problem.fix);
            }
        }
        for note in &self.notes {
            let _ = writeln!(out, "note:    {note}");
        }
        let verdicts = self.verdicts();
        let verdicts: Vec<String> =
            verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        let Counts { open, human, nothing } = self.counts();
        let _ = writeln!(out, "read:    {} objects, {} keys", self.objects, self.rows.len());
        if !verdicts.is_empty() {
            let _ = writeln!(out, "keys:    {}", verdicts.join(", "));
        }
        let _ = write!(
            out,
            "result:  {open} would leave a route open, {human} need a human, {nothing} need nothing \
             or are rewritten"
        );
        out
    }

    /// What protects and would not: first and loud.
    fn open(&self) -> String {
        let open: Vec<&Row> = self.rows.iter().filter(|row| row.need == Need::Open).collect();
        let mut out = String::new();
        if open.is_empty() {
            return out;
        }
        let _ = writeln!(
            out,
            "NOT PROTECTED: {} key(s) protect a route where they come from, and would not here. Do \
             not move\nthese objects before something else protects them. A rewrite leaves these \
             keys as they are.\n",
            open.len()
        );
        for row in open {
            let _ = writeln!(out, "  {}  {}", row.object, self.place(row));
            let remark = if row.remark.is_empty() { "" } else { ": " };
            let _ = writeln!(out, "    {}  {}{remark}{}", row.key, row.verdict, row.remark);
        }
        out.push('\n');
        out
    }

    fn verdicts(&self) -> Vec<(&'static str, usize)> {
        let names = ["same", "better", "other key", "not yet", "never", super::judge::UNKNOWN];
        let count = |name| self.rows.iter().filter(|row| row.verdict == name).count();
        names.into_iter().map(|n| (n, count(n))).filter(|(_, count)| *count > 0).collect()
    }

    /// The report for machines.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let Counts { open, human, nothing } = self.counts();
        let row = |row: &Row| {
            let (file, line) = self.places.get(row.at).cloned().unwrap_or_default();
            let pairs = match &row.deed {
                Deed::Write(pairs) => pairs.iter().cloned().collect(),
                Deed::Keep | Deed::Comment => std::collections::BTreeMap::new(),
            };
            let problems: Vec<ProblemView> = row.problems.iter().map(ProblemView::from).collect();
            serde_json::json!({
                "object": row.object,
                "file": file,
                "line": line,
                "key": row.key,
                "implied": row.place == Place::Implied,
                "from": row.dialect.name(),
                "verdict": row.verdict,
                "protects": row.protects,
                "keys": pairs,
                "flag": row.flag,
                "remark": row.remark,
                "needs": row.need.as_str(),
                "problems": problems,
            })
        };
        let verdicts: serde_json::Map<String, serde_json::Value> =
            self.verdicts().into_iter().map(|(name, n)| (name.to_owned(), n.into())).collect();
        serde_json::json!({
            "keys": self.rows.iter().map(row).collect::<Vec<_>>(),
            "counts": { "open": open, "human": human, "nothing": nothing },
            "verdicts": verdicts,
            "objects": self.objects,
            "notes": self.notes,
        })
    }
}

fn cells(row: &Row) -> Vec<String> {
    let here = match (&row.deed, row.flag) {
        (_, Some(flag)) => flag.to_owned(),
        (Deed::Write(pairs), None) => {
            let same = row.verdict == "same" || row.verdict == "better";
            let pair = |(key, value): &(String, String)| {
                let short = key.strip_prefix(PREFIX).unwrap_or(key);
                if same { short.to_owned() } else { format!("{short}: {}", shortened(value)) }
            };
            let mut shown: Vec<String> = pairs.iter().take(PAIRS_MAX).map(pair).collect();
            if pairs.len() > PAIRS_MAX {
                shown.push(format!("{} more", pairs.len() - PAIRS_MAX));
            }
            shown.join(", ")
        }
        (Deed::Keep | Deed::Comment, None) => String::new(),
    };
    let mark = match (row.need, row.problems.is_empty()) {
        (Need::Open, _) => "NOT PROTECTED; ",
        (_, false) => "VALUE REFUSED, see below; ",
        (Need::Human | Need::Nothing, true) => "",
    };
    let remark = format!("{mark}{}", row.remark).trim_end_matches("; ").to_owned();
    vec![row.object.clone(), row.key.clone(), row.verdict.to_owned(), here, remark]
}

fn shortened(value: &str) -> String {
    let line: String =
        value.chars().take(SHOWN_MAX).map(|c| if c == '\n' { ' ' } else { c }).collect();
    if line.len() < value.len() { format!("{line}…") } else { line }
}
