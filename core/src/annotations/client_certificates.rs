//! Certificates of clients: who may use a route, by a certificate that an authority has signed.
//!
//! In the handshake HAProxy asks for a certificate where the crt-list line of the name says so
//! ([`crate::render::crt_list`]), and notes what was wrong with it instead of breaking off. The
//! rules here judge each request by that, so that a bad certificate gets an answer in HTTP. They
//! count only if the name of the handshake is the Host of the request, and if the connection is
//! younger than the present owner of the host's policy: only then is it known which authorities the
//! certificate was held to ([`crate::plan::clients`]). Not here: which line a host gets
//! ([`crate::project::client`]).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::resolve::Source;
use super::value::{self, quoted};
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, Registry, RouteDraft, Rule,
    RuleText, Scopes, Section, always, secrets,
};
use crate::capability::Capabilities;
use crate::desired::{ClientCheck, HostClients};
use crate::digest::Digest;
use crate::world::lookup::Lookup;
use crate::world::object::Ingress;

/// The key that asks for certificates.
pub const KEY: &str = "client-ca";
/// The key that limits the depth.
pub const DEPTH: &str = "client-verify-depth";

/// Longest URL of an error page, in bytes.
const URL_BYTES_MAX: usize = 1024;

/// The family.
pub const FAMILY: Family = Family {
    title: "Certificates of clients",
    about: "Who may use a route, by a certificate. A page of its own, \
            [client certificates](client-certificates.md), has an example, the headers that pods \
            get, what is answered when, and how authorities are rotated. As long as the \
            authorities cannot be used the routes answer 503.",
    // `cert`: R or O (required, optional), then D (signed directly), P (pass the certificate on).
    fields: &["cert", "cert-page", "cert-owner"],
    keys: &[
        Annotation {
            key: KEY,
            haproxy: Some("client-ca"),
            scopes: Scopes::CI,
            syntax: "name of a Secret with `ca.crt` (or `tls.crt`) and, if there is one, `ca.crl`; \
                     in the ConfigMap NAMESPACE/NAME",
            default: "none: no certificate is asked for",
            about: "Authorities one of which must have signed the client's certificate. Every \
                    certificate in a `ca.crl` that comes with them is refused. A route needs a \
                    host, and that host a certificate of its own, as the handshake goes by name. \
                    In the ConfigMap it holds for all routes.",
            example: "clients-ca",
            mechanism: Mechanism::Record,
            on_error: OnError::Close,
            apply: Apply::Route(authority),
        },
        Annotation {
            key: "client-certificate-optional",
            haproxy: Some("client-crt-optional"),
            scopes: Scopes::CI,
            syntax: "true or false",
            default: "false",
            about: "Serves clients without a certificate too; the pod is told by \
                    `SSL-Client-Verify: NONE`. A bad certificate is refused all the same.",
            example: "true",
            mechanism: Mechanism::Record,
            on_error: OnError::Close,
            apply: Apply::Route(optional),
        },
        Annotation {
            key: DEPTH,
            haproxy: None,
            scopes: Scopes::CI,
            syntax: "1 or any",
            default: "any",
            about: "With 1 a client may not send certificates between its own and those in \
                    `client-ca`. HAProxy has no other limit.",
            example: "1",
            mechanism: Mechanism::Record,
            on_error: OnError::Close,
            apply: Apply::Route(depth),
        },
        Annotation {
            key: "client-certificate-header",
            haproxy: None,
            scopes: Scopes::CI,
            syntax: "true or false",
            default: "false",
            about: "Passes the certificate itself to the pod, in `SSL-Client-Cert`: PEM, \
                    percent-encoded, without line breaks within.",
            example: "true",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(header),
        },
        Annotation {
            key: "client-error-redirect",
            haproxy: None,
            scopes: Scopes::CI,
            syntax: "URL with http:// or https://, or a path that begins with /",
            default: "none: status 496 without a certificate, 495 with a bad one",
            about: "Where clients are sent (302) that have no certificate or a bad one.",
            example: "https://help.example.com/certificates",
            mechanism: Mechanism::Record,
            on_error: OnError::Default,
            apply: Apply::Route(page),
        },
    ],
    finish: None,
    finish_route: Some(finish),
    rules: &[
        rule(
            "http-request return status 403 content-type text/plain string \
             \"needs https and a client certificate\\n\" if {on:cert} !{ ssl_fc } \
             { {f:cert} -m sub R } !{on:https}",
        ),
        rule("http-request set-var(txn.cn) {host} if {on:cert} { ssl_fc }"),
        rule(
            "http-request return status 421 content-type text/plain string \
             \"connect by the name of this host\\n\" if {on:cert} { ssl_fc } \
             !{ ssl_fc_sni,lower,rtrim(.),strcmp(txn.cn) eq 0 }",
        ),
        // Who the host's clients are held to, since when: the host's own word, else its wildcard's.
        rule(
            "http-request set-var(txn.ce) str(client:),concat(,txn.cn),map_str(maps/ledger.map) \
             if {on:cert} { ssl_fc }",
        ),
        rule(
            "http-request set-var(txn.cw) \
             \"var(txn.cn),regsub(^[^.]*,client:*),map_str(maps/ledger.map)\" if {on:cert} \
             { ssl_fc }",
        ),
        rule("http-request set-var(txn.cl) var(txn.ce),field(2,|) if {on:cert} { ssl_fc }"),
        rule(
            "http-request return status 421 content-type text/plain string \
             \"connect anew\\n\" if {on:cert} { ssl_fc } { var(txn.ce) -m found } \
             !{ var(txn.ce),field(1,|),sub(sess.ep) le 0 }",
        ),
        rule(
            "http-request return status 421 content-type text/plain string \
             \"connect anew\\n\" if {on:cert} { ssl_fc } !{ var(txn.cl) -m found } \
             !{ var(txn.cw),field(1,|),sub(sess.ep) le 0 }",
        ),
        rule(
            "http-request set-var(txn.cl) var(txn.cw),field(2,|) if {on:cert} { ssl_fc } \
             !{ var(txn.cl) -m found }",
        ),
        rule("http-request set-var(txn.co) {f:cert-owner} if {on:cert} { ssl_fc }"),
        rule(
            "http-request return status 421 content-type text/plain string \
             \"connect anew\\n\" if {on:cert} { ssl_fc } !{ var(txn.cl),strcmp(txn.co) eq 0 }",
        ),
        Rule {
            at: Section::Request,
            when: resumes_anything,
            text: RuleText::Line(
                "http-request return status 421 content-type text/plain string \
                 \"needs a full handshake\\n\" if {on:cert} { ssl_fc_is_resumed }",
            ),
        },
        rule(
            "http-request return status 421 content-type text/plain string \
             \"needs a full handshake\\n\" if {on:cert} { ssl_fc_is_resumed } \
             { {f:cert} -m sub D }",
        ),
        rule(
            "http-request set-var(txn.cv) int(496) if {on:cert} { ssl_fc } !{ ssl_c_used } \
             { {f:cert} -m sub R }",
        ),
        rule(
            "http-request set-var(txn.cv) int(495) if {on:cert} { ssl_c_used } \
             !{ ssl_c_verify 0 }",
        ),
        rule("http-request set-var(txn.cv) int(495) if {on:cert} { ssl_c_used } !{ ssl_c_err 0 }"),
        rule(
            "http-request set-var(txn.cv) int(495) if {on:cert} { ssl_c_used } \
             !{ ssl_c_ca_err 0 }",
        ),
        rule(
            "http-request set-var(txn.cv) int(495) if {on:cert} { ssl_c_used } \
             { {f:cert} -m sub D } { ssl_c_chain_der -m found }",
        ),
        rule(
            "http-request redirect location %[{f:cert-page}] code 302 if {on:cert-page} \
             { var(txn.cv) -m found }",
        ),
        rule(
            "http-request return status 496 content-type text/plain string \
             \"needs a client certificate\\n\" if { var(txn.cv) -m int 496 }",
        ),
        rule(
            "http-request return status 495 content-type text/plain string \
             \"the client certificate is not accepted\\n\" if { var(txn.cv) -m int 495 }",
        ),
        rule("http-request set-header SSL-Client-Verify NONE if {on:cert} !{ ssl_c_used }"),
        rule("http-request set-header SSL-Client-Verify SUCCESS if {on:cert} { ssl_c_used }"),
        rule(
            "http-request set-header SSL-Client-Subject-DN %[ssl_c_s_dn(,0,rfc2253)] if {on:cert} \
             { ssl_c_used }",
        ),
        rule(
            "http-request set-header SSL-Client-Issuer-DN %[ssl_c_i_dn(,0,rfc2253)] if {on:cert} \
             { ssl_c_used }",
        ),
        rule(
            "http-request set-header SSL-Client-Serial %[ssl_c_serial,hex] if {on:cert} \
             { ssl_c_used }",
        ),
        rule(
            "http-request set-header SSL-Client-Fingerprint %[ssl_c_der,sha2(256),hex,lower] \
             if {on:cert} { ssl_c_used }",
        ),
        rule(
            "http-request set-header SSL-Client-Cert \
             -----BEGIN%%20CERTIFICATE-----%%0A%[ssl_c_der,base64,url_enc]%%0A\
             -----END%%20CERTIFICATE-----%%0A if {on:cert} { ssl_c_used } { {f:cert} -m sub P }",
        ),
    ],
};

const fn rule(text: &'static str) -> Rule {
    Rule { at: Section::Request, when: always, text: RuleText::Line(text) }
}

/// Whether a TLS session may be resumed where other authorities count than where it began.
fn resumes_anything(capabilities: &Capabilities) -> bool {
    !capabilities.isolated_sessions
}

fn authority(
    text: &str,
    draft: &mut RouteDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    draft.clients = Some(clients(text, false, context)?);
    Ok(())
}

fn optional(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    note("client-optional", value::boolean(text)?, draft);
    Ok(())
}

fn depth(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let direct = is_direct(text)?;
    if let Some(clients) = &mut draft.clients {
        clients.check.direct = direct;
    }
    Ok(())
}

fn is_direct(text: &str) -> Result<bool, Refusal> {
    match text.trim() {
        "1" => Ok(true),
        "any" => Ok(false),
        other => Err(Refusal::new(
            format!("HAProxy cannot hold to depth {}", quoted(other)),
            "use 1, with the authorities that sign clients in client-ca, or any",
        )),
    }
}

fn header(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    note("client-header", value::boolean(text)?, draft);
    Ok(())
}

fn note(name: &'static str, holds: bool, draft: &mut RouteDraft) {
    if holds {
        draft.values.insert(name, "1".to_string());
    }
}

fn page(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let text = text.trim();
    let begins = text.starts_with("https://") || text.starts_with("http://");
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"|\"\\<>`".contains(&b));
    let local = text.starts_with('/') && !text.starts_with("//");
    if !(begins || local) || !plain || text.len() > URL_BYTES_MAX {
        return Err(Refusal::new(
            format!("{} is not a URL to redirect to", quoted(text)),
            "use a URL with http:// or https://, or a path that begins with /, percent-encoded",
        ));
    }
    draft.values.insert("client-page", text.to_string());
    Ok(())
}

fn finish(draft: &mut RouteDraft, _: &Capabilities) {
    let Some(HostClients { check, owner }) = draft.clients else { return };
    let has = |name| draft.values.contains_key(name);
    let mut letters = String::from(if has("client-optional") { "O" } else { "R" });
    if check.direct {
        letters.push('D');
    }
    if has("client-header") {
        letters.push('P');
    }
    draft.set("cert", letters);
    draft.set("cert-owner", owner.short());
    if let Some(page) = draft.values.get("client-page").cloned() {
        draft.set("cert-page", page);
    }
}

/// What the routes of an Ingress hold clients to, if it can be used: what [`RouteDraft::clients`]
/// comes to, without the other keys.
pub fn wanted(
    lookup: &mut Lookup<'_>,
    registry: &Registry,
    ingress: &Ingress,
) -> Option<HostClients> {
    let config = lookup.defaults();
    let mut sources = Vec::from([(Source::Ingress(&ingress.meta), &ingress.meta)]);
    sources.extend(config.map(|config| (Source::ConfigMap(config), &config.meta)));
    let value_of = |wanted: &str| {
        sources.iter().find_map(|(source, owner)| {
            let mut keys = source.keys(registry).into_iter();
            let is_it = |row| registry.row(row).is_some_and(|row| row.key == wanted);
            keys.find(|(row, _, _)| is_it(*row)).map(|(_, _, value)| (value, *owner))
        })
    };
    let (text, owner) = value_of(KEY)?;
    let direct = value_of(DEPTH).is_some_and(|(text, _)| is_direct(text) == Ok(true));
    // Told where the routes of the Ingress are made.
    let mut problems = Vec::new();
    clients(text, direct, &mut Context { lookup, owner, problems: &mut problems }).ok()
}

fn clients(
    text: &str,
    direct: bool,
    context: &mut Context<'_, '_>,
) -> Result<HostClients, Refusal> {
    let name = secrets::name(text, context)?;
    let facts = secrets::authority(text, context)?;
    let check = ClientCheck { authority: facts.digest, revokes: facts.revokes, direct };
    let owner = Digest::of_parts([name.namespace.as_bytes(), name.name.as_bytes()]);
    Ok(HostClients { check, owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_depth_that_haproxy_can_hold_to_is_taken() {
        assert_eq!(is_direct(" 1 "), Ok(true));
        assert_eq!(is_direct("any"), Ok(false));
        for bad in ["0", "2", "", "01", "-1"] {
            assert!(is_direct(bad).is_err(), "{bad}");
        }
    }
}
