//! Basic authentication (RFC 7617): who may use a route, by name and password.
//!
//! HAProxy never sees a hash. The policy names the list of users by its keyed digest; who was
//! right is remembered in a table of HAProxy under a key of its own, and whoever is not remembered
//! is asked about by the action of [`crate::render::auth`], which asks tidegate. Anything but a
//! clear yes is 401 or 503. See `docs/decisions/0010-basic-auth.md`.
//!
//! Inputs: the keys, the facts of Secrets. Outputs: the field `auth` of the policy: the digest of
//! the list, a colon, the realm in base64. Not here: users, passwords, hashes.

use alloc::format;
use alloc::string::ToString;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::secrets::{name as secret_name, usable};
use super::value::quoted;
use super::{
    Annotation, Apply, Context, Family, Mechanism, OnError, Refusal, RouteDraft, Rule, RuleText,
    Scopes, Section,
};
use crate::capability::Capabilities;
use crate::digest::Digest;
use crate::problem::{Problem, Reason, Severity};
use crate::sabotage::{Mistake, is_planted};
use crate::world::object::{Kind, Name, ObjectRef};

/// The realm where none is set: haproxytech's.
const REALM: &str = "Protected Content";

/// Longest realm, in bytes.
const REALM_BYTES_MAX: usize = 256;

/// The family.
pub const FAMILY: Family = Family {
    title: "Basic authentication",
    about: "Asks for a name and a password (RFC 7617). The users are in a Secret: either each key is \
            a user and its value the hash, or the key `auth` holds lines `USER:HASH` as `htpasswd` \
            writes them. Hashes: bcrypt (`$2a$`, `$2b$`, `$2y$`, cost up to 14), sha512-crypt (`$6$`) \
            and sha256-crypt (`$5$`, up to 200,000 rounds), md5-crypt (`$1$`) and `$apr1$`. An entry \
            that cannot be used refuses that user, with a Problem on the Secret. Users and passwords \
            change without a reload, and what is no longer in the Secret is refused at once.\n\n\
            The routes are never served without it: while the Secret is missing, empty, without a \
            usable user or in a namespace that may not be used, they answer 503. So do requests of \
            users that HAProxy does not remember while tidegate is away ([operations](operations.md)). \
            Whoever is denied by an address list, over a rate limit, redirected or answered as a \
            preflight is not asked for a password. The pod gets the header `Authorization`.",
    fields: &["auth"],
    keys: &[
        Annotation {
            key: "auth-secret",
            haproxy: Some("auth-secret"),
            scopes: Scopes::CI,
            syntax: "name of a Secret of the same namespace, also as NAMESPACE/NAME; in the \
                     ConfigMap of any namespace",
            default: "none",
            about: "The Secret with the users. Its presence switches authentication on.",
            example: "users",
            mechanism: Mechanism::Record,
            on_error: OnError::Close,
            apply: Apply::Route(secret),
        },
        Annotation {
            key: "auth-type",
            haproxy: Some("auth-type"),
            scopes: Scopes::CI,
            syntax: "basic-auth, or basic",
            default: "basic-auth, with `auth-secret`",
            about: "How clients are asked. Without `auth-secret` the routes answer 503.",
            example: "basic-auth",
            mechanism: Mechanism::Record,
            on_error: OnError::Close,
            apply: Apply::Route(kind),
        },
        Annotation {
            key: "auth-realm",
            haproxy: Some("auth-realm"),
            scopes: Scopes::CI,
            syntax: "text of up to 256 bytes",
            default: "Protected Content",
            about: "What browsers show when they ask. On an Ingress without `auth-secret` the routes \
                    answer 503; in the ConfigMap it is the default realm and protects nothing.",
            example: "Staff only",
            mechanism: Mechanism::Record,
            on_error: OnError::Close,
            apply: Apply::Route(realm),
        },
    ],
    finish: None,
    finish_route: Some(finish),
    rules: &[
        rule(
            "http-request set-var(txn.av) str(no) if {on:auth} \
             !{ req.fhdr(authorization) -m beg -i basic }",
        ),
        rule("http-request set-var(txn.au) {f:auth} if {on:auth} !{ var(txn.au) -m found }"),
        rule(
            "http-request set-var(txn.av) str(yes) if {on:auth} !{ var(txn.av) -m found } \
             { req.fhdr(authorization),concat(:,txn.au),concat(:,proc.tidegate_auth),sha2(256),\
             in_table(tidegate-auth) -m bool }",
        ),
        rule(
            "http-request set-var(txn.ah) req.fhdr(authorization) \
             if {on:auth} !{ var(txn.av) -m found }",
        ),
        rule(
            "http-request set-var(txn.ap) {f:auth},concat(:,txn.ah) \
             if {on:auth} !{ var(txn.av) -m found }",
        ),
        rule("http-request lua.tidegate-auth if {on:auth} !{ var(txn.av) -m found }"),
        rule(
            "http-request track-sc1 \
             req.fhdr(authorization),concat(:,txn.au),concat(:,proc.tidegate_auth),sha2(256) table \
             tidegate-auth if {on:auth} { var(txn.av) -m str new }",
        ),
        rule(
            "http-request return status 401 content-type text/plain \
             string \"authentication required\\n\" \
             hdr www-authenticate \"Basic realm=\\\"%[{f:auth},field(2,:),b64dec]\\\", \
             charset=\\\"UTF-8\\\"\" if {on:auth} { var(txn.av) -m str no }",
        ),
        rule(
            "http-request return status 503 content-type text/plain string \"not available\\n\" \
             hdr retry-after 1 if {on:auth} !{ var(txn.av) -m str yes new }",
        ),
    ],
};

/// First letter of the id of a policy that is authentication and nothing else; those of others begin
/// with `p`. No other part of a route's record has a capital letter.
pub const ALONE: &str = "A";

/// As soon as the record is known: a route that uses no other family, and a user who is remembered,
/// need not even the policy. The record says which it is by its digest, and so is what the user is
/// remembered for; a route without `|` before its backend ends in the rule behind.
pub const EARLY: [&str; 2] = [
    "http-request set-var(txn.be) var(txn.be),field(2,|) if { var(txn.be) -m sub |A } \
     { req.fhdr(authorization),concat(:,txn.be),concat(:,proc.tidegate_auth),sha2(256),\
     in_table(tidegate-auth) -m bool }",
    "http-request allow if !{ var(txn.be) -m beg | } { var(txn.be) -m found }",
];

/// For everybody else: what the record was, before it gives way to the backend.
pub const KEPT: &str = "http-request set-var(txn.au) var(txn.be) if { var(txn.be) -m sub |A }";

const fn rule(text: &'static str) -> Rule {
    Rule { at: Section::Request, when: has_lua, text: RuleText::Line(text) }
}

fn has_lua(capabilities: &Capabilities) -> bool {
    capabilities.lua
}

fn secret(
    text: &str,
    draft: &mut RouteDraft,
    context: &mut Context<'_, '_>,
) -> Result<(), Refusal> {
    // Whatever is wrong is told once, here.
    draft.values.insert("auth-asked", "secret".to_string());
    match list(text, context) {
        Ok(digest) => {
            draft.values.insert("auth", digest.hex());
            Ok(())
        }
        Err(_) if is_planted(Mistake::OpenWithoutUsers) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

/// The digest of the list of users in a Secret.
fn list(text: &str, context: &mut Context<'_, '_>) -> Result<Digest, Refusal> {
    if !context.lookup.capabilities().lua {
        return Err(Refusal::new(
            "this HAProxy is built without Lua, which authentication needs",
            "use a HAProxy with Lua (USE_LUA=1), as distributions build it",
        ));
    }
    let name = secret_name(text, context)?;
    let secret = usable(context, &name)?;
    match &secret.users {
        Some(Ok(facts)) => {
            let refused = facts.refused.iter();
            context.problems.extend(refused.map(|(field, why)| user_refused(&name, field, why)));
            Ok(facts.digest)
        }
        Some(Err(why)) => Err(bad(&name, why)),
        None => Err(bad(&name, "it holds a certificate")),
    }
}

fn user_refused(name: &Name, field: &str, why: &str) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::Secret, name: name.clone() },
        field: field.into(),
        reason: Reason::Unusable,
        severity: Severity::Warning,
        what: format!("a user cannot be used: {why}"),
        instead: "that user is refused, the others are not affected".to_string(),
        fix: "write USER:HASH as htpasswd -B does".to_string(),
    }
}

fn bad(name: &Name, why: &str) -> Refusal {
    Refusal::new(
        format!("Secret {name} cannot be used: {why}"),
        "put lines USER:HASH under the key auth, or a key for each user with the hash as value",
    )
}

fn kind(text: &str, draft: &mut RouteDraft, _: &mut Context<'_, '_>) -> Result<(), Refusal> {
    if !matches!(text.trim(), "basic-auth" | "basic") {
        return Err(Refusal::new(
            format!("{} is no kind of authentication", quoted(text)),
            "write basic-auth",
        ));
    }
    needs_secret(draft)
}

fn realm(text: &str, draft: &mut RouteDraft, context: &mut Context<'_, '_>) -> Result<(), Refusal> {
    let realm = text.trim();
    let config_map = context.lookup.settings().config_map.as_ref();
    let operator = config_map == Some(&context.owner.name);
    if realm.len() <= REALM_BYTES_MAX && !realm.chars().any(char::is_control) {
        // A quoted-string of RFC 9110, section 5.6.4.
        let escaped = realm.replace('\\', "\\\\").replace('"', "\\\"");
        draft.values.insert("auth-realm", escaped);
        return if operator { Ok(()) } else { needs_secret(draft) };
    }
    let refusal = Refusal::new(
        format!("{} is no realm", quoted(text)),
        "write up to 256 bytes without line breaks and other control characters",
    );
    if !operator {
        return Err(refusal);
    }
    // Everybody's default realm protects nothing, and so closes nothing.
    context.problems.push(Problem {
        object: ObjectRef { kind: Kind::ConfigMap, name: context.owner.name.clone() },
        field: "data.auth-realm".into(),
        reason: Reason::BadValue,
        severity: Severity::Warning,
        what: refusal.what,
        instead: format!("the realm is {REALM}"),
        fix: refusal.fix,
    });
    Ok(())
}

/// Fails, once, where no Secret was named.
fn needs_secret(draft: &mut RouteDraft) -> Result<(), Refusal> {
    if draft.values.insert("auth-asked", "type".to_string()).is_some() {
        return Ok(());
    }
    Err(Refusal::new(
        "authentication is asked for, and no Secret with the users is named",
        "name one with auth-secret",
    ))
}

fn finish(draft: &mut RouteDraft, _: &Capabilities) {
    let Some(digest) = draft.values.get("auth") else { return };
    let realm = draft.values.get("auth-realm").map_or(REALM, |realm| realm);
    let field = format!("{digest}:{}", STANDARD.encode(realm));
    draft.set("auth", field);
}
