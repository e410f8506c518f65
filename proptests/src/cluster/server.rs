//! The API server: its objects, what it tells the watches, and what it does when it is asked to. It
//! judges what it is asked for, too.

use std::sync::Arc;

use tidegate_core::event::{Event, Outcome};
use tidegate_core::tell::{LeaseRecord, Tell};
use tidegate_core::world::object::{
    Address, BackendRef, Ingress, IngressClass, Kind, Meta, Name, Object, Path, PathType, PortRef,
    Rule,
};

use super::{Cluster, Parcel, REFUSED, REPLICAS, identity};
use crate::run::Verdict;

pub(super) fn meta(namespace: &str, name: &str, uid: u64) -> Meta {
    Meta {
        name: Name::new(namespace, name),
        uid: format!("uid-{uid}").into(),
        created: 0,
        generation: 1,
        annotations: Vec::new(),
        notes: Vec::new(),
    }
}

/// Two of eight are of a class that nobody here serves.
pub(super) fn name_of(n: u8) -> Name {
    let whose = if n < 6 { "ours" } else { "foreign" };
    Name::new("default", &format!("{whose}-{n}"))
}

pub(super) fn is_foreign(name: &Name) -> bool {
    name.name.starts_with("foreign")
}

pub(super) fn address(n: u8) -> Address {
    Address::Ip([192, 0, 2, n].into())
}

impl Cluster {
    pub(super) fn put(&mut self, n: u8) {
        let name = name_of(n);
        self.version += 1;
        let ingress = match self.ingresses.get(&name) {
            Some(old) => {
                let mut new = (**old).clone();
                new.meta.generation += 1;
                new
            }
            None => {
                self.changes += 1;
                let class = if is_foreign(&name) { "other" } else { "tidegate" };
                Ingress {
                    meta: meta("default", &name.name, self.version),
                    class: Some(class.into()),
                    default_backend: None,
                    rules: vec![Rule {
                        host: format!("{}.example.com", name.name).into(),
                        paths: vec![Path {
                            path: "/".into(),
                            path_type: PathType::Prefix,
                            backend: BackendRef::Service {
                                name: "missing".into(),
                                port: PortRef::Number(80),
                            },
                        }],
                    }],
                    tls: Vec::new(),
                    status: Vec::new(),
                }
            }
        };
        let ingress = Arc::new(ingress);
        self.ingresses.insert(name, ingress.clone());
        self.post_watch(&Event::Upserted(Object::Ingress(ingress)));
    }

    pub(super) fn post_watch(&mut self, event: &Event) {
        for to in 0..REPLICAS {
            let Some(Some(replica)) = self.replicas.get(to) else { continue };
            if replica.cut {
                continue;
            }
            let at = self.now + u64::from(self.lags[to]);
            let life = replica.life;
            self.post(at, Parcel::Events { to, life, events: vec![event.clone()] });
        }
    }

    /// What a list says, as late as the watch.
    pub(super) fn post_relist(&mut self, to: usize) {
        let Some(Some(replica)) = self.replicas.get(to) else { return };
        let (life, events) = (replica.life, self.lists());
        self.post(self.now + u64::from(self.lags[to]), Parcel::Events { to, life, events });
    }

    pub(super) fn lists(&self) -> Vec<Event> {
        let class = Object::IngressClass(Arc::new(IngressClass {
            meta: meta("", "tidegate", 0),
            controller: "tidegate.io/ingress-controller".into(),
            is_default: false,
        }));
        let mut all = vec![class];
        all.extend(self.publisher.iter().cloned().map(Object::Service));
        all.extend(self.ingresses.values().cloned().map(Object::Ingress));
        let of_kind = |kind| all.iter().filter(|o| o.kind() == kind).cloned().collect();
        Kind::ALL.into_iter().map(|kind| Event::Relisted { kind, objects: of_kind(kind) }).collect()
    }

    /// The API server does what it is asked for.
    pub(super) fn serve(
        &mut self,
        from: usize,
        tell: &Tell,
    ) -> Result<(Outcome, Vec<Event>), String> {
        match tell {
            Tell::ReadLease => Ok((Outcome::Done, vec![Event::LeaseSeen(self.lease.clone())])),
            Tell::WriteLease { version, lease } => {
                if *version != self.lease.as_ref().map(|lease| lease.version.clone()) {
                    return Ok((Outcome::Refused("conflict".into()), vec![]));
                }
                self.version += 1;
                let renewed = format!("by the clock of {from}: {:?}", self.clock(from)).into();
                let version = self.version.to_string().into();
                self.lease = Some(LeaseRecord { version, renewed, ..lease.clone() });
                Ok((Outcome::Done, vec![Event::LeaseSeen(self.lease.clone())]))
            }
            Tell::Status { ingress: name, uid, addresses } => {
                self.may_write(from, tell)?;
                if is_foreign(name) {
                    return Err(format!("S18: {from} writes the foreign {name}"));
                }
                let ingress = self.ingresses.get_mut(name).filter(|i| i.meta.uid == *uid);
                let refused = Ok((Outcome::Refused("no such object".into()), vec![]));
                let Some(ingress) = ingress.filter(|_| &*name.name != REFUSED) else {
                    return refused;
                };
                if ingress.status == *addresses {
                    return Ok((Outcome::Done, vec![]));
                }
                Arc::make_mut(ingress).status.clone_from(addresses);
                self.effective_writes += 1;
                let event = Event::Upserted(Object::Ingress(ingress.clone()));
                self.post_watch(&event);
                Ok((Outcome::Done, vec![]))
            }
            Tell::Event(_) => {
                self.may_write(from, tell)?;
                Ok((Outcome::Done, vec![]))
            }
        }
    }

    /// S17: what arrives comes from whoever holds the Lease at that time.
    pub(super) fn may_write(&self, from: usize, tell: &Tell) -> Verdict {
        match &self.lease {
            Some(lease) if *lease.holder == identity(from) => Ok(()),
            lease => Err(format!("S17: at {} {from} writes {tell:?} under {lease:?}", self.now)),
        }
    }
}
