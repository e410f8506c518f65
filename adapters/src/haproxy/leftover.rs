//! Connections that are left while HAProxy drains: how many, and in which backends.
//!
//! Inputs: the master socket, which answers until the last worker ended; the workers' own sockets
//! are closed by then. Outputs: sessions by backend, over all workers, old ones included. Not here:
//! when it is asked (`crate::run::drain`), and what becomes of the connections.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::reload::{converse, workers};
use crate::ports::{Endpoint, Net};

/// Longest time for everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Backends of all workers, as CSV.
const BACKENDS: &str = "show stat -1 2 -1";

/// The sessions that are open in each backend that has any.
///
/// # Errors
/// Those of the network: mostly that nobody is left to ask. A master whose workers are gone, or a
/// worker that ends before it has answered, does not say that no connection is left.
pub async fn sessions(net: &dyn Net, master: &Endpoint) -> io::Result<BTreeMap<String, u64>> {
    let asked = async {
        let family = converse(net.dial(master).await?, "show proc").await?;
        let workers = workers(&family);
        if workers.is_empty() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut sessions = BTreeMap::new();
        for worker in workers {
            let line = format!("@!{worker} {BACKENDS}");
            let table = converse(net.dial(master).await?, &line).await?;
            add(&table, &mut sessions)?;
        }
        Ok(sessions)
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Adds the column `scur` (the fifth) of each backend; names have no comma.
fn add(table: &str, sessions: &mut BTreeMap<String, u64>) -> io::Result<()> {
    if !table.starts_with('#') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split(',');
        let (Some(name), Some("BACKEND")) = (columns.next(), columns.next()) else { continue };
        let current = columns.nth(2).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        if current > 0 {
            *sessions.entry(name.to_owned()).or_default() += current;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_workers_add_up() {
        let table = "# pxname,svname,qcur,qmax,scur,smax,slim\n\
                     default_shop_http,BACKEND,0,0,2,5,200\n\
                     default_idle_http,BACKEND,0,0,0,5,200\n\
                     default_shop_http,s1,0,0,2,5,200\n\n";
        let mut sessions = BTreeMap::new();
        add(table, &mut sessions).unwrap();
        add(table, &mut sessions).unwrap();
        assert_eq!(sessions, BTreeMap::from([("default_shop_http".to_owned(), 4)]));
    }

    #[test]
    fn no_table_does_not_mean_that_nothing_is_left() {
        for answer in ["", "\n", "Can't find the target CLI!\n"] {
            assert!(add(answer, &mut BTreeMap::new()).is_err(), "{answer:?}");
        }
        let mut sessions = BTreeMap::new();
        add("# pxname,svname,qcur,qmax,scur\n\n", &mut sessions).unwrap();
        assert_eq!(sessions, BTreeMap::new());
    }
}
