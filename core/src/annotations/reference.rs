//! The annotation reference: the tables as Markdown. `docs/annotations.md` is this text; a test
//! keeps it current.

use alloc::format;
use alloc::string::String;

use super::{Annotation, FAMILIES, Mechanism, OnError, Scopes, client_certificates};

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut out = String::from(
        "# Annotation reference\n\n\
         <!-- Generated from core/src/annotations by `BLESS=1 cargo test`. Do not edit. -->\n\n\
         Every key may be written with the prefix `tidegate.io/`. Keys with a name in the column\n\
         `haproxy.org/` are understood under that name too, with the prefixes `haproxy.org/`,\n\
         `haproxy.com/` and `ingress.kubernetes.io/`, and, as in haproxytech's controller, without any\n\
         prefix; on one object our own spelling wins, and one without a prefix loses. In the data of\n\
         the controller's ConfigMap keys have no prefix; its own annotations count too, after its data.\n\n\
         Scopes: **C** ConfigMap, **I** Ingress, **S** Service. The narrower scope wins (Service,\n\
         then Ingress, then ConfigMap); values are never merged. A value that cannot be used is a\n\
         Problem on its object, and the wider scope's value or the default holds, unless the row\n\
         says that the route is closed: then it answers 503, since to serve it without the policy\n\
         would be worse.\n\n\
         A change reloads HAProxy only where the column *reloads* says so.\n",
    );
    for family in FAMILIES {
        out.push_str(&format!("\n## {}\n\n{}\n", family.title, family.about));
        for row in family.keys {
            out.push_str(&entry(row));
        }
    }
    out
}

fn entry(row: &Annotation) -> String {
    let scopes = match row.scopes {
        Scopes::C => "C",
        Scopes::CI => "C I",
        Scopes::CIS => "C I S",
        Scopes::I => "I",
        Scopes::S => "S",
    };
    let haproxy = row.haproxy.map_or("–".into(), |name| format!("`{name}`"));
    let on_error = match row.on_error {
        OnError::Default => "the wider scope's value or the default",
        OnError::Close => "the route answers 503",
    };
    let where_to = if row.scopes == Scopes::C {
        format!("data:\n  {}: {}\n", row.key, yaml(row.example))
    } else {
        format!("metadata:\n  annotations:\n    tidegate.io/{}: {}\n", row.key, yaml(row.example))
    };
    format!(
        "\n### `{}`\n\n{}\n\n\
         | haproxy.org/ | scopes | value | default | a bad value means | mechanism | reloads |\n\
         |---|---|---|---|---|---|---|\n\
         | {haproxy} | {scopes} | {} | {} | {on_error} | {} | {} |\n\n\
         ```yaml\n{where_to}```\n",
        row.key,
        row.about,
        row.syntax,
        row.default,
        mechanism(row.mechanism),
        reloads(row),
    )
}

fn mechanism(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Record => "record field",
        Mechanism::Map => "map",
        Mechanism::List => "list",
        Mechanism::Profile => "named profile",
        Mechanism::ServerKeyword => "server keyword",
        Mechanism::Skeleton => "static part",
        Mechanism::Nothing => "none",
        Mechanism::Snippet => "named profile of its own",
        Mechanism::Resource => "the keys that it says",
    }
}

/// When changing the key reloads, by the same facts that `plan/remedy.rs` decides on.
fn reloads(row: &Annotation) -> &'static str {
    match row.mechanism {
        Mechanism::Skeleton => "always: HAProxy cannot change it at run time",
        Mechanism::Nothing => "never",
        Mechanism::Resource => "as the keys that its fields say",
        Mechanism::Snippet => {
            "once for lines that nobody uses yet: HAProxy reads defaults at its start; after that as \
             other profiles"
        }
        Mechanism::Profile | Mechanism::ServerKeyword => {
            "never on 3.4; on 3.0 and 3.2 when the spare backends are used up; always on 2.6"
        }
        Mechanism::Record if row.key == "tls-passthrough" => {
            "for the first and the last host that uses it"
        }
        Mechanism::Record if row.key == client_certificates::KEY => {
            "never where HAProxy keeps TLS sessions apart (3.4.7, 3.2.26); elsewhere with the first \
             and after the last use, as sessions are not resumed in between"
        }
        Mechanism::Record if row.key == client_certificates::DEPTH => {
            "with the first and after the last use: a resumed session does not say the depth"
        }
        Mechanism::Record if row.key == "client-certificate-header" => "never",
        Mechanism::Record if row.key.ends_with("-header") => {
            "never on 3.4; before that for a header name not used yet"
        }
        Mechanism::Record | Mechanism::Map | Mechanism::List => "never",
    }
}

fn yaml(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
