//! Writes to the API server: status, Kubernetes Events, the Lease.
//!
//! Inputs: [`Tell`]s of core. Outputs: one ack each, and the Lease as it was read or written. Status
//! and Events share a bounded number of slots and a rate; the Lease waits for neither. Not here:
//! whether and when something is told, and what becomes of a refusal.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tidegate_core::action::ActionId;
use tidegate_core::event::{Ack, Event, Outcome};
use tidegate_core::settings::Election;
use tidegate_core::tell::{Notice, Tell};
use tidegate_core::world::object::{Address, Kind, Name};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use super::backoff::{Backoff, Bucket};
use super::client::Ask;
use super::failure::Failure;
use super::lease::{self, Kept};
use super::resource::{self, EVENTS};
use super::watch::Shared;
use crate::decode::api_version;

/// Writes under way at the same time, the Lease not counted.
const SIDE_BY_SIDE: usize = 16;

/// Writes a second, and how many may be saved up, the Lease not counted.
const RATE: (u32, u32) = (100, 200);

/// First wait of a write that is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Longest time for the Lease: a holder must know in good time that it could not renew.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);

/// Longest time for anything else, where there is no election.
const PATIENCE: Duration = Duration::from_secs(30);

/// Changes some fields and leaves the others.
const MERGE: &str = "application/merge-patch+json";

/// Writes for all.
pub struct Writer {
    shared: Shared,
    slots: Semaphore,
    bucket: Bucket,
    lease: Option<Name>,
    /// Longest time of a write, its turn included: nothing may be written in the term of the next
    /// holder of the Lease.
    patience: Duration,
    /// One at a time: each write follows the version of the one before.
    kept: Mutex<Kept>,
}

impl Writer {
    /// A writer for an election, or for one replica alone.
    #[must_use]
    pub fn new(shared: Shared, election: Option<&Election>) -> Writer {
        let (slots, bucket) = (Semaphore::new(SIDE_BY_SIDE), Bucket::new(RATE.0, RATE.1));
        let margin = election.map(|e| e.duration_ms.saturating_sub(e.renew_ms) * 9 / 10);
        let patience = margin.map_or(PATIENCE, Duration::from_millis);
        let lease = election.map(|election| election.lease.clone());
        Writer { shared, slots, bucket, lease, patience, kept: Mutex::default() }
    }

    /// Carries out one request and sends its ack, after what it read.
    pub async fn tell(self: Arc<Self>, id: ActionId, tell: Tell) {
        let mut events = Vec::new();
        let outcome = match tell {
            Tell::ReadLease | Tell::WriteLease { .. } => self.lease(tell, &mut events).await,
            Tell::Status { .. } | Tell::Event(_) => {
                let told = timeout(self.patience, self.in_turn(&tell)).await;
                told.unwrap_or(Err(Failure::Silent))
            }
        };
        let outcomes = vec![outcome.map_or_else(|failure| refusal(&failure), |()| Outcome::Done)];
        events.push(Event::Acked(Ack { id, outcomes, worker: None }));
        // Nobody listens: the program ends.
        let _ = self.shared.events.send(events).await;
    }

    /// Writes status or an Event when it is its turn.
    async fn in_turn(&self, tell: &Tell) -> Result<(), Failure> {
        self.bucket.take().await;
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let mut backoff = Backoff::new(self.shared.seed, "write", FIRST_WAIT);
        match tell {
            Tell::Status { ingress, uid, addresses } => {
                self.status(ingress, uid, addresses, &mut backoff).await
            }
            Tell::Event(notice) => self.event(notice, &mut backoff).await,
            Tell::ReadLease | Tell::WriteLease { .. } => Ok(()),
        }
    }

    /// Replaces `status.loadBalancer.ingress` of exactly that object: the UID in the patch is a
    /// precondition of the API server (422 when the name now belongs to another object).
    async fn status(
        &self,
        ingress: &Name,
        uid: &str,
        addresses: &[Address],
        backoff: &mut Backoff,
    ) -> Result<(), Failure> {
        let path = resource::of(Kind::Ingress).object(&ingress.namespace, &ingress.name);
        let entries: Vec<Value> = addresses.iter().map(entry).collect();
        let body = json!({
            "metadata": { "uid": uid },
            "status": { "loadBalancer": { "ingress": entries } },
        });
        self.write("patch", Method::PATCH, format!("{path}/status"), MERGE, &body, backoff).await
    }

    /// Refreshes the Event of this object and reason, or creates it. Its name follows from both, so
    /// that replicas and restarts write the same one.
    async fn event(&self, notice: &Notice, backoff: &mut Backoff) -> Result<(), Failure> {
        let namespace = match &*notice.about.name.namespace {
            "" => "default",
            namespace => namespace,
        };
        let name = event_name(notice);
        let now = timestamp(self.shared.clock.unix_s());
        let path = EVENTS.object(namespace, &name);
        let refresh = json!({ "message": notice.note, "lastTimestamp": now });
        let refreshed = self.write("patch", Method::PATCH, path, MERGE, &refresh, backoff).await;
        match refreshed {
            Err(failure) if failure.code() == Some(404) => {}
            done_or_failed => return done_or_failed,
        }
        let Notice { about, uid, reason, severity: _, note, of: _ } = notice;
        let body = json!({
            "apiVersion": EVENTS.api_version(),
            "kind": "Event",
            "metadata": { "name": name, "namespace": namespace },
            "involvedObject": {
                "apiVersion": api_version(about.kind),
                "kind": about.kind.name(),
                "namespace": &*about.name.namespace,
                "name": &*about.name.name,
                "uid": &**uid,
            },
            "type": "Warning",
            "reason": reason.as_str(),
            "message": note,
            "source": { "component": COMPONENT },
            "reportingComponent": COMPONENT,
            "reportingInstance": COMPONENT,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        });
        let path = EVENTS.collection(Some(namespace));
        match self.write("create", Method::POST, path, JSON, &body, backoff).await {
            // Another replica was quicker.
            Err(failure) if failure.code() == Some(409) => Ok(()),
            outcome => outcome,
        }
    }

    async fn write(
        &self,
        verb: &'static str,
        method: Method,
        path: String,
        form: &'static str,
        body: &Value,
        backoff: &mut Backoff,
    ) -> Result<(), Failure> {
        let ask = Ask::write(verb, method, path, form, body);
        self.shared.client.call(&ask, backoff).await.map(|_| ())
    }

    async fn lease(&self, tell: Tell, events: &mut Vec<Event>) -> Result<(), Failure> {
        let Some(name) = &self.lease else {
            return Err(Failure::Garbled("there is no Lease to read or write".to_owned()));
        };
        let mut kept = self.kept.lock().await;
        let mut backoff = Backoff::new(self.shared.seed, "lease", FIRST_WAIT);
        let client = &self.shared.client;
        let asked = async {
            match tell {
                Tell::WriteLease { version, lease } => {
                    let now = self.shared.clock.unix_s();
                    lease::write(client, name, &mut kept, version, &lease, now, &mut backoff).await
                }
                Tell::ReadLease | Tell::Status { .. } | Tell::Event(_) => {
                    lease::read(client, name, &mut kept, &mut backoff).await
                }
            }
        };
        let seen = timeout(self.patience.min(LEASE_PATIENCE), asked)
            .await
            .map_err(|_| Failure::Silent)??;
        events.push(Event::LeaseSeen(seen));
        Ok(())
    }
}

/// Who tells, in Kubernetes Events.
const COMPONENT: &str = "tidegate";
/// The plain form of objects.
pub(super) const JSON: &str = "application/json";

fn entry(address: &Address) -> Value {
    match address {
        Address::Ip(address) => json!({ "ip": address.to_string() }),
        Address::Host(host) => json!({ "hostname": &**host }),
    }
}

/// The name of the Event of an object and a reason: at most 253 bytes.
fn event_name(notice: &Notice) -> String {
    let key = format!("{}/{}/{}", notice.of, notice.uid, notice.reason.as_str());
    let digest = tidegate_core::digest::Digest::of(key.as_bytes()).to_string();
    let name = notice.about.name.name.get(..200).unwrap_or(&notice.about.name.name);
    let name = name.trim_end_matches(['.', '-']);
    format!("{name}.{}", digest.get(..16).unwrap_or(&digest))
}

/// RFC 3339 in UTC, in whole seconds.
pub(super) fn timestamp(unix_s: u64) -> String {
    let seconds = i64::try_from(unix_s).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// What core learns of a failure.
fn refusal(failure: &Failure) -> Outcome {
    if failure.may_have_happened() {
        Outcome::Unknown
    } else {
        Outcome::Refused(failure.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::problem::{Reason, Severity};
    use tidegate_core::world::object::ObjectRef;

    #[test]
    fn names_of_events_are_equal_for_equal_objects_and_reasons_only() {
        let notice = |name: &str, uid: &str, reason| Notice {
            about: ObjectRef::new(Kind::Ingress, "a", name),
            uid: uid.into(),
            reason,
            severity: Severity::Warning,
            note: String::new(),
            of: ObjectRef::new(Kind::Ingress, "a", name),
        };
        let one = event_name(&notice("web", "1", Reason::BadValue));
        assert!(one.starts_with("web.") && one.len() == 20, "{one}");
        assert_eq!(one, event_name(&notice("web", "1", Reason::BadValue)));
        assert_ne!(one, event_name(&notice("web", "2", Reason::BadValue)));
        assert_ne!(one, event_name(&notice("web", "1", Reason::NotFound)));
        assert!(event_name(&notice(&"x".repeat(253), "", Reason::Source)).len() <= 253);
    }

    #[test]
    fn timestamps_are_those_of_the_api() {
        assert_eq!(timestamp(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
