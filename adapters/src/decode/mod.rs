//! Lenient decoding of Kubernetes objects into core's trimmed ones.
//!
//! In: any serde deserializer (JSON from an API server, YAML or JSON from a file). Out: a
//! [`Slim`] object (what we keep, whatever its kind), and from it core's
//! [`Object`](tidegate_core::world::object::Object). A field of the wrong shape is left out and
//! told in `Meta::notes`; only a missing `apiVersion`, `kind` or `metadata.name` makes an object
//! undecodable. Secret bytes go to the [`Vault`] and nowhere else. This module does not read
//! files or sockets and does not judge what an object means.

mod class;
mod config;
mod custom;
mod endpoints;
mod ingress;
mod lenient;
mod meta;
mod secret;
mod service;
mod status;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess};
use tidegate_core::world::custom::Api;
use tidegate_core::world::object::{
    Address, BackendRef, Endpoint, Ingress, Kind, Note, Object, ObjectRef, Rule, Service,
    ServicePort, SlicePort, Tls,
};

use crate::custom::Tree;
use crate::vault::Vault;
use lenient::{
    Context, Field, Got, KindHint, Lenient, Object as ObjectField, Record, Text, take, take_list,
};
use meta::{Pairs, SlimMeta};
use status::Status;

pub use meta::unix_seconds;
pub use secret::{AuthorityBundle, CertificateBundle, authority_bundle, certificate_bundle};

/// What became of a Kubernetes object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// One of ours.
    Object(Object),
    /// Another kind, which is none of our business.
    Foreign,
    /// One of ours that cannot be used at all.
    Refused(Refusal),
}

/// Why an object of ours cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The object, as far as it is known: the name may be empty.
    pub object: ObjectRef,
    /// What is wrong.
    pub what: String,
    /// How to fix it.
    pub fix: String,
}

/// Decodes one object of a kind known beforehand, such as an item of a typed list or the object
/// of a watch event.
///
/// # Errors
/// Those of the deserializer: the text is not what it claims to be.
pub fn object_from<'de, D: Deserializer<'de>>(
    kind: Kind,
    deserializer: D,
    vault: &Vault,
) -> Result<Decoded, D::Error> {
    Ok(SlimSeed(Some(kind)).deserialize(deserializer)?.finish(Some(kind), vault))
}

/// An object of any kind, or a list of objects: what we keep of it.
///
/// Decode with [`SlimSeed`] (or [`Deserialize`], when the kind is not known), then call
/// [`Slim::finish`]. May hold secret bytes until then, so it has no `Debug`.
#[derive(Default)]
pub struct Slim {
    api_version: Box<str>,
    kind: Box<str>,
    meta: SlimMeta,
    spec: Spec,
    status: Status,
    /// `spec` of a custom resource; `None` when it was read as another kind's.
    tree: Option<Tree>,
    /// Of a ConfigMap or Secret.
    data: Vec<(Box<str>, Box<str>)>,
    string_data: Vec<(Box<str>, Box<str>)>,
    /// Of an EndpointSlice.
    address_type: Option<Box<str>>,
    endpoints: Vec<(Endpoint, Option<Box<str>>)>,
    slice_ports: Vec<SlicePort>,
    /// Of a list.
    items: Vec<Slim>,
    notes: Vec<Note>,
    /// Neither an object nor a list.
    empty: bool,
}

/// Decodes a [`Slim`] whose kind may be known beforehand; unneeded fields are then skipped
/// without being stored.
#[derive(Clone, Copy, Debug)]
pub struct SlimSeed(pub Option<Kind>);

impl<'de> DeserializeSeed<'de> for SlimSeed {
    type Value = Slim;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Slim, D::Error> {
        let mut cx = Context::new(self.0);
        let field = ObjectField::<Slim>::of();
        let got = Lenient { cx: &mut cx, field }.deserialize(deserializer)?;
        let empty = || Slim { empty: true, ..Slim::default() };
        let mut slim = got.good().unwrap_or_else(empty);
        slim.notes = cx.notes;
        Ok(slim)
    }
}

impl<'de> Deserialize<'de> for Slim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Slim, D::Error> {
        SlimSeed(None).deserialize(deserializer)
    }
}

/// The `spec` of an Ingress, a Service or an IngressClass; their fields have different names.
#[derive(Default)]
struct Spec {
    class: Option<Box<str>>,
    default_backend: Option<BackendRef>,
    rules: Vec<Rule>,
    tls: Vec<Tls>,
    service_type: Option<Box<str>>,
    external_name: Option<Box<str>>,
    ports: Vec<ServicePort>,
    /// `externalIPs`, else `clusterIPs`, else `clusterIP`, of a Service.
    external_ips: Vec<Address>,
    cluster_ips: Vec<Address>,
    cluster_ip: Option<Address>,
    external_traffic: Option<Box<str>>,
    controller: Option<Box<str>>,
    /// Whether there is one.
    is_some: bool,
}

impl<'de> Record<'de> for Slim {
    const KEYS: &'static [&'static str] = &[
        "kind",
        "apiVersion",
        "metadata",
        "spec",
        "status",
        "endpoints",
        "ports",
        "addressType",
        "data",
        "stringData",
        "items",
    ];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        if cx.kind == KindHint::Foreign && !matches!(key, "kind" | "apiVersion") {
            map.next_value::<IgnoredAny>()?;
            return Ok(());
        }
        match key {
            "kind" => {
                self.kind = take(cx, map, Text)?.good().unwrap_or_default();
                let list = self.kind.ends_with("List");
                if cx.kind == KindHint::Unknown && !self.kind.is_empty() && !list {
                    let kind = kind_of(&self.kind, &self.api_version);
                    cx.kind = kind.map_or(KindHint::Foreign, KindHint::Ours);
                }
            }
            "apiVersion" => self.api_version = take(cx, map, Text)?.good().unwrap_or_default(),
            "metadata" => {
                self.meta = take(cx, map, ObjectField::of())?.good().unwrap_or_default();
            }
            "spec" if matches!(cx.kind, KindHint::Ours(Kind::Custom(..))) => {
                self.tree = take(cx, map, custom::Any)?.good();
            }
            "spec" => {
                self.spec = take(cx, map, ObjectField::of())?.good().unwrap_or_default();
                self.spec.is_some = true;
            }
            "status" => self.status = take(cx, map, ObjectField::of())?.good().unwrap_or_default(),
            "endpoints" => self.endpoints = take_list(cx, map, endpoints::EndpointField)?,
            "ports" => {
                let ports = take_list(cx, map, endpoints::SlicePortField)?;
                self.slice_ports = ports.into_iter().flatten().collect();
            }
            "addressType" => self.address_type = take(cx, map, Text)?.good(),
            "items" => self.items = take(cx, map, Items)?.good().unwrap_or_default(),
            _ => {
                let pairs = take(cx, map, Pairs(|_: &str| true))?.good().unwrap_or_default();
                match key {
                    "data" => self.data = pairs,
                    _ => self.string_data = pairs,
                }
            }
        }
        Ok(())
    }
}

impl<'de> Record<'de> for Spec {
    const KEYS: &'static [&'static str] = &[
        "ingressClassName",
        "defaultBackend",
        "rules",
        "tls",
        "type",
        "externalName",
        "ports",
        "externalIPs",
        "clusterIPs",
        "clusterIP",
        "externalTrafficPolicy",
        "controller",
    ];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "ingressClassName" => {
                self.class = match take(cx, map, Text)? {
                    Got::Good(class) => Some(class),
                    Got::Absent => None,
                    // No class at all would let the default class claim the Ingress.
                    Got::Bad => Some("".into()),
                };
            }
            "defaultBackend" => {
                self.default_backend = take(cx, map, ingress::BackendField)?.good();
            }
            "rules" => self.rules = take_list(cx, map, ingress::RuleField)?,
            "tls" => self.tls = take_list(cx, map, ingress::TlsField)?,
            "type" => self.service_type = take(cx, map, Text)?.good(),
            "externalName" => self.external_name = take(cx, map, Text)?.good(),
            "ports" => {
                let ports = take_list(cx, map, service::ServicePortField)?;
                self.ports = ports.into_iter().flatten().collect();
            }
            "externalIPs" => self.external_ips = take_list(cx, map, status::IpField)?,
            "clusterIPs" => self.cluster_ips = take_list(cx, map, status::IpOrNone)?,
            "clusterIP" => self.cluster_ip = take(cx, map, status::IpOrNone)?.good(),
            "externalTrafficPolicy" => self.external_traffic = take(cx, map, Text)?.good(),
            _ => self.controller = take(cx, map, Text)?.good(),
        }
        Ok(())
    }
}

/// `items` of a list: objects with notes of their own.
#[derive(Clone, Copy)]
struct Items;

impl<'de> Field<'de> for Items {
    type Out = Vec<Slim>;
    const EXPECTED: &'static str = "a list";
    fn list<A: serde::de::SeqAccess<'de>>(
        self,
        _: &mut Context,
        mut list: A,
    ) -> Result<Got<Vec<Slim>>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(SlimSeed(None))? {
            items.push(item);
        }
        Ok(Got::Good(items))
    }
}

impl Slim {
    /// Whether there is nothing in it: an empty document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// What it is, when it is one of haproxytech's custom resources, which are read by `migrate`
    /// only.
    #[must_use]
    pub fn haproxytech(&self) -> Option<String> {
        let theirs = HAPROXYTECH_GROUPS.iter().any(|group| self.api_version.starts_with(group));
        theirs.then(|| format!("{} of {}", self.kind, self.api_version))
    }

    /// `metadata.resourceVersion`, for a watch.
    #[must_use]
    pub fn resource_version(&self) -> Option<&str> {
        self.meta.resource_version.as_deref()
    }

    /// The kind, when it is one of ours in the version we read, or as good as known.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        kind_of(&self.kind, &self.api_version)
            .filter(|kind| *self.api_version == *api_version(*kind))
    }

    /// Splits a list (`kind: List`, `IngressList` and so on) into its items, lists in it too;
    /// anything else is its only item.
    #[must_use]
    pub fn into_items(self) -> Vec<Slim> {
        let Some(item_kind) = self.kind.strip_suffix("List") else {
            return vec![self];
        };
        let mut items = Vec::with_capacity(self.items.len());
        for mut item in self.items {
            if item.kind.is_empty() {
                item.kind = item_kind.into();
                item.api_version = self.api_version.clone();
            }
            items.extend(item.into_items());
        }
        items
    }

    /// Turns it into an object of core. `known` is its kind, when the source knows it from
    /// elsewhere; `kind` and `apiVersion` are then not looked at.
    #[must_use]
    pub fn finish(self, known: Option<Kind>, vault: &Vault) -> Decoded {
        let kind = match known {
            Some(kind) => kind,
            None => match self.own_kind() {
                Ok(Some(kind)) => kind,
                Ok(None) => return Decoded::Foreign,
                Err(refusal) => return Decoded::Refused(refusal),
            },
        };
        self.finish_as(kind, vault)
    }

    fn own_kind(&self) -> Result<Option<Kind>, Refusal> {
        let name = self.meta.name.as_deref().unwrap_or_default();
        let namespace = self.meta.namespace.as_deref().unwrap_or_default();
        let refuse = |kind: Kind, what: String, fix: &str| {
            let object = ObjectRef::new(kind, namespace, name);
            Err(Refusal { object, what, fix: fix.to_owned() })
        };
        if self.kind.is_empty() {
            // The kind of the reference is a guess: nothing says what this is.
            let (what, fix) = ("no kind", "add `apiVersion` and `kind`");
            return refuse(Kind::ConfigMap, what.to_owned(), fix);
        }
        let Some(kind) = kind_of(&self.kind, &self.api_version) else {
            return Ok(None);
        };
        if self.api_version.is_empty() {
            let fix = format!("write `apiVersion: {}`", api_version(kind));
            return refuse(kind, "no apiVersion".to_owned(), &fix);
        }
        if *self.api_version == *api_version(kind) {
            return Ok(Some(kind));
        }
        if is_obsolete(kind, &self.api_version) {
            let what = format!("{} is no longer served by Kubernetes", self.api_version);
            let fix = format!("write it as `apiVersion: {}`", api_version(kind));
            return refuse(kind, what, &fix);
        }
        Ok(None)
    }

    fn finish_as(self, kind: Kind, vault: &Vault) -> Decoded {
        let Slim {
            api_version: _,
            kind: _,
            meta: mut slim_meta,
            spec,
            status,
            tree,
            data,
            string_data,
            address_type,
            endpoints,
            slice_ports,
            items: _,
            notes,
            empty: _,
        } = self;
        let excluded = slim_meta.is_excluded_node();
        let (is_default, service) = (slim_meta.is_default_class(), slim_meta.service_name());
        let labels = slim_meta.take_labels();
        let namespace = slim_meta.namespace.clone().unwrap_or_default();
        let Some(meta) = slim_meta.finish(kind, notes) else {
            return Decoded::Refused(Refusal {
                object: ObjectRef::new(kind, &namespace, ""),
                what: "no metadata.name".to_owned(),
                fix: "give it a name".to_owned(),
            });
        };
        if matches!(kind, Kind::Custom(..)) && tree.is_none() && spec.is_some {
            return Decoded::Refused(Refusal {
                object: ObjectRef { kind, name: meta.name },
                what: "`spec` comes before `kind`".to_owned(),
                fix: "write `apiVersion` and `kind` first".to_owned(),
            });
        }
        Decoded::Object(match kind {
            Kind::Custom(part, api) => {
                let custom = custom::custom(meta, part, api, &tree.unwrap_or_default());
                Object::Custom(custom.into())
            }
            Kind::Namespace => Object::Namespace(class::namespace(meta, labels).into()),
            Kind::Node => Object::Node(status.node(meta, excluded).into()),
            Kind::ConfigMap => Object::ConfigMap(config::config_map(meta, data).into()),
            Kind::IngressClass => {
                let class = class::ingress_class(meta, spec.controller, is_default);
                Object::IngressClass(class.into())
            }
            Kind::Secret => Object::Secret(secret::secret(meta, &data, &string_data, vault).into()),
            Kind::Service => {
                let addresses =
                    status.service(spec.external_ips, spec.cluster_ips, spec.cluster_ip);
                let Spec { service_type, external_name, ports, external_traffic, .. } = spec;
                let local = external_traffic.as_deref() == Some("Local");
                let service = service::service(meta, service_type, external_name, ports, addresses);
                Object::Service(Service { local_traffic: local, ..service }.into())
            }
            Kind::EndpointSlice => Object::EndpointSlice(
                endpoints::endpoint_slice(meta, service, address_type, slice_ports, endpoints)
                    .into(),
            ),
            Kind::Ingress => {
                let Spec { class, default_backend, rules, tls, .. } = spec;
                let status = status.load_balancer;
                Object::Ingress(Ingress { meta, class, default_backend, rules, tls, status }.into())
            }
        })
    }
}

/// API groups of haproxytech's custom resources, with the slash after them.
pub const HAPROXYTECH_GROUPS: [&str; 3] =
    ["ingress.v1.haproxy.org/", "ingress.v3.haproxy.org/", "core.haproxy.org/"];

/// The kind of a name: of those that have it, the one of the API version.
fn kind_of(name: &str, version: &str) -> Option<Kind> {
    let mut named = Kind::ALL.into_iter().filter(|kind| kind.name() == name);
    let first = named.clone().next();
    named.find(|kind| api_version(*kind) == version).or(first)
}

/// The API version in which we read a kind.
#[must_use]
pub fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace | Kind::ConfigMap | Kind::Secret | Kind::Service | Kind::Node => "v1",
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::IngressClass | Kind::Ingress => "networking.k8s.io/v1",
        Kind::Custom(_, Api::V3) => "ingress.v3.haproxy.org/v3",
        Kind::Custom(_, Api::V1) => "ingress.v1.haproxy.org/v1",
    }
}

/// Whether a kind was once read in this version. Any other group is another kind of the same
/// name, such as Knative's `Service` and `Ingress`.
fn is_obsolete(kind: Kind, version: &str) -> bool {
    match kind {
        Kind::Ingress => version.starts_with("extensions/") || is_in("networking.k8s.io", version),
        Kind::IngressClass => is_in("networking.k8s.io", version),
        Kind::EndpointSlice => is_in("discovery.k8s.io", version),
        Kind::Namespace
        | Kind::ConfigMap
        | Kind::Secret
        | Kind::Service
        | Kind::Node
        | Kind::Custom(..) => false,
    }
}

fn is_in(group: &str, version: &str) -> bool {
    version.split('/').next() == Some(group)
}
