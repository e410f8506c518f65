//! The cells of tier 0: every fault, in every phase, with every promise judged in it, and which of them
//! cannot be.

use super::generate::faults;
use super::judge::{AT_REST, COMMANDS, DELAYING, DESTROYING, FILES, IDLE, REST, WORK};
use crate::cells::{MOMENT, Table, Unfair};

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
        why: "what waits for files has no effect before they are written",
        is: |cell| [FILES, WORK].contains(&cell.phase) && cell.promise == "S2",
    },
    Unfair {
        why: "HAProxy may have what the files say, which is some seconds old",
        is: |cell| cell.fault == "worker-dies" && cell.promise == "S4",
    },
];

/// All of them.
#[must_use]
pub fn table() -> Table {
    Table {
        faults: faults(),
        phases: &[
            (IDLE, MOMENT),
            (COMMANDS, MOMENT),
            (FILES, MOMENT),
            (WORK, MOMENT),
            (AT_REST, REST),
        ],
        unfair: UNFAIR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::idle;

    #[test]
    fn each_rule_excludes_something_that_no_other_does() {
        assert_eq!(idle(&table()), Vec::<&str>::new());
    }
}
