//! Lookup: the only way to read the World from a projection. Every read is recorded, misses and
//! ranges included, so that a changed fact dirties exactly its readers.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::custom::{Custom, Part};
use super::named::{ErrorFiles, PatternFile};
use super::object::{
    ConfigMap, EndpointSlice, Ingress, IngressClass, Kind, Name, Namespace, Node, ObjectRef,
    Secret, Service,
};
use super::snippets::Why;
use super::{Fact, InForce, World};
use crate::annotations::Refusal;
use crate::capability::Capabilities;
use crate::problem::Problem;
use crate::project::expiry::{self, Age};
use crate::sabotage::{Mistake, is_planted};
use crate::settings::{Role, Settings};
use crate::snippet::Place;

/// A recording reader of a [`World`].
pub struct Lookup<'w> {
    world: &'w World,
    reads: BTreeSet<Fact>,
}

impl<'w> Lookup<'w> {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new(world: &'w World) -> Lookup<'w> {
        Lookup { world, reads: BTreeSet::new() }
    }

    /// What was read.
    #[must_use]
    pub fn into_reads(self) -> Vec<Fact> {
        self.reads.into_iter().collect()
    }

    /// The settings; not recorded, as they never change.
    #[must_use]
    pub fn settings(&self) -> &'w Settings {
        &self.world.settings
    }

    /// What HAProxy can do; before it was found, everything.
    pub fn capabilities(&mut self) -> Arc<Capabilities> {
        self.reads.insert(Fact::Capabilities);
        match &self.world.capabilities {
            Some(found) => found.clone(),
            None => Arc::new(Capabilities::tier_a()),
        }
    }

    /// The controller's own ConfigMap.
    pub fn config_map(&mut self) -> Option<&'w ConfigMap> {
        self.reads.insert(Fact::ConfigMap);
        self.world.config_map.as_deref()
    }

    /// The controller's own ConfigMap, for what it says about routes and backends. Whoever reads keys
    /// of the static part takes [`Lookup::config_map`].
    pub fn defaults(&mut self) -> Option<&'w ConfigMap> {
        self.reads.insert(Fact::Defaults);
        self.world.config_map.as_deref()
    }

    /// The ConfigMap of TCP services.
    pub fn tcp_services(&mut self) -> Option<&'w ConfigMap> {
        self.reads.insert(Fact::Role(Role::TcpServices));
        self.world.named.tcp_services()
    }

    /// An IngressClass.
    pub fn class(&mut self, name: &str) -> Option<&'w IngressClass> {
        self.reads.insert(Fact::Class(name.into()));
        self.world.classes.get(&Name::new("", name)).map(|c| &**c)
    }

    /// The default IngressClass: the oldest of those marked, if any.
    pub fn default_class(&mut self) -> Option<&'w IngressClass> {
        self.reads.insert(Fact::DefaultClass);
        let marked = self.world.classes.values().filter(|c| c.is_default);
        marked.min_by(|a, b| a.meta.seniority().cmp(&b.meta.seniority())).map(|c| &**c)
    }

    /// A Namespace.
    pub fn namespace(&mut self, name: &Arc<str>) -> Option<&'w Namespace> {
        self.reads.insert(Fact::Namespace(name.clone()));
        self.world.namespaces.get(&Name { namespace: "".into(), name: name.clone() }).map(|n| &**n)
    }

    /// The Nodes, in a fixed order.
    pub fn nodes(&mut self) -> impl Iterator<Item = &'w Node> + use<'w> {
        self.reads.insert(Fact::Nodes);
        self.world.nodes.values().map(|n| &**n)
    }

    /// The Ingresses with a rule for a host, by name.
    pub fn ingresses_of_host(&mut self, host: &Arc<str>) -> Vec<Name> {
        self.reads.insert(Fact::Host(host.clone()));
        self.world.hosts.get(host).into_iter().flat_map(|set| set.iter()).cloned().collect()
    }

    /// The Ingresses with a TLS entry for a host, by name.
    pub fn ingresses_of_tls_host(&mut self, host: &Arc<str>) -> Vec<Name> {
        self.reads.insert(Fact::TlsHost(host.clone()));
        self.world.tls_hosts.get(host).into_iter().flat_map(|set| set.iter()).cloned().collect()
    }

    /// An Ingress.
    pub fn ingress(&mut self, name: &Name) -> Option<&'w Ingress> {
        self.reads.insert(Fact::Ingress(name.clone()));
        self.world.ingresses.get(name).map(|o| &**o)
    }

    /// Whether an Ingress is held: a list did not have it. Part of [`Fact::Ingress`].
    pub fn is_held(&mut self, ingress: &Ingress) -> bool {
        self.reads.insert(Fact::Ingress(ingress.meta.name.clone()));
        self.world.absences.is_held(Kind::Ingress, &ingress.meta.name)
    }

    /// A Service.
    pub fn service(&mut self, name: &Name) -> Option<&'w Service> {
        let found = self.world.services.get(name).map(|o| &**o);
        if found.is_some() || !is_planted(Mistake::UnrecordedMiss) {
            self.reads.insert(Fact::Service(name.clone()));
        }
        found
    }

    /// The slices of a Service, by name.
    pub fn slices(&mut self, service: &Name) -> impl Iterator<Item = &'w EndpointSlice> + use<'w> {
        self.reads.insert(Fact::Slices(service.clone()));
        let world = self.world;
        let names = world.slices_of.get(service).into_iter().flat_map(|set| set.iter());
        names.filter_map(move |name| world.slices.get(name).map(|s| &**s))
    }

    /// A Secret's public facts.
    pub fn secret(&mut self, name: &Name) -> Option<&'w Secret> {
        self.reads.insert(Fact::Secret(name.clone()));
        self.world.secrets.get(name).map(|o| &**o)
    }

    /// A Secret with the ages of its certificate and its authorities; `None` also while the date is
    /// not known. Part of [`Fact::Secret`]: [`World::read_date`] tells when an age changes.
    pub fn secret_ages(&mut self, name: &Name) -> Option<(&'w Secret, (Age, Age))> {
        let secret = self.secret(name)?;
        let date = self.world.date?;
        Some((secret, expiry::ages(secret, date)))
    }

    /// A custom resource.
    pub fn custom(&mut self, part: Part, name: &Name) -> Option<&'w Custom> {
        self.reads.insert(Fact::Custom(part, name.clone()));
        self.world.custom(part, name)
    }

    /// The custom resources of TCP services, by kind and name.
    pub fn tcp_resources(&mut self) -> impl Iterator<Item = &'w Custom> + use<'w> {
        self.reads.insert(Fact::TcpResources);
        let all = self.world.customs.values().map(|custom| &**custom);
        all.filter(|custom| custom.part == Part::Tcp)
    }

    /// The addresses of a DNS name; `None` until it was resolved.
    pub fn resolved(&mut self, name: &str) -> Option<&'w [IpAddr]> {
        let name: Box<str> = name.into();
        let addresses = self.world.resolved.get(&name).map(|a| &**a);
        self.reads.insert(Fact::Resolved(name));
        addresses
    }

    /// What is wrong with the ConfigMaps of a role.
    pub fn problems_of_role(&mut self, role: Role) -> &'w [Problem] {
        self.reads.insert(Fact::Role(role));
        self.world.named.problems(role)
    }

    /// The answers that HAProxy makes itself, by status code.
    pub fn error_files(&mut self) -> &'w Arc<ErrorFiles> {
        self.reads.insert(Fact::Role(Role::ErrorFiles));
        self.world.named.errors()
    }

    /// Whether a pattern file can be used as a list of networks.
    ///
    /// # Errors
    /// Why not.
    pub fn pattern_state(&mut self, file: &str) -> Result<(), &'w Refusal> {
        self.reads.insert(Fact::PatternState(file.into()));
        self.world.named.pattern_state(file)
    }

    /// A pattern file.
    pub fn pattern(&mut self, file: &str) -> Option<&'w PatternFile> {
        self.reads.insert(Fact::Pattern(file.into()));
        self.world.named.pattern(file)
    }

    /// What an object's snippet amounts to: the lines in force, and why not those that are written.
    pub fn snippet(&mut self, object: &ObjectRef, place: Place) -> (InForce<'w>, Option<Why<'w>>) {
        self.reads.insert(Fact::Snippet(object.clone()));
        let (lines, why) = self.world.snippets.of(&(object.clone(), place));
        if lines == InForce::Nothing && why.is_none() {
            return (lines, why);
        }
        // Judged alone it was fine, and with others it was not.
        match self.quarantined(object) {
            Some(words) if object.kind == Kind::ConfigMap => {
                (InForce::Nothing, Some(Why::Haproxy(words)))
            }
            Some(words) => (InForce::Closed, Some(Why::Haproxy(words))),
            None => (lines, why),
        }
    }

    /// Whether one certificate that HAProxy refused spoils all others, which it never does.
    pub(crate) fn is_spoiled(&self) -> bool {
        let mut withheld = self.world.quarantined.keys();
        is_planted(Mistake::OneBadCertificate) && withheld.any(|of| of.kind == Kind::Secret)
    }

    /// Why an object is withheld, if it is.
    pub fn quarantined(&mut self, object: &ObjectRef) -> Option<&'w str> {
        self.reads.insert(Fact::Quarantined(object.clone()));
        self.world.quarantined.get(object).map(|why| &**why)
    }
}
