//! Whose authorities the clients of a host are held to, and since when.
//!
//! A connection keeps what its handshake was held to, and nothing that HAProxy shows of it says
//! what that was. So changes of the owner are numbered. A connection notes the number when it is
//! accepted, before its handshake begins; a host's entry in the ledger has the number of its last
//! change, which is made only when no line of an earlier owner is left. A connection with a lower
//! number is refused by the rules of the routes. New content of the same Secret changes no owner:
//! nobody is refused.
//!
//! A connection of QUIC is accepted after its handshake. How it gets a number that is not too high is
//! in [`crate::render::quic`].
//!
//! An entry is not deleted when its host asks for nothing any more, but left without owner: the
//! host's requests may go on to a wildcard's routes. A reload forgets all of it, as no connection
//! outlives it in the new process.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Draft, Inputs, Next, Phase};
use crate::action::{MapId, RuntimeCommand};
use crate::applied::{LEDGER_CLIENTS, LEDGER_EPOCH};
use crate::desired::{Key, Owned, Table};
use crate::render::crt_list;

/// What the entry of a host needs next.
pub(crate) fn owner(inputs: &Inputs<'_>, key: &Arc<str>, draft: &mut Draft) -> Next {
    let Some(host) = key.strip_prefix(LEDGER_CLIENTS) else { return Next::Settled };
    let map = MapId::Ledger;
    let wanted = inputs.desired.image().map(map).get(key).and_then(|e| owner_in(&e.value));
    let ledger = inputs.running.map(map);
    let running = ledger.get(key).map(|entry| &*entry.value);
    let Some(epoch) = ledger.get(LEDGER_EPOCH).and_then(|e| e.value.parse::<u64>().ok()) else {
        // Another static part, without such numbers: a reload is on its way.
        return Next::Wait;
    };
    let since = running.and_then(|value| value.split('|').next()?.parse::<u64>().ok());
    let since = since.unwrap_or(0);
    if running.and_then(owner_in) == wanted && since <= epoch {
        return Next::Settled;
    }
    if !lines_are_as_wanted(inputs, host) {
        return Next::Wait;
    }
    let number = epoch.max(since) + 1;
    let mut commands = Vec::new();
    match draft.epoch {
        Some(drafted) if drafted != number => return Next::Wait,
        Some(_) => {}
        None => {
            draft.epoch = Some(number);
            let value = number.to_string().into();
            commands.push(RuntimeCommand::SetMapEntry { map, key: LEDGER_EPOCH.into(), value });
        }
    }
    let value = match wanted {
        Some(owner) => format!("{number}|{owner}").into(),
        None => number.to_string().into(),
    };
    let key = key.clone();
    commands.push(match running {
        Some(_) => RuntimeCommand::SetMapEntry { map, key, value },
        None => RuntimeCommand::AddMapEntry { map, key, value },
    });
    Next::Commands(Phase::Unlink, commands.into_iter().map(|command| (command, None)).collect())
}

/// The keys of hosts whose owner differs.
pub(crate) fn different_owners(
    a: &Table<Owned<Arc<str>>>,
    b: &Table<Owned<Arc<str>>>,
    keys: &mut Vec<Key>,
) {
    let same = |a: &Owned<Arc<str>>, b: &Owned<Arc<str>>| owner_in(&a.value) == owner_in(&b.value);
    a.differences(b, same, |key| {
        if key.starts_with(LEDGER_CLIENTS) {
            keys.push(Key::Map(MapId::Ledger, key.clone()));
        }
    });
}

fn owner_in(value: &str) -> Option<&str> {
    value.split_once('|').map(|(_, owner)| owner)
}

/// Whether the lines with a host are those that are wanted: the handshakes of the present owner
/// have begun, and those of an earlier one are over.
fn lines_are_as_wanted(inputs: &Inputs<'_>, host: &str) -> bool {
    let certificates = inputs.desired.image().certificates.iter();
    let lines = certificates
        .filter(|(_, hosts)| hosts.contains(host))
        .flat_map(|(key, hosts)| crt_list::lines(key, hosts));
    let wanted: BTreeSet<Arc<str>> = lines
        .filter(|line| line.hosts.iter().any(|name| **name == *host))
        .map(|line| line.file)
        .collect();
    let running = inputs.running.certificates.values().flatten();
    let listed: BTreeSet<Arc<str>> = running
        .filter(|(_, line)| line.listed && line.hosts.contains(host))
        .map(|(file, _)| file.clone())
        .collect();
    wanted == listed
}
