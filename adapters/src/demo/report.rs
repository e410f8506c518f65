//! What the demo found: times by kind of change, requests, reloads; as text or JSON.

use std::time::Duration;

use serde_json::json;

use super::client::Counted;
use crate::cli::output::{self, Output};

/// Everything that was found.
#[derive(Debug)]
pub struct Report {
    form: Output,
    /// Version of HAProxy.
    pub haproxy: String,
    /// Whether a reload is a failure with this HAProxy.
    pub reloads_fail: bool,
    times: Vec<(&'static str, Vec<Duration>)>,
    /// Reloads after the first start.
    pub reloads: u64,
    /// Reasons of those, as in the metric.
    pub reload_reasons: Vec<String>,
    /// What the request loop counted.
    pub counted: Counted,
    /// What did not happen as it should.
    pub wrong: Vec<String>,
}

impl Report {
    /// An empty one.
    #[must_use]
    pub fn new(form: Output, haproxy: String, reloads_fail: bool) -> Report {
        Report {
            form,
            haproxy,
            reloads_fail,
            times: Vec::new(),
            reloads: 0,
            reload_reasons: Vec::new(),
            counted: Counted::default(),
            wrong: Vec::new(),
        }
    }

    /// Says something to people.
    pub fn say(&self, text: &str) {
        if self.form == Output::Text {
            output::line(text);
        }
    }

    /// A change took effect.
    pub fn took(&mut self, change: &'static str, time: Duration, what: &str) {
        match self.times.iter_mut().find(|(known, _)| *known == change) {
            Some((_, times)) => times.push(time),
            None => self.times.push((change, vec![time])),
        }
        self.say(&format!("  {:>10}  {what}", millis(time)));
    }

    /// Something did not happen as it should.
    pub fn went_wrong(&mut self, what: String) {
        self.say(&format!("       WRONG  {what}"));
        self.wrong.push(what);
    }

    /// Whether all went well.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        let reloaded = self.reloads_fail && self.reloads > 0;
        self.counted.failed == 0 && !reloaded && self.wrong.is_empty() && self.counted.sent > 0
    }

    /// Prints the end.
    pub fn print(&self) {
        match self.form {
            Output::Text => self.print_text(),
            Output::Json => output::json(&self.json()),
        }
    }

    fn print_text(&self) {
        let rows: Vec<Vec<String>> = self
            .times
            .iter()
            .map(|(change, times)| {
                let (median, max) = median_and_max(times);
                vec![(*change).to_owned(), times.len().to_string(), millis(median), millis(max)]
            })
            .collect();
        output::line("");
        output::line(output::table(&["change", "times", "median", "longest"], &rows));
        output::line("");
        let Counted { sent, failed, reconnected, words } = &self.counted;
        output::line(format_args!("requests sent      {sent}"));
        output::line(format_args!("requests failed    {failed}"));
        output::line(format_args!("connections redone {reconnected}"));
        output::line(format_args!("reloads            {}", self.reloads));
        for reason in &self.reload_reasons {
            output::line(format_args!("  {reason}"));
        }
        for word in words {
            output::line(format_args!("  failed: {word}"));
        }
        for wrong in &self.wrong {
            output::line(format_args!("  wrong: {wrong}"));
        }
        let verdict = if self.is_fine() { "All went well." } else { "NOT all went well." };
        output::line(format_args!("\n{verdict} (HAProxy {})", self.haproxy));
    }

    fn json(&self) -> serde_json::Value {
        let changes: Vec<_> = self
            .times
            .iter()
            .map(|(change, times)| {
                let (median, max) = median_and_max(times);
                let ms = |time: Duration| time.as_secs_f64() * 1000.0;
                json!({ "change": change, "times": times.len(), "median_ms": ms(median),
                        "max_ms": ms(max) })
            })
            .collect();
        let Counted { sent, failed, reconnected, words } = &self.counted;
        json!({
            "haproxy": self.haproxy,
            "fine": self.is_fine(),
            "changes": changes,
            "requests": { "sent": sent, "failed": failed, "connections_redone": reconnected,
                          "failures": words },
            "reloads": self.reloads,
            "reload_reasons": self.reload_reasons,
            "wrong": self.wrong,
        })
    }
}

fn median_and_max(times: &[Duration]) -> (Duration, Duration) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    (median, sorted.last().copied().unwrap_or_default())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_request_is_not_fine() {
        let mut report = Report::new(Output::Json, "3.4".into(), true);
        report.counted.sent = 1;
        assert!(report.is_fine());
        report.counted.failed = 1;
        assert!(!report.is_fine());
        report.counted.failed = 0;
        report.reloads = 1;
        assert!(!report.is_fine());
        report.reloads_fail = false;
        assert!(report.is_fine());
    }
}
