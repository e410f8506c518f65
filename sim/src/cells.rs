//! Cells: which promise was judged in which phase while which fault could show. A promise that was never
//! judged under a fault may be broken by it, and no seed would tell.
//!
//! Inputs: a tier's faults, its phases with the promises judged in them, and rules that say which cells
//! are unfair, as nothing can be judged there, with the reason. Outputs: the fair cells that runs did not
//! reach, and where a rule is wrong as they did. Not here: the rules themselves
//! ([`crate::network::cells`], [`crate::swarm::cells`]).

use std::collections::BTreeSet;
use std::fmt;

/// What is judged of requests and handshakes, on each tier.
pub const MOMENT: &[&str] = &["S1", "S2", "S4", "S19", "S29"];

/// A promise that is judged in a phase while a fault may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The fault's name.
    pub fault: &'static str,
    /// What is going on.
    pub phase: &'static str,
    /// The promise's name.
    pub promise: &'static str,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { fault, phase, promise } = self;
        write!(f, "{promise} after `{fault}`, phase `{phase}`")
    }
}

/// A rule: these cells cannot be judged.
#[derive(Clone, Copy)]
pub struct Unfair {
    /// Why not.
    pub why: &'static str,
    /// Which.
    pub is: fn(Cell) -> bool,
}

/// The cells of a tier.
pub struct Table {
    /// Names of all faults.
    pub faults: Vec<&'static str>,
    /// Each phase, and the promises that are judged in it.
    pub phases: &'static [(&'static str, &'static [&'static str])],
    /// Which of them are unfair. All others are fair.
    pub unfair: &'static [Unfair],
}

/// How much of a table was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// How many cells are fair.
    pub fair: usize,
    /// Fair ones that were not reached.
    pub empty: Vec<Cell>,
    /// Reached though a rule says that they cannot be: the cell, and what the rule says.
    pub wrong: Vec<(Cell, &'static str)>,
    /// Reached, and nowhere in the table.
    pub unknown: Vec<String>,
}

impl Table {
    /// All cells.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        let phases = self.phases.iter();
        let of = phases.flat_map(|(phase, promises)| promises.iter().map(|p| (*phase, *p)));
        of.flat_map(|(phase, promise)| {
            self.faults.iter().map(move |fault| Cell { fault, phase, promise })
        })
    }

    /// Why a cell is unfair; nothing if it is fair.
    #[must_use]
    pub fn why(&self, cell: Cell) -> Option<&'static str> {
        self.unfair.iter().find(|rule| (rule.is)(cell)).map(|rule| rule.why)
    }

    /// Holds the table against the cells that were reached: fault, phase and promise.
    #[must_use]
    pub fn covered<'a>(
        &self,
        reached: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> Covered {
        let mut reached: BTreeSet<(&str, &str, &str)> = reached.into_iter().collect();
        let mut covered = Covered::default();
        for cell in self.cells() {
            let is_reached = reached.remove(&(cell.fault, cell.phase, cell.promise));
            match (self.why(cell), is_reached) {
                (None, true) => covered.fair += 1,
                (None, false) => {
                    covered.fair += 1;
                    covered.empty.push(cell);
                }
                (Some(why), true) => covered.wrong.push((cell, why)),
                (Some(_), false) => {}
            }
        }
        let unknown = reached.into_iter();
        covered.unknown =
            unknown.map(|(a, b, c)| format!("{c} after `{a}`, phase `{b}`")).collect();
        covered
    }
}

impl Covered {
    /// Of two tables.
    #[must_use]
    pub fn and(mut self, other: Covered) -> Covered {
        self.fair += other.fair;
        self.empty.extend(other.empty);
        self.wrong.extend(other.wrong);
        self.unknown.extend(other.unknown);
        self
    }

    /// Fair cells that were reached.
    #[must_use]
    pub fn reached(&self) -> usize {
        self.fair - self.empty.len()
    }

    /// Whether every fair cell was reached, and no other.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.empty.is_empty() && self.wrong.is_empty() && self.unknown.is_empty()
    }

    /// What is not as the table says, one on a line.
    #[must_use]
    pub fn words(&self) -> String {
        let empty = self.empty.iter().map(|cell| format!("never judged: {cell}\n"));
        let wrong = self.wrong.iter();
        let wrong =
            wrong.map(|(cell, why)| format!("judged, and said to be unfair ({why}): {cell}\n"));
        let unknown = self.unknown.iter();
        let unknown = unknown.map(|cell| format!("judged, and not in the table: {cell}\n"));
        empty.chain(wrong).chain(unknown).collect()
    }
}

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} fair cells", self.reached(), self.fair)
    }
}

/// Rules of a table that exclude nothing, or nothing that another one before does not.
#[cfg(test)]
pub(crate) fn idle(table: &Table) -> Vec<&'static str> {
    let excludes = |at: usize, rule: &Unfair| {
        let mut cells = table.cells().filter(|cell| (rule.is)(*cell));
        cells.any(|cell| !table.unfair.iter().take(at).any(|before| (before.is)(cell)))
    };
    let rules = table.unfair.iter().enumerate();
    rules.filter(|(at, rule)| !excludes(*at, rule)).map(|(_, rule)| rule.why).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            faults: vec!["cut", "hang"],
            phases: &[("served", &["S1", "S2"]), ("at rest", &["L1"])],
            unfair: &[Unfair {
                why: "it delays",
                is: |cell| cell.fault == "hang" && cell.promise == "S2",
            }],
        }
    }

    const ALL: [(&str, &str, &str); 5] = [
        ("cut", "at rest", "L1"),
        ("cut", "served", "S1"),
        ("cut", "served", "S2"),
        ("hang", "at rest", "L1"),
        ("hang", "served", "S1"),
    ];

    #[test]
    fn all_fair_cells_and_no_other_make_it_whole() {
        let covered = table().covered(ALL);
        assert!(covered.is_whole(), "{covered:?}");
        assert_eq!(covered.to_string(), "5 of 5 fair cells");
        assert_eq!(idle(&table()), Vec::<&str>::new());
    }

    #[test]
    fn an_empty_cell_is_named() {
        for left_out in ALL {
            let covered = table().covered(ALL.into_iter().filter(|cell| *cell != left_out));
            let (fault, phase, promise) = left_out;
            assert_eq!(covered.empty, [Cell { fault, phase, promise }]);
            assert!(!covered.is_whole());
            let said = format!("never judged: {promise} after `{fault}`, phase `{phase}`\n");
            assert_eq!(covered.words(), said);
            assert_eq!(covered.to_string(), "4 of 5 fair cells");
        }
    }

    #[test]
    fn a_rule_that_is_wrong_is_named_and_so_is_what_no_table_has() {
        let covered = table().covered(ALL.into_iter().chain([("hang", "served", "S2")]));
        assert_eq!(covered.wrong.len(), 1, "{covered:?}");
        assert!(covered.words().contains("it delays"), "{}", covered.words());
        assert!(!covered.is_whole());
        let covered = table().covered(ALL.into_iter().chain([("flood", "served", "S1")]));
        assert!(covered.words().contains("flood") && !covered.is_whole(), "{covered:?}");
    }

    #[test]
    fn a_rule_without_cells_is_idle() {
        let mut table = table();
        table.unfair = &[Unfair { why: "gone", is: |cell| cell.fault == "flood" }];
        assert_eq!(idle(&table), ["gone"]);
    }
}
