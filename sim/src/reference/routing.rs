//! Where a request should go: a second reading of the Ingress rules, request by request, with no
//! index, no map and no projection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use tidegate_core::digest::Digest;
use tidegate_core::settings::Settings;
use tidegate_core::world::custom::Custom;
use tidegate_core::world::object::{
    BackendRef, ConfigMap, EndpointSlice, Ingress, IngressClass, Name, Object, PortRef, Secret,
    Service, ServiceSource,
};

use super::claims::{Claim, best, canonical, claims, is_host};
use super::{annotations, customs};
use crate::model::haproxy::Answer;

/// Everything the answer depends on.
pub struct Facts<'a> {
    settings: &'a Settings,
    resolved: &'a BTreeMap<String, Vec<IpAddr>>,
    /// The controller's own.
    pub config_map: Option<&'a ConfigMap>,
    tcp_services: Option<&'a ConfigMap>,
    /// Secrets by name.
    pub secrets: BTreeMap<Name, &'a Secret>,
    classes: Vec<&'a IngressClass>,
    services: BTreeMap<Name, &'a Service>,
    slices: Vec<&'a EndpointSlice>,
    ingresses: Vec<&'a Ingress>,
    pub(super) customs: Vec<&'a Custom>,
}

impl<'a> Facts<'a> {
    /// The facts in a set of objects.
    #[must_use]
    pub fn new(
        objects: &'a [Object],
        settings: &'a Settings,
        resolved: &'a BTreeMap<String, Vec<IpAddr>>,
    ) -> Facts<'a> {
        let mut facts = Facts {
            settings,
            resolved,
            config_map: None,
            tcp_services: None,
            secrets: BTreeMap::new(),
            classes: Vec::new(),
            services: BTreeMap::new(),
            slices: Vec::new(),
            ingresses: Vec::new(),
            customs: Vec::new(),
        };
        for object in objects {
            match object {
                Object::Namespace(_) | Object::Node(_) => {}
                Object::Custom(o) => facts.customs.push(o),
                Object::ConfigMap(o) if settings.tcp_services() == Some(&o.meta.name) => {
                    facts.tcp_services = Some(o);
                }
                Object::ConfigMap(o) => facts.config_map = Some(o),
                Object::IngressClass(o) => facts.classes.push(o),
                Object::Secret(o) => {
                    facts.secrets.insert(o.meta.name.clone(), o);
                }
                Object::Service(o) => {
                    facts.services.insert(o.meta.name.clone(), o);
                }
                Object::EndpointSlice(o) => facts.slices.push(o),
                Object::Ingress(o) => facts.ingresses.push(o),
            }
        }
        facts
    }

    fn is_ours(&self, ingress: &Ingress) -> bool {
        let ours = |class: &IngressClass| class.controller == self.settings.controller_name;
        if let Some(name) = &ingress.class {
            return self.classes.iter().any(|c| *c.meta.name.name == **name && ours(c));
        }
        // Before release 3.2 haproxytech's controller read the class under its own prefixes too.
        for prefix in ["kubernetes.io", "haproxy.org", "haproxy.com", "ingress.kubernetes.io"] {
            if let Some(legacy) = ingress.meta.annotation(&format!("{prefix}/ingress.class")) {
                return *legacy == *self.settings.legacy_class;
            }
        }
        let mut defaults: Vec<_> = self.classes.iter().filter(|c| c.is_default).collect();
        defaults.sort_by_key(|c| (c.meta.created, c.meta.name.clone()));
        self.settings.classless || defaults.first().is_some_and(|c| ours(c))
    }

    /// The answer to a request; `None` where the rules leave it open.
    #[must_use]
    pub fn answer(&self, host: &str, path: &str) -> Option<Answer> {
        self.among(host, |is_passed, name, claims| match is_passed {
            true => self.plain_of_passed(name, claims),
            false => self.choose(claims, name, path),
        })
    }

    /// The Service that the rules lead a request to, with endpoints or without, as `NAMESPACE/NAME`.
    #[must_use]
    pub fn leads_to(&self, host: &str, path: &str) -> Option<String> {
        self.among(host, |is_passed, _, claims| {
            let claim = best(claims, path).filter(|_| !is_passed)?;
            let BackendRef::Service { name, port: _ } = claim.backend else { return None };
            Some(format!("{}/{name}", claim.ingress.meta.name.namespace))
        })
        .flatten()
    }

    /// The list of users that a request that is served must have been held against, by the
    /// digest; the outer `None` where the rules leave the route open.
    #[must_use]
    pub fn users(&self, host: &str, path: &str) -> Option<Option<Digest>> {
        self.among(host, |_, _, claims| {
            let ingress = best(claims, path).map(|claim| claim.ingress);
            annotations::guard(self, ingress).and_then(Result::ok)
        })
    }

    /// Looks at the claims on the host of a request (its name as in the rules), from the
    /// oldest Ingress to the newest, and at
    /// whether its TLS is passed through.
    fn among<T>(&self, host: &str, look: impl Fn(bool, &str, &[Claim<'_>]) -> T) -> Option<T> {
        let host = host.to_ascii_lowercase();
        let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let ours = self.owners();
        for name in [Some(host), wildcard].into_iter().flatten() {
            let claims = self.claims(&ours, &name);
            let mentioned = ours.iter().any(|i| i.rules.iter().any(|r| canonical(&r.host) == name));
            if mentioned && claims.is_empty() {
                // A host whose rules all say nothing usable: the standard is silent.
                return None;
            }
            if !claims.is_empty() {
                let (is_passed, claims) = self.one_way(claims);
                return Some(look(is_passed, &name, &claims));
            }
        }
        let mut claims = self.claims(&ours, "");
        // Without a host there is no SNI to know it by.
        claims.retain(|claim| !annotations::passes(self, claim.ingress));
        Some(look(false, "", &claims))
    }

    /// The claims on a host, without those that join the paths of others.
    fn claims<'b>(&self, ours: &[&'b Ingress], host: &str) -> Vec<Claim<'b>> {
        let mut found: Vec<Claim<'_>> = ours.iter().flat_map(|i| claims(i, host)).collect();
        found.retain(|claim| {
            let BackendRef::Service { name, port: _ } = claim.backend else { return true };
            let name = Name::new(&claim.ingress.meta.name.namespace, name);
            !self.services.get(&name).is_some_and(|service| annotations::has_condition(service))
        });
        found
    }

    /// Whether TLS of a host is passed through, and the claims that agree with the oldest.
    fn one_way<'b>(&self, claims: Vec<Claim<'b>>) -> (bool, Vec<Claim<'b>>) {
        let passes = |claim: &Claim<'_>| annotations::passes(self, claim.ingress);
        let is_passed = claims.first().is_some_and(&passes);
        (is_passed, claims.into_iter().filter(|claim| passes(claim) == is_passed).collect())
    }

    /// The claim on everything of a host that is passed through.
    fn passed<'b, 'c>(&self, claims: &'c [Claim<'b>]) -> Option<&'c Claim<'b>> {
        let whole = |claim: &&Claim<'_>| {
            claim.exact.is_none() && claim.elements.as_ref().is_none_or(Vec::is_empty)
        };
        let mut best: Option<&Claim<'_>> = None;
        for claim in claims.iter().filter(whole) {
            if best.is_none_or(|b| claim.goodness() > b.goodness()) {
                best = Some(claim);
            }
        }
        best
    }

    fn plain_of_passed(&self, host: &str, claims: &[Claim<'_>]) -> Answer {
        match self.passed(claims) {
            Some(claim) if annotations::closes_route(self, host, Some(claim.ingress)) => {
                Answer::Unavailable
            }
            Some(_) | None => Answer::NotFound,
        }
    }

    /// Where TLS for a name is passed through to: the outer `None` when it is not, the inner one
    /// when the connection is refused.
    #[must_use]
    pub fn sni(&self, name: &str) -> Option<Option<Answer>> {
        let name = name.to_ascii_lowercase();
        let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let ours = self.owners();
        let mentions =
            |name: &str| ours.iter().any(|i| i.rules.iter().any(|r| canonical(&r.host) == name));
        let names = [Some(name), wildcard];
        let name = names.iter().flatten().find(|name| mentions(name))?;
        let (is_passed, claims) = self.one_way(self.claims(&ours, name));
        if !is_passed {
            return None;
        }
        let Some(claim) = self.passed(&claims) else { return Some(None) };
        if annotations::closes_route(self, name, Some(claim.ingress))
            || annotations::needs_requests(self, claim.ingress)
        {
            return Some(None);
        }
        let BackendRef::Service { name, port } = claim.backend else { return Some(None) };
        let service = Name::new(&claim.ingress.meta.name.namespace, name);
        Some(self.services.get(&service).and_then(|service| self.servers(service, port)))
    }

    /// Where a connection to a port goes; `None` when it is refused.
    #[must_use]
    pub fn tcp(&self, port: u16) -> Option<Answer> {
        let listen = &self.settings.listen;
        if [80, 443, listen.http_port, listen.https_port, listen.stats_port].contains(&port) {
            return None;
        }
        let port = port.to_string();
        let configured = self.tcp_services.and_then(|map| map.data.get(&*port)).map(|v| &**v);
        let (class, classless) = (&self.settings.legacy_class, self.settings.classless);
        let value = configured.or_else(|| customs::tcp(self, class, classless, &port))?.trim();
        let value = value.strip_suffix(":ssl").unwrap_or(value);
        let (service, port) = value.split_once(':')?;
        let (namespace, name) = service.split_once('/')?;
        let service = self.services.get(&Name::new(namespace, name))?;
        let port = match port.parse() {
            Ok(number) => PortRef::Number(number),
            Err(_) => PortRef::Name(port.into()),
        };
        if annotations::closes_backend(self, None, service) {
            return None;
        }
        self.servers(service, &port)
    }

    fn ours(&self) -> Vec<&'a Ingress> {
        let mut ours: Vec<_> = self.ingresses.iter().copied().filter(|i| self.is_ours(i)).collect();
        ours.sort_by_key(|i| (i.meta.created, i.meta.name.clone()));
        ours
    }

    /// Those that own paths: canaries join the paths of others.
    fn owners(&self) -> Vec<&'a Ingress> {
        let mut ours = self.ours();
        ours.retain(|i| !annotations::is_canary(i));
        ours
    }

    /// Our Ingresses with a rule for a host, the oldest first.
    pub(super) fn with_rule_for(&self, host: &str) -> Vec<&'a Ingress> {
        let mut ours = self.owners();
        ours.retain(|i| i.rules.iter().any(|r| canonical(&r.host) == host && is_host(&r.host)));
        ours
    }

    /// The Secrets that our Ingresses name for a TLS host.
    pub(super) fn tls_secrets(&self, host: &str) -> Vec<Name> {
        let mut names = Vec::new();
        for ingress in self.ours() {
            for tls in &ingress.tls {
                let named = tls.hosts.iter().any(|h| canonical(h) == host && is_host(h));
                let all = tls.hosts.is_empty()
                    && ingress.rules.iter().any(|r| canonical(&r.host) == host && is_host(&r.host));
                if let Some(secret) =
                    tls.secret.as_ref().filter(|s| (named || all) && !s.is_empty())
                {
                    names.push(Name::new(&ingress.meta.name.namespace, secret));
                }
            }
        }
        names
    }

    /// The Secrets that may have the default certificate.
    pub(super) fn default_certificates(&self) -> Vec<Name> {
        let data = self.config_map.map(|map| &map.data);
        let value = |key: &str| data.and_then(|data| data.get(key)).map(|value| value.trim());
        let is_name = |text: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            let word = |w: &str, most: usize| {
                let ends = w.starts_with(['-', '.']) || w.ends_with(['-', '.']);
                (1..=most).contains(&w.len()) && w.chars().all(plain) && !ends
            };
            text.split_once('/').is_some_and(|(ns, name)| word(ns, 63) && word(name, 253))
        };
        let mut values = [value("default-certificate"), value("ssl-certificate")].into_iter();
        let named = values.find_map(|value| value.filter(|text| is_name(text)));
        let named = named.and_then(|text| text.split_once('/'));
        let named = named.map(|(namespace, name)| Name::new(namespace, name));
        named.into_iter().chain(self.settings.default_certificate.clone()).collect()
    }

    /// The best claim, or the controller's default.
    fn choose(&self, claims: &[Claim<'_>], host: &str, path: &str) -> Answer {
        match best(claims, path) {
            Some(claim) => self.backend(host, Some(claim.ingress), claim.backend),
            None => self.fallback(host).unwrap_or(Answer::NotFound),
        }
    }

    /// What the controller's default backend answers: the ConfigMap's, if it says one that can be
    /// read, else the settings'.
    fn fallback(&self, host: &str) -> Option<Answer> {
        let value = self.config_map.and_then(|config| config.data.get("default-backend-service"));
        let named = value.and_then(|value| {
            let (namespace, rest) = value.trim().split_once('/')?;
            let (name, port) = match rest.split_once(':') {
                Some((name, port)) => (name, port.trim().parse().ok().filter(|port| *port > 0)?),
                None => (rest, 0),
            };
            let is_name = |text: &str| {
                let plain =
                    |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
                !text.is_empty() && text.len() < 254 && text.chars().all(plain)
            };
            (is_name(namespace) && is_name(name)).then(|| (Name::new(namespace, name), port))
        });
        let (name, port) = named.or_else(|| self.settings.default_backend.clone())?;
        let service = self.services.get(&name)?;
        let port: u16 = if port == 0 { service.ports.first()?.port } else { port };
        self.service(host, None, service, &PortRef::Number(port))
    }

    fn backend(&self, host: &str, ingress: Option<&Ingress>, backend: &BackendRef) -> Answer {
        let BackendRef::Service { name, port } = backend else { return Answer::Unavailable };
        let namespace = ingress.map_or("", |i| &*i.meta.name.namespace);
        let Some(service) = self.services.get(&Name::new(namespace, name)) else {
            return Answer::Unavailable;
        };
        self.service(host, ingress, service, port).unwrap_or(Answer::Unavailable)
    }

    /// `None` when the Service has no such port.
    fn service(
        &self,
        host: &str,
        ingress: Option<&Ingress>,
        service: &Service,
        port: &PortRef,
    ) -> Option<Answer> {
        if annotations::closes(self, host, ingress, service)
            && self.servers(service, port).is_some()
        {
            return Some(Answer::Unavailable);
        }
        self.servers(service, port)
    }

    /// The servers behind a port of a Service; `None` when it has no such port.
    fn servers(&self, service: &Service, port: &PortRef) -> Option<Answer> {
        let found = service.ports.iter().find(|p| match port {
            PortRef::Name(name) => p.name == *name,
            PortRef::Number(number) => p.port == *number,
        });
        let external = match &service.source {
            ServiceSource::ExternalName(_) if !self.settings.external_names => return None,
            ServiceSource::ExternalName(host) => Some(host),
            ServiceSource::Slices => None,
        };
        let (name, number) = match (found, port, external) {
            (Some(found), _, _) => (&*found.name, found.port),
            (None, PortRef::Number(number), Some(_)) => ("", *number),
            (None, _, _) => return None,
        };
        let servers = match external {
            Some(host) => {
                let addresses = self.resolved.get(&**host).into_iter().flatten();
                addresses.map(|ip| SocketAddr::new(*ip, number)).collect()
            }
            None => self.endpoints(&service.meta.name, name),
        };
        Some(if servers.is_empty() { Answer::Unavailable } else { Answer::Servers(servers) })
    }

    fn endpoints(&self, service: &Name, port: &str) -> BTreeSet<SocketAddr> {
        let (mut ready, mut leaving) = (BTreeSet::new(), BTreeSet::new());
        for slice in &self.slices {
            if slice.meta.name.namespace != service.namespace || slice.service != service.name {
                continue;
            }
            let ports = slice.ports.iter().filter(|p| *p.name == *port);
            for number in ports.filter_map(|p| p.port).filter(|n| *n != 0) {
                for endpoint in &slice.endpoints {
                    let address = endpoint.address;
                    if address.is_unspecified() || address.is_multicast() {
                        continue;
                    }
                    if endpoint.ready {
                        ready.insert(SocketAddr::new(address, number));
                    } else if endpoint.serving && endpoint.terminating {
                        leaving.insert(SocketAddr::new(address, number));
                    }
                }
            }
        }
        if ready.is_empty() { leaving } else { ready }
    }
}

/// Ports that tell TCP services apart.
pub const PORTS: &[u16] = &[20_000, 20_001, 20_002, 20_003, 5_432, 443];

/// Requests that tell routes apart.
pub const PROBES: &[(&str, &str)] = &[
    ("foo.com", "/"),
    ("foo.com", "/a"),
    ("foo.com", "/a/"),
    ("foo.com", "/a/b"),
    ("foo.com", "/a/b/c"),
    ("foo.com", "/ab"),
    ("foo.com", "/b"),
    ("FOO.com", "/zzz"),
    ("bar.foo.com", "/"),
    ("bar.foo.com", "/a"),
    ("bar.foo.com", "/a/b/"),
    ("q.foo.com", "/"),
    ("q.foo.com", "/a/b"),
    ("q.foo.com", "/%41"),
    ("q.bar.foo.com", "/a"),
    ("x.org", "/"),
    ("x.org", "/a"),
    ("x.org", "//a//b"),
    ("nobody.net", "/"),
    ("nobody.net", "/a"),
    ("nobody.net", "/ab/c"),
];
