//! A run as a picture: one HTML file, a row each for objects, faults, actions and workers.

use std::fmt::Write as _;

use super::judge::Broken;
use super::run::Outcomes;

const ROWS: [&str; 4] = ["objects", "faults", "actions", "workers"];
const COLOURS: [&str; 4] = ["#2563eb", "#dc2626", "#059669", "#7c3aed"];
/// Width of an event's place, and height of a row, in pixels.
const STEP: usize = 26;
const ROW: usize = 60;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page. Events stand side by side in their order, as their distances differ by powers of ten;
/// each says its time.
#[must_use]
pub fn html(title: &str, out: &Outcomes) -> String {
    html_of(title, &out.trace, out.broken.as_ref())
}

/// The page of what happened: time, row, words.
#[must_use]
pub fn html_of(
    title: &str,
    trace: &[(u64, &'static str, String)],
    broken: Option<&Broken>,
) -> String {
    let width = 120 + STEP * (trace.len() + 2);
    let height = ROW * ROWS.len() + 30;
    let mut svg = String::new();
    for (row, (name, colour)) in ROWS.iter().zip(COLOURS).enumerate() {
        let y = 20 + row * ROW;
        // Writing to a String cannot fail.
        let _ = writeln!(
            svg,
            "<text x='4' y='{}' fill='{colour}'>{name}</text>\
             <line x1='90' x2='{width}' y1='{y}' y2='{y}' stroke='#ddd'/>",
            y + 4
        );
    }
    let mut list = String::new();
    for (number, (at, row, words)) in trace.iter().enumerate() {
        let place = ROWS.iter().position(|r| r == row).unwrap_or(0);
        let (x, y) = (110 + STEP * number, 20 + place * ROW);
        let colour = COLOURS.get(place).copied().unwrap_or("#000");
        let words = escaped(words);
        let _ = writeln!(
            svg,
            "<circle cx='{x}' cy='{y}' r='7' fill='{colour}'><title>{at} ms: {words}</title>\
             </circle><text x='{x}' y='{}' font-size='9' text-anchor='middle'>{at}</text>",
            y + 22
        );
        let _ = writeln!(
            list,
            "<tr><td>{at}</td><td style='color:{colour}'>{row}</td><td>{words}</td></tr>"
        );
    }
    let verdict = match broken {
        Some(broken) => format!("<p class='broken'>{}</p>", escaped(&broken.to_string())),
        None => "<p>Every promise holds.</p>".to_owned(),
    };
    format!(
        "<!doctype html><meta charset='utf-8'><title>{title}</title>\
         <style>body{{font:14px sans-serif;margin:1em}}.broken{{color:#dc2626;font-weight:bold}}\
         td{{padding:0 .6em;vertical-align:top;font-family:monospace}}div{{overflow-x:auto}}</style>\
         <h1>{title}</h1>{verdict}<div><svg width='{width}' height='{height}'>{svg}</svg></div>\
         <table>{list}</table>\n",
        title = escaped(title)
    )
}
