//! How HAProxy speaks to pods: HTTP/1, HTTP/2, TLS with the pod's certificate verified and our own
//! presented.

use alloc::format;
use alloc::string::{String, ToString};

use super::secrets;
use super::value::{self, quoted};
use super::{
    Annotation, Apply, BackendDraft, Context, Family, Mechanism, OnError, Refusal, Scopes,
};
use crate::desired::ServerFile;
use crate::digest::Digest;

/// The family.
pub const FAMILY: Family = Family {
    title: "Protocol towards pods",
    about: "How HAProxy speaks to the pods. A certificate or authority that is asked for and cannot \
            be used closes the route (503): the pods must not be spoken to with less than was asked.",
    fields: &[],
    keys: &[
        Annotation {
            key: "server-protocol",
            haproxy: Some("server-proto"),
            scopes: Scopes::CIS,
            syntax: "h1 or h2",
            default: "h1, or h2 for a Service port with appProtocol kubernetes.io/h2c",
            about: "HTTP version towards the pods. `h2` without TLS is with prior knowledge.",
            example: "h2",
            mechanism: Mechanism::ServerKeyword,
            on_error: OnError::Default,
            apply: Apply::Backend(protocol),
        },
        Annotation {
            key: "server-tls",
            haproxy: Some("server-ssl"),
            scopes: Scopes::CIS,
            syntax: "true or false",
            default: "false, or true with `server-ca` or `server-certificate`",
            about: "TLS towards the pods. Without `server-ca` their certificates are not verified.",
            example: "true",
            mechanism: Mechanism::ServerKeyword,
            on_error: OnError::Close,
            apply: Apply::Backend(tls),
        },
        Annotation {
            key: "server-ca",
            haproxy: Some("server-ca"),
            scopes: Scopes::CIS,
            syntax: "name of a Secret with `ca.crt`; in the ConfigMap NAMESPACE/NAME",
            default: "none",
            about: "Authority that must have signed the pods' certificates.",
            example: "pods-ca",
            mechanism: Mechanism::ServerKeyword,
            on_error: OnError::Close,
            apply: Apply::Backend(authority),
        },
        Annotation {
            key: "server-certificate",
            haproxy: Some("server-crt"),
            scopes: Scopes::CIS,
            syntax: "name of a kubernetes.io/tls Secret; in the ConfigMap NAMESPACE/NAME",
            default: "none",
            about: "Certificate presented to the pods.",
            example: "client-cert",
            mechanism: Mechanism::ServerKeyword,
            on_error: OnError::Close,
            apply: Apply::Backend(certificate),
        },
        Annotation {
            key: "server-name",
            haproxy: None,
            scopes: Scopes::CIS,
            syntax: "host name",
            default: "none: no SNI, and the name in the certificate is not compared",
            about: "Name sent to the pods as SNI; with `server-ca` their certificates must carry it.",
            example: "app.internal",
            mechanism: Mechanism::ServerKeyword,
            on_error: OnError::Close,
            apply: Apply::Backend(name),
        },
        Annotation {
            key: "send-proxy-protocol",
            haproxy: Some("send-proxy-protocol"),
            scopes: Scopes::CIS,
            syntax: "proxy, proxy-v1, proxy-v2, proxy-v2-ssl or proxy-v2-ssl-cn",
            default: "none is sent",
            about: "Begins each connection to a pod with the PROXY protocol: the client's address \
                    in version 1 or 2, with -ssl whether and how it used TLS, with -cn also the \
                    common name in its certificate. The pods must expect it, health checks \
                    included. A connection then serves one client only.",
            example: "proxy-v2",
            mechanism: Mechanism::ServerKeyword,
            on_error: OnError::Default,
            apply: Apply::Backend(proxy),
        },
    ],
    finish: Some(finish),
    finish_route: None,
    rules: &[],
};

fn protocol(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    match text.trim() {
        version @ ("h1" | "h2") => {
            draft.values.insert("protocol", version.to_string());
            Ok(())
        }
        other => Err(Refusal::new(format!("{} is not a protocol", quoted(other)), "use h1 or h2")),
    }
}

fn tls(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("tls", value::boolean(text)?.to_string());
    Ok(())
}

fn proxy(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let keyword = match text.trim() {
        "proxy" | "proxy-v1" => "send-proxy",
        "proxy-v2" => "send-proxy-v2",
        "proxy-v2-ssl" => "send-proxy-v2-ssl",
        "proxy-v2-ssl-cn" => "send-proxy-v2-ssl-cn",
        other => {
            return Err(Refusal::new(
                format!("{} is not a version of the PROXY protocol", quoted(other)),
                "use proxy, proxy-v1, proxy-v2, proxy-v2-ssl or proxy-v2-ssl-cn",
            ));
        }
    };
    draft.values.insert("proxy", keyword.to_string());
    Ok(())
}

fn authority(
    text: &str,
    draft: &mut BackendDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    let facts = secrets::authority(text, context)?;
    draft.values.insert("ca", facts.digest.hex());
    draft.files.insert(ServerFile::Authority(facts.digest));
    Ok(())
}

fn certificate(
    text: &str,
    draft: &mut BackendDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    let facts = secrets::certificate(text, context)?;
    draft.values.insert("certificate", facts.digest.hex());
    draft.files.insert(ServerFile::ClientCertificate(facts.digest));
    Ok(())
}

fn name(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    match value::host_and_port(text)? {
        (host, None) => {
            draft.values.insert("name", host);
            Ok(())
        }
        (_, Some(_)) => {
            Err(Refusal::new(format!("{} has a port", quoted(text)), "write the name alone"))
        }
    }
}

/// Takes the Service port's `appProtocol` as the default protocol.
pub fn app_protocol(app_protocol: Option<&str>, draft: &mut BackendDraft) {
    let h2c = app_protocol == Some("kubernetes.io/h2c");
    if h2c && !draft.values.contains_key("protocol") && !is_tls(draft) {
        draft.keywords.push("proto h2".to_string());
    }
}

/// An authority or certificate asks for TLS whatever `server-tls` of a wider scope says.
fn is_tls(draft: &BackendDraft) -> bool {
    draft.values.get("tls").is_some_and(|t| t == "true")
        || draft.values.contains_key("ca")
        || draft.values.contains_key("certificate")
}

fn finish(draft: &mut BackendDraft) {
    if let Some(keyword) = draft.values.get("proxy") {
        // Checks with options of their own do not send it by themselves.
        let checks = if draft.values.contains_key("check") { " check-send-proxy" } else { "" };
        draft.keywords.push(format!("{keyword}{checks}"));
    }
    // Without HTTP there is no version of it.
    let h2 = !draft.stream && draft.values.get("protocol").is_some_and(|p| p == "h2");
    if !is_tls(draft) {
        draft.files.clear();
        if h2 {
            draft.keywords.push("proto h2".to_string());
        }
        return;
    }
    let mut keywords = String::from(match (draft.stream, h2) {
        (true, _) => "ssl",
        (false, true) => "ssl alpn h2",
        (false, false) => "ssl alpn http/1.1",
    });
    let file = |hex: &String, make: fn(Digest) -> ServerFile| {
        Digest::from_hex(hex).map(|digest| make(digest).file())
    };
    match draft.values.get("ca").and_then(|hex| file(hex, ServerFile::Authority)) {
        Some(ca) => keywords.push_str(&format!(" verify required ca-file {ca}")),
        None => keywords.push_str(" verify none"),
    }
    if let Some(crt) =
        draft.values.get("certificate").and_then(|hex| file(hex, ServerFile::ClientCertificate))
    {
        keywords.push_str(&format!(" crt {crt}"));
    }
    if let Some(name) = draft.values.get("name") {
        // The SNI is also the name that must be in the certificate.
        keywords.push_str(&format!(" sni str({name})"));
    } else if draft.plain_sni {
        // 3.4 would send the request's Host as SNI and verify against it.
        keywords.push_str(" no-sni-auto");
    }
    if draft.values.contains_key("check") {
        keywords.push_str(" check-ssl");
        if !draft.stream {
            let alpn = if h2 { "h2" } else { "http/1.1" };
            keywords.push_str(&format!(" check-alpn {alpn}"));
        }
        if let Some(name) = draft.values.get("name") {
            keywords.push_str(&format!(" check-sni {name}"));
        }
    }
    draft.keywords.push(keywords);
}
