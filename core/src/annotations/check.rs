//! Active health checks, off unless asked for: readiness comes from Kubernetes, and every checked
//! server costs HAProxy a file descriptor.

use alloc::format;
use alloc::string::ToString;

use super::value::{self, quoted};
use super::{
    Annotation, Apply, BackendDraft, Context, Family, Mechanism, OnError, Refusal, Scopes,
};

/// The family.
pub const FAMILY: Family = Family {
    title: "Health checks",
    about: "Active checks by HAProxy, besides the readiness that Kubernetes reports. Off by \
            default: Kubernetes already probes, and every checked pod costs a file descriptor.",
    fields: &[],
    keys: &[
        Annotation {
            key: "check",
            haproxy: Some("check"),
            scopes: Scopes::CIS,
            syntax: "true or false",
            default: "false (haproxytech's controller: true)",
            about: "Whether HAProxy checks the pods itself: a TCP connection, or a request with \
                    `check-http`.",
            example: "true",
            mechanism: Mechanism::ServerKeyword,
            on_error: OnError::Default,
            apply: Apply::Backend(check),
        },
        Annotation {
            key: "check-http",
            haproxy: Some("check-http"),
            scopes: Scopes::CIS,
            syntax: "PATH, METHOD PATH, or METHOD PATH VERSION; GET, HEAD or OPTIONS",
            default: "none: a TCP connection",
            about: "The request of the check; any 2xx or 3xx answer is healthy. Needs `check`. The \
                    version is taken and ignored: checks speak HTTP/1.1.",
            example: "GET /healthz",
            mechanism: Mechanism::Map,
            on_error: OnError::Default,
            apply: Apply::Backend(http),
        },
        Annotation {
            key: "check-interval",
            haproxy: Some("check-interval"),
            scopes: Scopes::CIS,
            syntax: "duration",
            default: "2s",
            about: "Time between two checks of a pod.",
            example: "5s",
            mechanism: Mechanism::ServerKeyword,
            on_error: OnError::Default,
            apply: Apply::Backend(interval),
        },
    ],
    finish: Some(finish),
    finish_route: None,
    rules: &[],
};

fn check(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    if value::boolean(text)? {
        draft.values.insert("check", "".to_string());
    }
    Ok(())
}

fn http(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let mut words = text.split_ascii_whitespace();
    let (first, second, third) = (words.next(), words.next(), words.next());
    let (method, path) = match (first, second) {
        (Some(path), None) => ("OPTIONS", path),
        (Some(method), Some(path)) => (method, path),
        (None, _) => ("", ""),
    };
    let profile = match method {
        "GET" => "get",
        "HEAD" => "head",
        "OPTIONS" => "options",
        _ => "",
    };
    let version_fits = third.is_none_or(|v| v.starts_with("HTTP/1."));
    let path_fits = path.starts_with('/')
        && path.len() <= 1024
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b'|');
    if profile.is_empty() || !path_fits || !version_fits || words.next().is_some() {
        return Err(Refusal::new(
            format!("{} is not a health check request", quoted(text)),
            "write a path such as /healthz, or GET, HEAD or OPTIONS and a path",
        ));
    }
    draft.values.insert("check-profile", profile.to_string());
    draft.values.insert("check-path", path.to_string());
    Ok(())
}

fn interval(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.values.insert("check-interval", value::duration_ms(text)?.to_string());
    Ok(())
}

fn finish(draft: &mut BackendDraft) {
    if !draft.values.contains_key("check") {
        return;
    }
    let interval = draft.values.get("check-interval").map_or("2000", |ms| ms.as_str());
    draft.keywords.push(format!("check inter {interval}ms"));
    draft.check_profile = match draft.values.get("check-profile").map(|p| p.as_str()) {
        Some("get") => "get",
        Some("head") => "head",
        Some("options") => "options",
        Some(_) | None => return,
    };
    draft.check = draft.values.get("check-path").map(|path| path.as_str().into());
}
