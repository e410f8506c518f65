//! Snippets: lines of HAProxy's configuration. The rows for the reference; what becomes of the values
//! is in `world::snippets`, as HAProxy judges each before it joins.

use super::{Annotation, Apply, Family, Mechanism, OnError, Scopes};
use crate::snippet::Place;

/// The family.
pub const FAMILY: Family = Family {
    title: "Configuration snippets",
    about: "Lines of HAProxy's configuration, for what there is no key for. HAProxy judges each \
            snippet by itself, away from what serves, before it joins; a refused one is told with \
            its line and HAProxy's words, and the last good one of the same object stays. Ingresses \
            and Services may have them in the namespaces of `--snippet-namespaces` only. What may \
            stand in them and what they cost: docs/snippets.md.",
    fields: &[],
    keys: &[
        Annotation {
            key: Place::Global.key(),
            haproxy: Some(Place::Global.key()),
            scopes: Scopes::C,
            syntax: "lines",
            default: "none",
            about: "Lines of the section `global`. HAProxy reads its static sections at its start.",
            example: "tune.http.maxhdr 128",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Snippet(Place::Global),
        },
        Annotation {
            key: Place::Defaults.key(),
            haproxy: None,
            scopes: Scopes::C,
            syntax: "lines",
            default: "none",
            about: "Lines of the named defaults of the frontends. HAProxy reads its static sections at \
                    its start.",
            example: "option http-no-delay",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Snippet(Place::Defaults),
        },
        Annotation {
            key: Place::Frontend.key(),
            haproxy: Some(Place::Frontend.key()),
            scopes: Scopes::C,
            syntax: "lines",
            default: "none",
            about: "Lines of the frontend that serves HTTP and HTTPS. They run for every request, \
                    before its route is known. HAProxy reads its static sections at its start.",
            example: "http-request set-header X-Entry tidegate",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Snippet(Place::Frontend),
        },
        Annotation {
            key: Place::Stats.key(),
            haproxy: Some(Place::Stats.key()),
            scopes: Scopes::C,
            syntax: "lines",
            default: "none",
            about: "Lines of the frontend with HAProxy's health and metrics (`--stats-port`), for \
                    example its statistics page.",
            example: "stats uri /stats",
            mechanism: Mechanism::Skeleton,
            on_error: OnError::Default,
            apply: Apply::Snippet(Place::Stats),
        },
        Annotation {
            key: Place::Backend.key(),
            haproxy: Some(Place::Backend.key()),
            scopes: Scopes::CIS,
            syntax: "lines",
            default: "none",
            about: "Lines for the backends of the object, before tidegate's own rules. Those of the \
                    ConfigMap, the Ingress and the Service add up. The first use of the same lines \
                    costs a reload, as they are a named defaults section.",
            example: "http-response set-header X-Snippet yes",
            mechanism: Mechanism::Snippet,
            on_error: OnError::Close,
            apply: Apply::Snippet(Place::Backend),
        },
    ],
    finish: None,
    finish_route: None,
    rules: &[],
};
