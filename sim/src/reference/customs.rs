//! Custom resources of haproxytech's controller: a second, naive reading of who names which, what
//! they say behind the object that names them, and whether one closes it.

use tidegate_core::world::custom::{Api, Custom, Part, Weight};
use tidegate_core::world::object::{ConfigMap, Meta, Name};

use super::annotations::Found;
use super::routing::Facts;

/// The key of each part in the ConfigMap, from narrow to wide.
const CONFIG_KEYS: [(&str, Part); 6] = [
    ("cr-backend", Part::Backend),
    ("cr-frontend-stats", Part::Frontend),
    ("cr-frontend-https", Part::Frontend),
    ("cr-frontend-http", Part::Frontend),
    ("cr-defaults", Part::Defaults),
    ("cr-global", Part::Global),
];

/// The resource of a name, in the newest version.
fn find<'a>(facts: &Facts<'a>, part: Part, name: &Name) -> Option<&'a Custom> {
    let of = |api| {
        let mut all = facts.customs.iter().copied();
        all.find(|c| c.part == part && c.api == api && c.meta.name == *name)
    };
    of(Api::V3).or_else(|| of(Api::V1))
}

fn name(value: &str, own: &str) -> Name {
    let value = value.trim();
    let (namespace, name) = value.split_once('/').unwrap_or((own, value));
    Name::new(namespace, name)
}

/// The Backend that an Ingress or a Service names.
fn of_object<'a>(facts: &Facts<'a>, meta: &Meta) -> Option<&'a Custom> {
    let prefixes = ["tidegate.io/", "haproxy.org/", "haproxy.com/", "ingress.kubernetes.io/"];
    let value = prefixes.iter().find_map(|p| meta.annotation(&format!("{p}cr-backend")))?;
    let name = name(value, &meta.name.namespace);
    (name.namespace == meta.name.namespace).then(|| find(facts, Part::Backend, &name))?
}

/// The resources that the ConfigMap names, from narrow to wide, with the key of each.
fn of_config<'a>(facts: &Facts<'a>, config: &ConfigMap) -> Vec<(&'static str, &'a Custom)> {
    let found = CONFIG_KEYS.iter().filter_map(|(key, part)| {
        let name = name(config.data.get(*key)?, &config.meta.name.namespace);
        Some((*key, find(facts, *part, &name)?))
    });
    found.collect()
}

fn said<'a>(custom: &'a Custom, keys: &(&str, &str)) -> Option<&'a str> {
    let said = custom.said.iter().find(|said| *said.key == *keys.0 || *said.key == *keys.1);
    said.map(|said| &*said.value)
}

/// What the resource says that an Ingress or a Service names.
pub(super) fn written<'a>(
    facts: &Facts<'a>,
    meta: &'a Meta,
    keys: &(&str, &str),
) -> Option<Found<'a>> {
    let value = said(of_object(facts, meta)?, keys)?;
    Some(Found { value, namespace: &meta.name.namespace, operator: false })
}

/// What the resources say that the ConfigMap names.
pub(super) fn configured<'a>(facts: &Facts<'a>, keys: &(&str, &str)) -> Vec<Found<'a>> {
    let Some(config) = facts.config_map else { return Vec::new() };
    let namespace = &*config.meta.name.namespace;
    let all = of_config(facts, config).into_iter().filter_map(|(_, custom)| said(custom, keys));
    all.map(|value| Found { value, namespace, operator: true }).collect()
}

/// Whether a resource that one of these names must not be gone without.
pub(super) fn closes(facts: &Facts<'_>, objects: &[&Meta]) -> bool {
    let protects =
        |custom: &Custom| custom.unsaid.iter().any(|unsaid| unsaid.weight == Weight::Protects);
    let of_objects = objects.iter().filter_map(|meta| of_object(facts, meta));
    let of_config = facts.config_map.map(|config| of_config(facts, config)).unwrap_or_default();
    let of_config = of_config.into_iter().filter(|(key, _)| *key != "cr-frontend-stats");
    of_objects.chain(of_config.map(|(_, custom)| custom)).any(protects)
}

/// The entry for a port, from the oldest TCP resource of our class.
pub(super) fn tcp<'a>(
    facts: &Facts<'a>,
    class: &str,
    classless: bool,
    port: &str,
) -> Option<&'a str> {
    let is_ours = |custom: &&Custom| match custom.meta.annotation("ingress.class") {
        Some(named) => named == class,
        None => classless,
    };
    let mut all: Vec<&Custom> =
        facts.customs.iter().copied().filter(|c| c.part == Part::Tcp).filter(is_ours).collect();
    all.sort_by_key(|custom| (custom.meta.created, custom.meta.name.clone(), custom.api));
    let mut said = all.into_iter().flat_map(|custom| &custom.said);
    said.find(|said| *said.key == *port).map(|said| &*said.value)
}
