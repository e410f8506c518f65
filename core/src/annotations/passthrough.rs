//! TLS passthrough: the pods end TLS themselves, and HAProxy looks at nothing but the SNI. What
//! that means for a host is decided in `crate::project::passthrough`.

use alloc::string::ToString;

use super::value;
use super::{Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Scopes};

/// The name under which the draft of a route holds it.
const VALUE: &str = "passthrough";

/// The family.
pub const FAMILY: Family = Family {
    title: "TLS passthrough",
    about: "TLS of a host ends at its pods: HAProxy chooses the Service by the SNI and passes every \
            byte on, so that clients see the pods' own certificate. [TCP services and TLS \
            passthrough](tcp-services.md) says what it costs and which keys still hold.",
    fields: &[],
    keys: &[Annotation {
        key: "tls-passthrough",
        haproxy: Some("ssl-passthrough"),
        scopes: Scopes::CI,
        syntax: "true or false",
        default: "false",
        about: "Passes TLS of the hosts of the Ingress through to the Service of their path `/`. \
                Other paths cannot be seen and are Problems. A host is either passed through or \
                not: the oldest Ingress that names it decides.",
        example: "true",
        mechanism: Mechanism::Record,
        on_error: OnError::Close,
        apply: Apply::Route(passthrough),
    }],
    finish: None,
    finish_route: None,
    rules: &[],
};

fn passthrough(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    if value::boolean(text)? {
        draft.values.insert(VALUE, "true".to_string());
    }
    Ok(())
}

/// Whether TLS is to be passed through.
#[must_use]
pub fn is_wanted(draft: &RouteDraft) -> bool {
    draft.values.contains_key(VALUE)
}
