//! The dialects of other controllers: what becomes of each of their keys here.
//!
//! Inputs: one table per dialect (`*.txt` beside this file), and the tables of annotations.
//! Outputs: an [`Entry`] for every key, for `tidegate migrate` and for the guides in `docs/`
//! ([`guide`]). Not here: translating values, reading manifests.
//!
//! A line of a table is
//!
//! ```text
//! [!]KEY | VERDICT | KEY OR FLAG HERE | HOW THE VALUE IS CARRIED OVER | REMARK
//! ```
//!
//! - `!` marks a key that protects: a route served without it would be open. Keys that close their
//!   route on a bad value are marked by themselves.
//! - VERDICT is `same` (only the prefix changes), `better` (works; the remark says what differs),
//!   `other key` (that key or flag instead), `not yet`, or `never` (the remark says why).
//! - KEY OR FLAG HERE is a name under `tidegate.io/`, or `--flag` for an argument of `tidegate run`.
//! - The fourth column is a word of [`Carry`]. `same` and `better` carry a value over as it is,
//!   `other key` leaves it to a human when the column is empty.
//!
//! haproxytech's keys that a row of the tables of annotations names (`haproxy: Some(…)`) are `same`
//! without a line, and their key is the row's; a line for one may only add `better` and a remark.
//! Those that are known and do nothing have a line that says `never`.
//! Lines are single so that they merge; a test holds the tables to the annotations.

pub mod guide;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::{Apply, FAMILIES, HAPROXY_PREFIXES, OnError};

/// Whose keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// `haproxytech/kubernetes-ingress`, HAProxy Technologies' own controller.
    Haproxytech,
    /// `jcmoraisjr/haproxy-ingress`.
    HaproxyIngress,
    /// `kubernetes/ingress-nginx`.
    IngressNginx,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 3] =
        [Dialect::Haproxytech, Dialect::HaproxyIngress, Dialect::IngressNginx];

    /// Its name, in flags and in names of files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Haproxytech => "haproxytech",
            Dialect::HaproxyIngress => "haproxy-ingress",
            Dialect::IngressNginx => "ingress-nginx",
        }
    }

    /// Prefixes of its annotations. `ingress.kubernetes.io/` is both HAProxy controllers'.
    #[must_use]
    pub fn prefixes(self) -> &'static [&'static str] {
        match self {
            Dialect::Haproxytech => &HAPROXY_PREFIXES,
            Dialect::HaproxyIngress => &["haproxy-ingress.github.io/", "ingress.kubernetes.io/"],
            Dialect::IngressNginx => &["nginx.ingress.kubernetes.io/"],
        }
    }

    /// `spec.controller` of its IngressClasses, without a suffix.
    #[must_use]
    pub fn controller(self) -> &'static str {
        match self {
            Dialect::Haproxytech => "haproxy.org/ingress-controller",
            Dialect::HaproxyIngress => "haproxy-ingress.github.io/controller",
            Dialect::IngressNginx => "k8s.io/ingress-nginx",
        }
    }

    /// What the dialect's own table says of a key: not of those that the tables of annotations
    /// name.
    #[must_use]
    pub fn entry(self, key: &str) -> Option<Entry> {
        entries(self.text()).find(|entry| entry.key == key)
    }

    /// The name that its documentation gives to its ConfigMap.
    #[must_use]
    pub fn config_name(self) -> &'static str {
        match self {
            Dialect::Haproxytech => "haproxy-kubernetes-ingress",
            Dialect::HaproxyIngress => "haproxy-ingress",
            Dialect::IngressNginx => "ingress-nginx-controller",
        }
    }

    /// Every key of its ConfigMap: those of its annotations, but for ingress-nginx.
    #[must_use]
    pub fn config_table(self) -> BTreeMap<&'static str, Entry> {
        match self {
            Dialect::Haproxytech | Dialect::HaproxyIngress => self.table(),
            Dialect::IngressNginx => {
                entries(NGINX_CONFIG).map(|entry| (entry.key, entry)).collect()
            }
        }
    }

    fn text(self) -> &'static str {
        match self {
            Dialect::Haproxytech => include_str!("haproxytech.txt"),
            Dialect::HaproxyIngress => include_str!("haproxy-ingress.txt"),
            Dialect::IngressNginx => include_str!("ingress-nginx.txt"),
        }
    }

    /// Every key of the dialect, by name without prefix.
    #[must_use]
    pub fn table(self) -> BTreeMap<&'static str, Entry> {
        let mut table = BTreeMap::new();
        let reads = self == Dialect::Haproxytech;
        for row in FAMILIES.iter().flat_map(|family| family.keys).filter(|_| reads) {
            let Some(key) = row.haproxy else { continue };
            if matches!(row.apply, Apply::Inert(_)) {
                continue;
            }
            let (verdict, target) = (Verdict::Same, Target::Key(row.key));
            let protects = row.on_error == OnError::Close;
            let entry = Entry { key, protects, verdict, target, carry: Carry::AsIs, remark: "" };
            table.insert(key, entry);
        }
        for mut entry in entries(self.text()) {
            if let Some(known) = table.get(entry.key) {
                entry.protects |= known.protects;
                if entry.target == Target::Nothing {
                    entry.target = known.target;
                }
            }
            table.insert(entry.key, entry);
        }
        table
    }

    /// The lines of its tables that cannot be read, and keys that have two. Empty; a test asks.
    #[must_use]
    pub fn faults(self) -> Vec<&'static str> {
        let second = match self {
            Dialect::Haproxytech => CUSTOM_RESOURCES,
            Dialect::HaproxyIngress => "",
            Dialect::IngressNginx => NGINX_CONFIG,
        };
        let mut faults = Vec::new();
        for text in [self.text(), second] {
            let mut seen = BTreeSet::new();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            faults.extend(lines.filter(|l| !Entry::parse(l).is_some_and(|e| seen.insert(e.key))));
        }
        faults
    }
}

/// The fields of haproxytech's custom resources, by `Kind.field.field`.
#[must_use]
pub fn custom_resources() -> BTreeMap<&'static str, Entry> {
    entries(CUSTOM_RESOURCES).map(|entry| (entry.key, entry)).collect()
}

const CUSTOM_RESOURCES: &str = include_str!("haproxytech-resources.txt");

const NGINX_CONFIG: &str = include_str!("ingress-nginx-config.txt");

fn entries(text: &'static str) -> impl Iterator<Item = Entry> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(Entry::parse)
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing changes but the prefix.
    Same,
    /// Works; the remark says what differs.
    Better,
    /// Another key, or a flag, says it.
    OtherKey,
    /// There is no such thing in this version.
    NotYet,
    /// It has no meaning here, or no place.
    Never,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Verdict; 5] =
        [Verdict::Same, Verdict::Better, Verdict::OtherKey, Verdict::NotYet, Verdict::Never];

    /// Its words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Better => "better",
            Verdict::OtherKey => "other key",
            Verdict::NotYet => "not yet",
            Verdict::Never => "never",
        }
    }
}

/// What says the same here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing, or what the remark says.
    Nothing,
    /// A key under `tidegate.io/`, and in the ConfigMap.
    Key(&'static str),
    /// A flag of `tidegate run`.
    Flag(&'static str),
}

/// How a value is carried over to the key here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// Unchanged.
    AsIs,
    /// Not without a human.
    ByHand,
    /// A number of seconds becomes a duration.
    Seconds,
    /// Networks, as long as none is an exception (`!x`).
    Networks,
    /// Unchanged if it is one word.
    OneWord,
    /// `enabled` becomes `true`, `disabled` becomes `false`.
    Enabled,
    /// `Name: value` per line becomes `Name value`.
    Headers,
    /// A list with commas becomes lines.
    Lines,
    /// A host stays as it is, unless it has variables.
    Host,
    /// A path becomes the header `X-Forwarded-Prefix`.
    PrefixHeader,
    /// `affinity: cookie`, and the name of the cookie.
    Cookie,
    /// A protocol to pods becomes `server-protocol` and `server-tls`.
    Protocol,
    /// A URL without a path becomes a host to redirect to, with the status code.
    Url(u16),
    /// A rate for each second (1) or minute (60), with the status code beyond it.
    Rate(u16, u16),
    /// nginx's algorithm.
    Balance,
    /// nginx's hash key.
    Hash,
    /// The name of a Secret, without the object's own namespace.
    Secret,
    /// A boolean that, when true, also wants the status code of the redirect.
    Redirect(u16),
    /// It is so anyway, whatever the value.
    So,
    /// It is so anyway if this is the value.
    Unless(&'static str),
    /// `balance` of a custom resource.
    Algorithm,
    /// `httpchk_params` of a custom resource.
    CheckRequest,
    /// A list of rules for requests.
    RequestRules,
    /// A list of rules for responses.
    ResponseRules,
}

impl Carry {
    /// The word in the table. `None` for a word nobody knows.
    fn parse(word: &'static str, verdict: Verdict) -> Option<Carry> {
        Some(match word {
            "" if matches!(verdict, Verdict::Same | Verdict::Better) => Carry::AsIs,
            "" => Carry::ByHand,
            "as is" => Carry::AsIs,
            "seconds" => Carry::Seconds,
            "networks" => Carry::Networks,
            "one word" => Carry::OneWord,
            "enabled" => Carry::Enabled,
            "headers" => Carry::Headers,
            "lines" => Carry::Lines,
            "host" => Carry::Host,
            "prefix header" => Carry::PrefixHeader,
            "cookie" => Carry::Cookie,
            "protocol" => Carry::Protocol,
            "url 301" => Carry::Url(301),
            "url 302" => Carry::Url(302),
            "per second 429" => Carry::Rate(1, 429),
            "per second 503" => Carry::Rate(1, 503),
            "per minute 503" => Carry::Rate(60, 503),
            "balance" => Carry::Balance,
            "hash" => Carry::Hash,
            "secret" => Carry::Secret,
            "redirect 308" => Carry::Redirect(308),
            "so" => Carry::So,
            "algorithm" => Carry::Algorithm,
            "check request" => Carry::CheckRequest,
            "request rules" => Carry::RequestRules,
            "response rules" => Carry::ResponseRules,
            _ => Carry::Unless(word.strip_prefix("unless ")?),
        })
    }
}

/// What becomes of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key there, without prefix.
    pub key: &'static str,
    /// Whether a route served without it would be open.
    pub protects: bool,
    /// The verdict.
    pub verdict: Verdict,
    /// What says the same here.
    pub target: Target,
    /// How the value gets there.
    pub carry: Carry,
    /// The difference, the reason, or what to know.
    pub remark: &'static str,
}

impl Entry {
    fn parse(line: &'static str) -> Option<Entry> {
        let mut fields = line.splitn(5, '|').map(str::trim);
        let (key, verdict) = (fields.next()?, fields.next()?);
        let (key, protects) = match key.strip_prefix('!') {
            Some(key) => (key, true),
            None => (key, false),
        };
        let verdict = Verdict::ALL.into_iter().find(|known| known.as_str() == verdict)?;
        let target = match fields.next().unwrap_or_default() {
            "" => Target::Nothing,
            flag if flag.starts_with("--") => Target::Flag(flag),
            key => Target::Key(key),
        };
        let carry = Carry::parse(fields.next().unwrap_or_default(), verdict)?;
        let remark = fields.next().unwrap_or_default();
        (!key.is_empty()).then_some(Entry { key, protects, verdict, target, carry, remark })
    }
}
