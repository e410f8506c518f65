//! What belongs to no host: the controller's ConfigMap, the default certificate, the problems of
//! the source.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::{Piece, object};
use crate::annotations::resolve::{Source, refused};
use crate::annotations::{Apply, Registry};
use crate::capability::Capabilities;
use crate::desired::Contribution;
use crate::problem::{Problem, Reason, Severity};
use crate::world::World;
use crate::world::lookup::Lookup;
use crate::world::object::{Kind, Name, ObjectRef};

/// The global piece.
pub fn project(lookup: &mut Lookup<'_>, registry: &Registry, source: &[Problem]) -> Piece {
    let mut piece = Piece { problems: source.to_vec(), ..Piece::default() };
    if let Some(config) = lookup.config_map() {
        let reference = ObjectRef { kind: Kind::ConfigMap, name: config.meta.name.clone() };
        for key in config.data.keys() {
            if registry.find_config(key).is_none() {
                let field = format!("data.{key}");
                piece.problems.push(object::unknown(&reference, field, key, registry));
            }
        }
        let source = Source::ConfigMap(config);
        for (row, key, value) in source.keys(registry) {
            let Some(annotation) = registry.row(row) else { continue };
            if let Apply::Skeleton(apply) = annotation.apply
                && let Err(refusal) = apply(value)
            {
                piece.problems.push(refused(&source, key, annotation, &refusal));
            }
        }
    }
    default_certificate(lookup, &mut piece);
    piece
}

fn default_certificate(lookup: &mut Lookup<'_>, piece: &mut Piece) {
    let Some(name) = lookup.settings().default_certificate.clone() else { return };
    let reference = ObjectRef { kind: Kind::Secret, name: name.clone() };
    let withheld = lookup.quarantined(&reference).map(ToString::to_string);
    let what = match (withheld, lookup.secret(&name).map(|secret| &secret.certificate)) {
        (Some(why), _) => format!("HAProxy refused it: {why}"),
        (None, Some(Some(Ok(facts)))) => {
            piece.contributions.push(Contribution::DefaultCertificate(facts.digest));
            return;
        }
        (None, Some(Some(Err(why)))) => why.to_string(),
        (None, Some(None)) => "it has neither tls.crt nor tls.key".to_string(),
        (None, None) => "it does not exist".to_string(),
    };
    piece.problems.push(Problem {
        object: reference,
        field: "".into(),
        reason: Reason::Unusable,
        severity: Severity::Error,
        what: format!("the default certificate cannot be used: {what}"),
        instead: "a self-signed certificate is the default".to_string(),
        fix: "put a certificate chain into tls.crt and its private key into tls.key".to_string(),
    });
}

/// The Problem of more checked servers than descriptors for them. Half of what HAProxy may open is
/// left to connections. Checks are then off for all: which ones to drop would be arbitrary, and a
/// start that fails serves nobody.
#[must_use]
pub fn too_many_checks(
    capabilities: &Capabilities,
    checked: u64,
    world: &World,
) -> Option<Problem> {
    let budget = capabilities.descriptors / 2;
    if capabilities.descriptors == 0 || checked <= budget {
        return None;
    }
    let config = world.settings().config_map.clone();
    Some(Problem {
        object: ObjectRef {
            kind: Kind::ConfigMap,
            name: config.unwrap_or_else(|| Name::new("", "tidegate")),
        },
        field: "data.check".into(),
        reason: Reason::LimitExceeded,
        severity: Severity::Warning,
        what: format!(
            "{checked} servers ask for active checks, and HAProxy may open {} descriptors",
            capabilities.descriptors
        ),
        instead: "active checks are off; readiness comes from Kubernetes alone".to_string(),
        fix: format!("ask for at most {budget} checked servers, or raise HAProxy's limit"),
    })
}

/// Options of the static part from the ConfigMap: directive to encoded value. Values that cannot
/// be used are left out here and told by [`project`].
pub fn options(lookup: &mut Lookup<'_>, registry: &Registry) -> BTreeMap<Box<str>, Box<str>> {
    let mut options = BTreeMap::new();
    let Some(config) = lookup.config_map() else { return options };
    let mut keys: Vec<_> = Source::ConfigMap(config).keys(registry);
    keys.reverse();
    for (row, _, value) in keys {
        let Some(annotation) = registry.row(row) else { continue };
        if let Apply::Skeleton(apply) = annotation.apply
            && let Ok((directive, value)) = apply(value)
        {
            options.insert(directive.into(), value.as_str().into());
        }
    }
    options
}
