//! Values of other controllers' keys in our words.
//!
//! Inputs: how a value is carried over (from the table of the dialect), the value, the object's
//! other keys. Outputs: keys under `tidegate.io/` with their values, or why a human is needed.
//! Whether the values can be used is decided by the parsers of the annotations, not here.

use std::collections::BTreeMap;

use tidegate_core::annotations::dialect::{Carry, Entry, Target};

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// These keys, without prefix, say it.
    Pairs(Vec<(String, String)>),
    /// Nothing need be written: it is what holds anyway, or another key of the object says it.
    Silent(String),
    /// A human has to write it.
    ByHand(String),
}

/// Carries the value of a key over. `others` are the object's keys of the same dialect, without
/// prefix; `namespace` is the object's own.
#[must_use]
pub fn carry(
    entry: &Entry,
    value: &str,
    others: &BTreeMap<&str, &str>,
    namespace: &str,
) -> Carried {
    let Target::Key(key) = entry.target else {
        return Carried::ByHand(String::new());
    };
    let one = |value: &str| Carried::Pairs(vec![(key.to_owned(), value.to_owned())]);
    let pairs = |pairs: &[(&str, &str)]| {
        Carried::Pairs(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    };
    let by_hand = |why: &str| Carried::ByHand(why.to_owned());
    let value = if entry.carry == Carry::AsIs { value } else { value.trim() };
    match entry.carry {
        Carry::AsIs => one(value),
        Carry::ByHand => by_hand("the value has to be written anew"),
        Carry::Seconds => match value.parse::<u64>() {
            Ok(seconds) => one(&format!("{seconds}s")),
            Err(_) => one(value),
        },
        Carry::Networks if value.contains('!') => by_hand("exceptions (`!x`) have no counterpart"),
        Carry::Networks => one(value),
        Carry::OneWord if value.split_whitespace().count() != 1 => by_hand("more than one word"),
        Carry::OneWord => one(value),
        Carry::Enabled => match value {
            "enabled" | "true" => one("true"),
            "disabled" | "false" => one("false"),
            _ => by_hand("neither `enabled` nor `disabled`"),
        },
        Carry::Headers => headers(key, value),
        Carry::Lines => one(&value.split(',').map(str::trim).collect::<Vec<_>>().join("\n")),
        Carry::Host if value.contains(['$', '%']) => by_hand("variables have no counterpart"),
        Carry::Host if value.contains(char::is_whitespace) => by_hand("not the name of a host"),
        Carry::Host => one(value),
        Carry::PrefixHeader if value.contains('$') => by_hand("variables have no counterpart"),
        Carry::PrefixHeader => one(&format!("X-Forwarded-Prefix {value}")),
        Carry::Cookie => cookie(key, entry.key, value, others),
        Carry::Protocol => match &*value.to_ascii_lowercase() {
            "http" | "h1" | "" => Carried::Silent("it is the default".to_owned()),
            "https" | "h1-ssl" => pairs(&[("server-tls", "true")]),
            "grpc" | "h2" => pairs(&[("server-protocol", "h2")]),
            "grpcs" | "h2-ssl" => pairs(&[("server-protocol", "h2"), ("server-tls", "true")]),
            _ => by_hand("this protocol has no counterpart"),
        },
        Carry::Url(code) => url(key, value, code, others),
        Carry::Rate(seconds, code) => {
            let period = if seconds == 1 { "1s" } else { "1m" };
            let code = code.to_string();
            pairs(&[(key, value), ("rate-limit-period", period), ("rate-limit-status-code", &code)])
        }
        Carry::Balance => match value {
            "round_robin" => one("roundrobin"),
            _ => by_hand("this algorithm has no counterpart; `leastconn` is the nearest to ewma"),
        },
        Carry::Hash => hash(key, value),
        Carry::Secret => match value.split_once('/') {
            Some((its, name)) if its == namespace => one(name),
            Some(_) => by_hand("the Secret has to be in the namespace of the object"),
            None => one(value),
        },
        Carry::Redirect(code) if value == "true" => {
            pairs(&[(key, value), ("ssl-redirect-code", &code.to_string())])
        }
        Carry::Redirect(_) => one(value),
        // Those of custom resources that are no texts: `custom::rules`.
        Carry::So | Carry::Unless(_) => by_hand("it has no counterpart"),
        Carry::Algorithm | Carry::CheckRequest | Carry::RequestRules | Carry::ResponseRules => {
            by_hand("the value has to be written anew")
        }
    }
}

/// `Name: value` lines as `Name value` lines.
fn headers(key: &str, value: &str) -> Carried {
    let mut lines = Vec::new();
    for line in value.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':').or_else(|| line.split_once(' ')) else {
            return Carried::ByHand(format!("`{line}` is not `Name: value`"));
        };
        if value.contains("%[") {
            return Carried::ByHand("variables have no counterpart".to_owned());
        }
        lines.push(format!("{} {}", name.trim(), value.trim()));
    }
    Carried::Pairs(vec![(key.to_owned(), lines.join("\n"))])
}

/// `affinity` says whether, `session-cookie-name` says which.
fn cookie(target: &str, key: &str, value: &str, others: &BTreeMap<&str, &str>) -> Carried {
    let name = others.get("session-cookie-name").copied();
    match (key, name, others.get("affinity").copied()) {
        ("affinity", Some(_), _) if value == "cookie" => {
            Carried::Silent("`session-cookie-name` says it".to_owned())
        }
        ("affinity", None, _) if value == "cookie" => {
            Carried::Pairs(vec![(target.to_owned(), "INGRESSCOOKIE".to_owned())])
        }
        ("affinity", ..) => Carried::ByHand("only `cookie` has a counterpart".to_owned()),
        (_, _, Some("cookie")) => Carried::Pairs(vec![(target.to_owned(), value.to_owned())]),
        _ => Carried::Silent("without `affinity` it means nothing".to_owned()),
    }
}

/// A URL that is a scheme and a host only is a host to redirect to.
fn url(key: &str, value: &str, code: u16, others: &BTreeMap<&str, &str>) -> Carried {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    let host = rest.unwrap_or(value);
    if host.is_empty() || host.contains(['/', '$', '%', '?', '#']) {
        return Carried::ByHand("a URL with a path is the same for all requests there".to_owned());
    }
    // There the path is dropped, here it is kept: the host alone says the same for `/` only.
    let mut pairs = vec![(key.to_owned(), value.to_owned())];
    let coded = ["permanent-redirect-code", "temporal-redirect-code", "redirect-to-code"];
    if !coded.iter().any(|key| others.contains_key(key)) {
        pairs.push(("request-redirect-code".to_owned(), code.to_string()));
    }
    Carried::Pairs(pairs)
}

/// nginx's variables that HAProxy hashes by.
fn hash(key: &str, value: &str) -> Carried {
    let by = match value.trim_start_matches('$').trim_matches(['{', '}']) {
        "remote_addr" | "binary_remote_addr" => "source".to_owned(),
        "request_uri" | "uri" => "uri".to_owned(),
        name => match (name.strip_prefix("http_"), name.strip_prefix("arg_")) {
            (Some(header), _) => format!("hdr({})", header.replace('_', "-")),
            (None, Some(argument)) => format!("url_param({argument})"),
            (None, None) => {
                return Carried::ByHand("this variable has no counterpart".to_owned());
            }
        },
    };
    Carried::Pairs(vec![(key.to_owned(), by)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(
        dialect: tidegate_core::annotations::dialect::Dialect,
        keys: &[(&str, &str)],
    ) -> String {
        let table = dialect.table();
        let others: BTreeMap<&str, &str> = keys.iter().copied().collect();
        let one = |(key, value): &(&str, &str)| match carry(
            table.get(key).unwrap(),
            value,
            &others,
            "shop",
        ) {
            Carried::Pairs(pairs) => {
                pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
            }
            Carried::Silent(_) => "silent".to_owned(),
            Carried::ByHand(_) => "by hand".to_owned(),
        };
        keys.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn values_of_ingress_nginx_are_carried_over() {
        use tidegate_core::annotations::dialect::Dialect::IngressNginx;
        for (keys, wanted) in [
            (&[("proxy-read-timeout", "60")][..], "timeout-server=60s"),
            (&[("backend-protocol", "HTTP")], "silent"),
            (&[("backend-protocol", "GRPCS")], "server-protocol=h2 server-tls=true"),
            (&[("backend-protocol", "FCGI")], "by hand"),
            (&[("affinity", "cookie")], "cookie-persistence=INGRESSCOOKIE"),
            (
                &[("affinity", "cookie"), ("session-cookie-name", "x")],
                "silent; cookie-persistence=x",
            ),
            (&[("session-cookie-name", "x")], "silent"),
            (&[("upstream-hash-by", "$http_x_user")], "load-balance=hdr(x-user)"),
            (&[("upstream-hash-by", "$host$uri")], "by hand"),
            (&[("permanent-redirect", "https://b.test/x")], "by hand"),
            (&[("ssl-redirect", "true")], "ssl-redirect=true ssl-redirect-code=308"),
            (&[("ssl-redirect", "false")], "ssl-redirect=false"),
            (&[("upstream-vhost", "a.internal")], "set-host=a.internal"),
            (&[("upstream-vhost", "$http_host")], "by hand"),
        ] {
            assert_eq!(carried(IngressNginx, keys), wanted, "{keys:?}");
        }
    }

    #[test]
    fn values_of_haproxy_ingress_are_carried_over() {
        use tidegate_core::annotations::dialect::Dialect::HaproxyIngress;
        for (keys, wanted) in [
            (&[("headers", "A: 1\n\nB: x y\n")][..], "request-set-header=A 1\nB x y"),
            (&[("headers", "A: %[src]")], "by hand"),
            (&[("request-del-headers", "a, b")], "request-remove-header=a\nb"),
            (&[("allowlist-source-range", "10.0.0.0/8,!10.1.0.0/16")], "by hand"),
            (&[("secure-crt-secret", "shop/x")], "server-certificate=x"),
            (&[("secure-crt-secret", "other/x")], "by hand"),
        ] {
            assert_eq!(carried(HaproxyIngress, keys), wanted, "{keys:?}");
        }
    }
}
