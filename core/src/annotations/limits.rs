//! Connection limits of pods.

use alloc::format;

use super::value;
use super::{
    Annotation, Apply, BackendDraft, Context, Family, Mechanism, OnError, Refusal, Scopes,
};

/// The family.
pub const FAMILY: Family = Family {
    title: "Connection limits",
    about: "How much a pod gets at once. What is over the limit waits in HAProxy's queue up to \
            `timeout-queue`. The limits hold per tidegate replica and pod, and are not divided by \
            the number of replicas.",
    fields: &[],
    keys: &[
        Annotation {
            key: "pod-maxconn",
            haproxy: Some("pod-maxconn"),
            scopes: Scopes::CIS,
            syntax: "whole number from 1 to 1000000",
            default: "no limit",
            about: "Concurrent requests to one pod.",
            example: "50",
            mechanism: Mechanism::ServerKeyword,
            on_error: OnError::Default,
            apply: Apply::Backend(maxconn),
        },
        Annotation {
            key: "pod-maxqueue",
            haproxy: None,
            scopes: Scopes::CIS,
            syntax: "whole number from 1 to 1000000",
            default: "no limit",
            about: "Requests waiting for one pod; one more goes to another pod.",
            example: "200",
            mechanism: Mechanism::ServerKeyword,
            on_error: OnError::Default,
            apply: Apply::Backend(maxqueue),
        },
    ],
    finish: None,
    finish_route: None,
    rules: &[],
};

fn maxconn(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.keywords.push(format!("maxconn {}", value::integer(text, 1, 1_000_000)?));
    Ok(())
}

fn maxqueue(text: &str, draft: &mut BackendDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    draft.keywords.push(format!("maxqueue {}", value::integer(text, 1, 1_000_000)?));
    Ok(())
}
