//! Keys of haproxytech's controller that have no meaning here: known, so that nobody is told of a
//! typing mistake, and answered with what is so instead.

use super::value;
use super::{Annotation, Apply, Family, Inertness, Mechanism, OnError, Scopes};

/// The family.
pub const FAMILY: Family = Family {
    title: "Keys without a meaning here",
    about: "Keys of HAProxy Technologies' controller for which there is nothing to set. A value \
            that asks for what is so anyway is taken in silence, any other is told as a Problem \
            of severity info.",
    fields: &[],
    keys: &[
        row(
            "standalone-backend",
            Scopes::CIS,
            "true or false",
            "true",
            "A backend of its own for each Ingress and Service. Always so: values of one Ingress \
             never reach another one that names the same Service.",
            "true",
            standalone,
        ),
        row(
            "scale-server-slots",
            Scopes::CIS,
            "whole number",
            "none",
            "Number of servers made ahead. From HAProxy 3.0 on servers are made when they are \
             needed; on 2.6 slots grow by themselves. The old names `server-slots` and \
             `servers-increment` are known too.",
            "42",
            slots,
        ),
        row(
            "clean-certs",
            Scopes::C,
            "true or false",
            "true",
            "Whether certificates that nobody uses are removed. Always so.",
            "true",
            certificates,
        ),
        row(
            "http-keep-alive",
            Scopes::C,
            "true or false",
            "true",
            "Deprecated there. Connections are kept unless `http-connection-mode` says otherwise.",
            "true",
            keep_alive,
        ),
        row(
            "default-backend-port",
            Scopes::C,
            "port number",
            "none",
            "Port of a web server inside that controller. Here HAProxy itself answers 404.",
            "6061",
            local_port,
        ),
        row(
            "ingress.class",
            Scopes::CI,
            "class name",
            "none",
            "Class of an Ingress in releases of that controller before 3.2. It counts when neither \
             `spec.ingressClassName` nor `kubernetes.io/ingress.class` names one.",
            "tidegate",
            class,
        ),
        row(
            "prometheus-endpoint-auth-secret",
            Scopes::C,
            "NAMESPACE/NAME of a Secret",
            "none",
            "Password of that controller's metrics. There is none here: metrics are at the admin \
             address (`--admin-bind`), on the machine itself by default. Keep it from others by a \
             NetworkPolicy.",
            "default/metrics",
            metrics,
        ),
    ],
    finish: None,
    finish_route: None,
    rules: &[],
};

const fn row(
    key: &'static str,
    scopes: Scopes,
    syntax: &'static str,
    default: &'static str,
    about: &'static str,
    example: &'static str,
    apply: fn(&str) -> Option<Inertness>,
) -> Annotation {
    Annotation {
        key,
        haproxy: Some(key),
        scopes,
        syntax,
        default,
        about,
        example,
        mechanism: Mechanism::Nothing,
        on_error: OnError::Default,
        apply: Apply::Inert(apply),
    }
}

fn standalone(text: &str) -> Option<Inertness> {
    (value::boolean(text) != Ok(true))
        .then_some(known("each Ingress has backends of its own, whatever this says"))
}

fn slots(_: &str) -> Option<Inertness> {
    Some(known("there are as many servers as endpoints, and no slots to be made ahead"))
}

fn certificates(text: &str) -> Option<Inertness> {
    (value::boolean(text) != Ok(true))
        .then_some(known("certificates that nobody uses are removed, whatever this says"))
}

fn keep_alive(text: &str) -> Option<Inertness> {
    (value::boolean(text) != Ok(true))
        .then_some(known("HAProxy keeps connections; http-connection-mode is what changes that"))
}

fn local_port(_: &str) -> Option<Inertness> {
    Some(known("no web server runs inside the controller; HAProxy answers 404 by itself"))
}

fn class(_: &str) -> Option<Inertness> {
    None
}

fn metrics(_: &str) -> Option<Inertness> {
    Some(lacking("metrics are served without a password, at the admin address"))
}

const fn known(why: &'static str) -> Inertness {
    Inertness { lacks: false, why }
}

const fn lacking(why: &'static str) -> Inertness {
    Inertness { lacks: true, why }
}
