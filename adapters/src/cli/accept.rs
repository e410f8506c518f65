//! `tidegate accept-deletions`: an operator says that what an API server no longer lists is gone
//! for good.
//!
//! In: a state folder. Out: a file in it, which the running tidegate takes away; who may write into
//! that folder may give the order, and nobody else. Not here: what is then given up; that is in
//! `tidegate_core::world`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::output::{End, Output};
use super::places;
use crate::ports::Files;
use crate::run::order::ACCEPT_DELETIONS;

/// How long the running tidegate may take to see it: it looks every two seconds.
pub const WITHIN: Duration = Duration::from_secs(10);

/// `tidegate accept-deletions`.
#[derive(Clone, Debug, Args)]
pub struct AcceptArgs {
    /// State folder of the tidegate that runs [default: as for `run`]
    #[arg(long, value_name = "DIR", env = "TIDEGATE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Gives the order and waits so long at most until it is taken.
///
/// # Errors
/// When the folder cannot be written, or nobody takes the order.
pub async fn accept(
    args: AcceptArgs,
    form: Output,
    files: &dyn Files,
    within: Duration,
) -> anyhow::Result<End> {
    let dir = match args.state_dir {
        Some(dir) => dir,
        None => places::state_dir()?,
    };
    let order = dir.join(ACCEPT_DELETIONS);
    files.write(&order, b"", 0o600)?;
    let given = tokio::time::Instant::now();
    while given.elapsed() < within {
        if files.length(&order).is_err() {
            match form {
                Output::Text => println!("taken: what is held because a list lacks it is given up"),
                Output::Json => println!("{}", json!({ "taken": true })),
            }
            return Ok(End::Fine);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Nobody shall find it later.
    files.remove(&order)?;
    anyhow::bail!("no tidegate runs with the state folder {}", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::order::take;

    #[tokio::test]
    async fn an_order_is_given_once_and_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = crate::os::ports().unwrap().files;
        assert!(!take(&*files, dir.path()), "nobody gave one");
        let args = AcceptArgs { state_dir: Some(dir.path().to_owned()) };
        let given = accept(args, Output::Json, &*files, WITHIN);
        let taken = async {
            while !take(&*files, dir.path()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (given, ()) = tokio::join!(given, taken);
        assert!(given.is_ok());
        assert!(!take(&*files, dir.path()), "it was taken");
    }

    #[tokio::test]
    async fn without_a_tidegate_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let files = crate::os::ports().unwrap().files;
        let args = AcceptArgs { state_dir: Some(dir.path().to_owned()) };
        assert!(accept(args, Output::Text, &*files, Duration::from_millis(120)).await.is_err());
        assert!(!take(&*files, dir.path()), "it would be found by the next tidegate");
    }
}
