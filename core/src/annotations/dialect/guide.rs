//! The tables of keys in `docs/migrating-from-*.md`, as Markdown. A test keeps them current.

use alloc::format;
use alloc::string::String;

use super::{Dialect, Target, Verdict};

/// The line before a generated table.
pub const BEGIN: &str =
    "<!-- Generated from core/src/annotations/dialect by `BLESS=1 cargo test`. Do not edit. -->";
/// The line after it.
pub const END: &str = "<!-- End of the generated table. -->";

/// The table of a dialect, with a line of counts before it.
#[must_use]
pub fn table(dialect: Dialect) -> String {
    let entries = dialect.table();
    let counts: alloc::vec::Vec<String> = Verdict::ALL
        .into_iter()
        .map(|v| format!("{} {}", entries.values().filter(|e| e.verdict == v).count(), v.as_str()))
        .collect();
    let mut out = format!("{} keys: {}.\n\n", entries.len(), counts.join(", "));
    out.push_str("| Key | Verdict | Here | Remark |\n|---|---|---|---|\n");
    for entry in entries.values() {
        let mark = if entry.protects { " **†**" } else { "" };
        let here = match entry.target {
            Target::Nothing => String::from("–"),
            Target::Key(key) => format!("`{key}`"),
            Target::Flag(flag) => format!("flag `{flag}`"),
        };
        let remark = if entry.remark.is_empty() { "–" } else { entry.remark };
        let (key, verdict) = (entry.key, entry.verdict.as_str());
        out.push_str(&format!("| `{key}`{mark} | {verdict} | {here} | {remark} |\n"));
    }
    out
}

/// The text of a guide with its table made anew; `None` when it has no place for one.
#[must_use]
pub fn with_table(guide: &str, dialect: Dialect) -> Option<String> {
    let (before, rest) = guide.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n{END}{after}", table(dialect)))
}
