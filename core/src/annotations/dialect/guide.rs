//! The tables of keys in `docs/migrating-from-*.md`, as Markdown. A test keeps them current.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Dialect, Entry, Target, Verdict};

/// The line before a generated table.
pub const BEGIN: &str =
    "<!-- Generated from core/src/annotations/dialect by `BLESS=1 cargo test`. Do not edit. -->";
/// The line after it.
pub const END: &str = "<!-- End of the generated table. -->";

/// The table of a dialect, with a line of counts before it.
#[must_use]
pub fn table(dialect: Dialect) -> String {
    let mut out = rows(&dialect.table());
    if dialect == Dialect::Haproxytech {
        out.push_str("\n### Fields of its custom resources\n\n");
        out.push_str(&rows(&super::custom_resources()));
    }
    if dialect == Dialect::IngressNginx {
        out.push_str("\n### Keys of its ConfigMap\n\n");
        out.push_str(&rows(&dialect.config_table()));
    }
    out
}

fn rows(entries: &BTreeMap<&'static str, Entry>) -> String {
    let counts: Vec<String> = Verdict::ALL
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
