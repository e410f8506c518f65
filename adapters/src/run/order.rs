//! Orders to a running tidegate: a file in the state folder, so that whoever may write there may
//! give them, and nobody else. There is none over HTTP.

use std::path::Path;

use crate::ports::Files;

/// The file that says: what is no longer listed is gone.
pub const ACCEPT_DELETIONS: &str = "accept-deletions";

/// Whether the order was given; it is then taken away.
#[must_use]
pub fn take(files: &dyn Files, state_dir: &Path) -> bool {
    let order = state_dir.join(ACCEPT_DELETIONS);
    files.length(&order).is_ok() && files.remove(&order).is_ok()
}
