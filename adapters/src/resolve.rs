//! Names to addresses, for Services of type ExternalName: keeps a set of DNS names resolved and
//! tells the controller when the answer changes. A failed look-up tells nothing: absence of an
//! answer is no answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tidegate_core::event::Event;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Time between two look-ups of a name.
const EVERY: Duration = Duration::from_secs(15);

/// Keeps names resolved. Dropping it ends its tasks.
pub struct Resolver {
    events: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    running: BTreeMap<Box<str>, tokio::task::AbortHandle>,
}

impl Resolver {
    /// A resolver without names; answers go to `events`.
    #[must_use]
    pub fn new(events: mpsc::Sender<Event>) -> Resolver {
        Resolver { events, tasks: JoinSet::new(), running: BTreeMap::new() }
    }

    /// Keeps these names resolved, and no others.
    pub fn keep(&mut self, names: BTreeSet<Box<str>>) {
        self.running.retain(|name, task| {
            let kept = names.contains(name);
            if !kept {
                task.abort();
            }
            kept
        });
        for name in names {
            if !self.running.contains_key(&name) {
                let task = self.tasks.spawn(follow(name.clone(), self.events.clone()));
                self.running.insert(name, task);
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }
}

async fn follow(name: Box<str>, events: mpsc::Sender<Event>) {
    let mut told: Option<Vec<IpAddr>> = None;
    loop {
        match tokio::net::lookup_host((&*name, 0)).await {
            Ok(found) => {
                let addresses: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
                let addresses: Vec<IpAddr> = addresses.into_iter().collect();
                if told.as_ref() != Some(&addresses) {
                    let event =
                        Event::Resolved { name: name.clone(), addresses: addresses.clone() };
                    if events.send(event).await.is_err() {
                        return;
                    }
                    told = Some(addresses);
                }
            }
            Err(error) => tracing::warn!(%name, %error, "cannot resolve"),
        }
        tokio::time::sleep(EVERY).await;
    }
}
