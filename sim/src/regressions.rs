//! Schedules that failed once, kept as files: each begins with comments that say in words what went
//! wrong, and is a test from then on.
//!
//! Inputs: the files of a folder. Outputs: schedules of either tier, and the promise that one breaks.
//! Not here: failures of other controllers ([`crate::swarm::scenario`]), and where the folder is.

use std::path::{Path, PathBuf};

use crate::network;
use crate::swarm::judge::Broken;
use crate::swarm::schedule::{Entry, from_text};
use crate::swarm::{self, tier};

/// Where they are, from the root of the repository.
pub const FOLDER: &str = "proptests/regressions";
/// How their names end.
const ENDING: &str = "schedule";
/// What is said in fewer words says nothing.
const WORDS_MIN: usize = 5;

/// One that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regression {
    /// The file's name, without its ending.
    pub name: String,
    /// What went wrong, in words.
    pub about: String,
    /// What happens.
    pub schedule: Kept,
}

/// A schedule of either tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Of tier 0: what HAProxy can do, and what happens.
    Core(String, Vec<Entry>),
    /// Of tier 1.
    Network(network::schedule::Schedule),
}

impl Regression {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_text(name: &str, text: &str) -> Result<Regression, String> {
        let comments = text.lines().map_while(|line| line.trim().strip_prefix('#'));
        let about: Vec<&str> = comments.flat_map(str::split_whitespace).collect();
        // What a stored failure begins with, as long as nobody has said what it is.
        if about.len() < WORDS_MIN || about.first() == Some(&"seed") {
            return Err("it does not begin with words about what went wrong, after `#`".to_owned());
        }
        let (schedule, entries) = if network::schedule::Schedule::is_one(text) {
            let schedule = network::schedule::Schedule::from_text(text)?;
            let entries = schedule.entries.len();
            (Kept::Network(schedule), entries)
        } else {
            let (name, entries) = from_text(text)?;
            tier(&name)?;
            let count = entries.len();
            (Kept::Core(name, entries), count)
        };
        if entries == 0 {
            return Err("nothing happens in it".to_owned());
        }
        Ok(Regression { name: name.to_owned(), about: about.join(" "), schedule })
    }

    /// Goes through it: the promise that it breaks.
    ///
    /// # Errors
    /// A tier that does not exist.
    pub fn broken(&self) -> Result<Option<Broken>, String> {
        Ok(match &self.schedule {
            Kept::Core(name, entries) => swarm::run::run(entries, &tier(name)?, false).broken,
            Kept::Network(schedule) => network::run::run(schedule, false).broken,
        })
    }
}

/// All of a folder, by name.
///
/// # Errors
/// The file that cannot be read, or that there is none.
pub fn all(folder: &Path) -> Result<Vec<Regression>, String> {
    let bad = |path: &Path, why: String| format!("{}: {why}", path.display());
    let files = std::fs::read_dir(folder).map_err(|error| bad(folder, error.to_string()))?;
    let mut paths = Vec::new();
    for file in files {
        paths.push(file.map_err(|error| bad(folder, error.to_string()))?.path());
    }
    paths.sort();
    if paths.is_empty() {
        return Err(bad(folder, "there is no schedule".to_owned()));
    }
    paths.iter().map(|path| one(path).map_err(|why| bad(path, why))).collect()
}

fn one(path: &Path) -> Result<Regression, String> {
    let (Some(name), Some(ENDING)) = (
        path.file_stem().and_then(|name| name.to_str()),
        path.extension().and_then(|ending| ending.to_str()),
    ) else {
        return Err(format!("its name is not NAME.{ENDING}, and nobody would run it"));
    };
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Regression::from_text(name, &text)
}

/// The file that a failure is stored in.
#[must_use]
pub fn file(failures: &Path, name: &str) -> PathBuf {
    failures.join(name).with_extension(ENDING)
}

/// Where a failure was stored, and what to do with it.
#[must_use]
pub fn stored(path: &Path) -> String {
    let path = path.display();
    format!("stored in {path}; a file in {FOLDER} that begins with words about it becomes a test")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "0 service t1/web\n60000 quiet\n";

    #[test]
    fn words_and_lines_are_read() {
        let words = "# A Service without pods\n# was never quiet.\n";
        let core = Regression::from_text("a", &format!("{words}tier B\n{LINES}")).unwrap();
        assert_eq!(core.about, "A Service without pods was never quiet.");
        let Kept::Core(tier, entries) = &core.schedule else { panic!("{core:?}") };
        assert_eq!((tier.as_str(), entries.len()), ("B", 2));
        assert_eq!(core.broken(), Ok(None));
        let network = Regression::from_text("a", &format!("{words}haproxy 2.6\n{LINES}")).unwrap();
        assert!(matches!(network.schedule, Kept::Network(_)), "{network:?}");
    }

    #[test]
    fn what_nobody_could_run_or_understand_is_refused() {
        let words = "# a Service without pods fails\n";
        for bad in [
            LINES.to_owned(),
            format!("# fails\n{LINES}"),
            format!("# seed 7\n# S1 (harm by delay): a.example meets NotFound\n{LINES}"),
            words.to_owned(),
            format!("{words}tier D\n{LINES}"),
            format!("{words}haproxy 1.5\n{LINES}"),
            format!("{words}0 nonsense\n"),
        ] {
            assert!(Regression::from_text("a", &bad).is_err(), "{bad}");
        }
    }
}
