//! The cells of tier 1: every fault, in every phase, with every promise judged in it, and which of them
//! cannot be.
//!
//! Rules go by what a fault does, not by what faults there are: another fault is fair wherever nothing
//! here says otherwise.

use std::collections::BTreeSet;

use super::fault::Fault;
use super::forever::Forever;
use super::judge::{AT_REST, DELAYING, DESTROYING, REST, RETURNING};
use super::replica::{BLIND, RELOADING, SERVED};
use super::writers::WRITTEN;
use crate::cells::{Cell, Covered, MOMENT, Table, Unfair};

/// Why cells are unfair.
const UNFAIR: &[Unfair] = &[
    Unfair {
        why: "it may take away what requests and handshakes need, so that they may fail",
        is: |cell| DESTROYING.contains(&cell.fault) && ["S1", "S19"].contains(&cell.promise),
    },
    Unfair {
        why: "it delays what was told from having effect, so that pods that went may be reached",
        is: |cell| DELAYING.contains(&cell.fault) && cell.promise == "S2",
    },
    Unfair {
        why: "HAProxy may have what the files say, which is some seconds old, or lack a route",
        is: |cell| RETURNING.contains(&cell.fault) && cell.promise == "S4",
    },
    Unfair {
        why: "nobody can know what was not told",
        is: |cell| is_news(cell.promise) && (cell.phase == BLIND || keeps_news(cell.fault)),
    },
    Unfair {
        why: "for as long as it shows it is not certain what was told",
        is: |cell| cell.phase == SERVED && keeps_news(cell.fault),
    },
    Unfair {
        why: "`still`, after which nothing may change, comes with other faults: seeds end with those",
        is: |cell| cell.promise == "S13" && !ends_with(cell.fault),
    },
];

/// The same under what stays broken for good.
const UNFAIR_FOR_GOOD: &[Unfair] = &[
    Unfair { why: "it keeps the promise from being kept", is: suspended },
    Unfair {
        why: "`still`, after which nothing may change, comes with nothing that stays broken",
        is: |cell| cell.promise == "S13",
    },
];

fn suspended(cell: Cell) -> bool {
    let mut all = Forever::all().into_iter();
    all.any(|forever| forever.cell() == cell.fault && forever.suspends(cell.promise))
}

/// Whether a promise is about what tidegate has heard of for certain.
fn is_news(promise: &str) -> bool {
    ["S2", "S4"].contains(&promise)
}

/// Whether it is not certain what a replica was told, for as long as this fault shows: those of the API
/// server and of the link, but for those about writes, and those that only repeat.
fn keeps_news(name: &str) -> bool {
    let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
    let is_of_api = fault.is_some_and(|fault| !fault.is_of_one());
    let is_plain = ["lose-writes", "conflicts", "twice"].contains(&name);
    (is_of_api && !is_plain) || ["partition", "deaf", "delay"].contains(&name)
}

/// Whether schedules from seeds end with it, while nothing may change.
fn ends_with(name: &str) -> bool {
    ["expire", "controller-dies"].contains(&name)
}

/// All of them.
#[must_use]
pub fn table() -> Table {
    Table {
        faults: Fault::ALL.into_iter().map(Fault::name).collect(),
        phases: &[
            (RELOADING, MOMENT),
            (BLIND, MOMENT),
            (SERVED, MOMENT),
            (WRITTEN, &["S17"]),
            (AT_REST, REST),
        ],
        unfair: UNFAIR,
    }
}

/// Those of what stays broken for good: once it has settled, nothing but what it takes away for good is
/// excused.
#[must_use]
pub fn table_for_good() -> Table {
    let names: BTreeSet<&'static str> = Forever::all().iter().map(Forever::cell).collect();
    Table {
        faults: names.into_iter().collect(),
        phases: &[(SERVED, MOMENT), (AT_REST, REST)],
        unfair: UNFAIR_FOR_GOOD,
    }
}

/// How much of both runs have reached.
#[must_use]
pub fn covered<'a>(cells: impl IntoIterator<Item = &'a (String, String, String)>) -> Covered {
    let lasting = table_for_good();
    let (good, passing): (Vec<_>, Vec<_>) = cells
        .into_iter()
        .map(|(fault, phase, promise)| (&**fault, &**phase, &**promise))
        .partition(|(fault, ..)| lasting.faults.contains(fault));
    table().covered(passing).and(lasting.covered(good))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::idle;

    fn all_fair() -> Vec<(String, String, String)> {
        let tables = [table(), table_for_good()];
        let fair = tables.iter().flat_map(|table| {
            table.cells().filter(|cell| table.why(*cell).is_none()).collect::<Vec<_>>()
        });
        let names = |Cell { fault, phase, promise }| (fault, phase, promise);
        fair.map(names).map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).collect()
    }

    #[test]
    fn a_cell_that_is_made_empty_is_named() {
        let mut cells = all_fair();
        assert!(covered(&cells).is_whole());
        let (fault, phase, promise) = cells.swap_remove(cells.len() / 2);
        let words = covered(&cells).words();
        assert_eq!(words, format!("never judged: {promise} after `{fault}`, phase `{phase}`\n"));
    }

    #[test]
    fn a_rule_that_runs_contradict_is_wrong() {
        let mut cells = all_fair();
        cells.push(("tamper".to_owned(), SERVED.to_owned(), "S1".to_owned()));
        let covered = covered(&cells);
        assert_eq!(covered.wrong.len(), 1, "{covered:?}");
        assert!(!covered.is_whole());
    }

    #[test]
    fn each_rule_excludes_something_that_no_other_does() {
        assert_eq!(idle(&table()), Vec::<&str>::new());
        assert_eq!(idle(&table_for_good()), Vec::<&str>::new());
    }

    #[test]
    fn more_than_half_of_all_cells_are_fair() {
        let all = table().cells().count() + table_for_good().cells().count();
        let fair = all_fair().len();
        assert!(fair * 2 > all, "{fair} of {all}");
    }
}
