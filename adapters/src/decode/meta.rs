//! Decoding of `metadata`: name, uid, dates, the annotations under prefixes we know, labels.

use serde::de::MapAccess;
use tidegate_core::world::object::{Kind, Meta, Name, Note};

use super::lenient::{
    Context, Field, Got, Integer, KeyIf, KindHint, Lenient, Record, SharedText, Text, take,
};

/// Prefixes of annotation keys that tidegate reads; everything else is dropped unstored.
const PREFIXES: [&str; 6] = [
    "tidegate.io/",
    "haproxy.org/",
    "haproxy.com/",
    "ingress.kubernetes.io/",
    "haproxy-ingress.github.io/",
    "nginx.ingress.kubernetes.io/",
];

/// The legacy class annotation.
const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";
/// On an IngressClass: whether it is the default.
const IS_DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// On an EndpointSlice: its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// On a Node: load balancers shall not send traffic to it. Any value counts.
const NODE_EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Stands for an annotation value that is a list or an object. No setting parses it, so what the
/// annotation protects fails closed instead of going without.
const UNREADABLE: &str = "(not a string)";

/// `metadata` as it is read, before the name is known to be there.
#[derive(Default)]
pub(super) struct SlimMeta {
    pub name: Option<std::sync::Arc<str>>,
    pub namespace: Option<std::sync::Arc<str>>,
    uid: Box<str>,
    created: i64,
    generation: i64,
    annotations: Vec<(Box<str>, Box<str>)>,
    labels: Vec<(Box<str>, Box<str>)>,
    /// `metadata.resourceVersion`.
    pub resource_version: Option<Box<str>>,
}

impl<'de> Record<'de> for SlimMeta {
    const KEYS: &'static [&'static str] = &[
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "labels",
        "annotations",
    ];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "name" => self.name = take(cx, map, SharedText)?.good(),
            "namespace" => self.namespace = take(cx, map, SharedText)?.good(),
            "uid" => self.uid = take(cx, map, Text)?.good().unwrap_or_default(),
            "resourceVersion" => self.resource_version = take(cx, map, Text)?.good(),
            "generation" => self.generation = take(cx, map, Integer)?.good().unwrap_or(0),
            "creationTimestamp" => {
                self.created = take(cx, map, Timestamp)?.good().unwrap_or(0);
            }
            "labels" => {
                let every = matches!(cx.kind, KindHint::Unknown | KindHint::Ours(Kind::Namespace));
                let wanted = move |key: &str| every || key == SERVICE_NAME || key == NODE_EXCLUDED;
                self.labels = take(cx, map, Pairs(wanted))?.good().unwrap_or_default();
            }
            _ => self.annotations = take(cx, map, Pairs(is_kept))?.good().unwrap_or_default(),
        }
        Ok(())
    }
}

impl SlimMeta {
    /// Whether the annotation that marks the default IngressClass is set.
    pub fn is_default_class(&self) -> bool {
        self.annotations.iter().any(|(key, value)| &**key == IS_DEFAULT_CLASS && &**value == "true")
    }

    /// Whether load balancers shall not send traffic to this Node.
    pub fn is_excluded_node(&self) -> bool {
        self.labels.iter().any(|(key, _)| &**key == NODE_EXCLUDED)
    }

    /// The label with the name of a slice's Service; empty when absent.
    pub fn service_name(&self) -> std::sync::Arc<str> {
        let found = self.labels.iter().find(|(key, _)| &**key == SERVICE_NAME);
        found.map_or_else(|| "".into(), |(_, value)| (&**value).into())
    }

    /// All labels, sorted.
    pub fn take_labels(&mut self) -> Vec<(Box<str>, Box<str>)> {
        std::mem::take(&mut self.labels)
    }

    /// The metadata of an object of a kind. `None` when it has no name.
    pub fn finish(self, kind: Kind, notes: Vec<Note>) -> Option<Meta> {
        let name = self.name.filter(|name| !name.is_empty())?;
        let namespace = match kind {
            Kind::Namespace | Kind::IngressClass | Kind::Node => "".into(),
            Kind::ConfigMap
            | Kind::Secret
            | Kind::Service
            | Kind::EndpointSlice
            | Kind::Ingress
            | Kind::Custom(..) => {
                self.namespace.filter(|n| !n.is_empty()).unwrap_or_else(|| "default".into())
            }
        };
        let annotations = match kind {
            Kind::EndpointSlice | Kind::Node => Vec::new(),
            Kind::Namespace
            | Kind::ConfigMap
            | Kind::IngressClass
            | Kind::Secret
            | Kind::Service
            | Kind::Ingress
            | Kind::Custom(..) => {
                let mut kept = self.annotations;
                kept.retain(|(key, _)| &**key != IS_DEFAULT_CLASS);
                kept
            }
        };
        Some(Meta {
            name: Name { namespace, name },
            uid: self.uid,
            created: self.created,
            generation: self.generation,
            annotations,
            notes,
        })
    }
}

fn is_kept(key: &str) -> bool {
    key == LEGACY_CLASS
        || key == IS_DEFAULT_CLASS
        || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        || tidegate_core::annotations::is_theirs(key)
}

/// A map of text to text; keys that fail the test are skipped. Sorted by key, the last of equal
/// keys wins.
///
/// A value that is a number or a boolean is read as its text and noted: the API server refuses
/// it, but a manifest in a folder often lacks the quotes, and leaving out an access list because
/// of them would open the route.
#[derive(Clone, Copy)]
pub(super) struct Pairs<P>(pub P);

impl<'de, P: Fn(&str) -> bool> Field<'de> for Pairs<P> {
    type Out = Vec<(Box<str>, Box<str>)>;
    const EXPECTED: &'static str = "an object of strings";
    fn map<A: MapAccess<'de>>(
        self,
        cx: &mut Context,
        mut map: A,
    ) -> Result<Got<Self::Out>, A::Error> {
        let mut pairs: Self::Out = Vec::new();
        while let Some(key) = map.next_key_seed(KeyIf(&self.0))? {
            let Some(key) = key else {
                map.next_value::<serde::de::IgnoredAny>()?;
                continue;
            };
            match map.next_value_seed(Lenient { cx, field: PairValue(&key) })? {
                Got::Good(value) => pairs.push((key, value)),
                Got::Absent => pairs.push((key, "".into())),
                Got::Bad => pairs.push((key, UNREADABLE.into())),
            }
        }
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(&mut later.1, &mut earlier.1);
            }
            same
        });
        Ok(Got::Good(pairs))
    }
}

struct PairValue<'k>(&'k str);

impl PairValue<'_> {
    fn unquoted(&self, cx: &mut Context, found: &str, text: String) -> Got<Box<str>> {
        let message = format!("expected a string, found {found}; read as text, put it in quotes");
        cx.note_below(&format!("[{}]", self.0), message);
        Got::Good(text.into())
    }

    fn unreadable(&self, cx: &mut Context, found: &str) -> Got<Box<str>> {
        cx.note_below(&format!("[{}]", self.0), format!("expected a string, found {found}"));
        Got::Bad
    }
}

impl<'de> Field<'de> for PairValue<'_> {
    type Out = Box<str>;
    const EXPECTED: &'static str = "a string";
    fn text(self, _: &mut Context, v: &str) -> Got<Box<str>> {
        Got::Good(v.into())
    }
    fn boolean(self, cx: &mut Context, v: bool) -> Got<Box<str>> {
        self.unquoted(cx, "a boolean", v.to_string())
    }
    fn integer(self, cx: &mut Context, v: i64) -> Got<Box<str>> {
        self.unquoted(cx, "a number", v.to_string())
    }
    fn fraction(self, cx: &mut Context, v: f64) -> Got<Box<str>> {
        self.unquoted(cx, "a number", v.to_string())
    }
    fn map<A: MapAccess<'de>>(
        self,
        cx: &mut Context,
        mut map: A,
    ) -> Result<Got<Self::Out>, A::Error> {
        while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(self.unreadable(cx, "an object"))
    }
    fn list<A: serde::de::SeqAccess<'de>>(
        self,
        cx: &mut Context,
        mut list: A,
    ) -> Result<Got<Self::Out>, A::Error> {
        while list.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(self.unreadable(cx, "a list"))
    }
}

/// An RFC 3339 time, as seconds since 1970.
#[derive(Clone, Copy)]
struct Timestamp;

impl Field<'_> for Timestamp {
    type Out = i64;
    const EXPECTED: &'static str = "a time such as 2024-01-31T12:00:00Z";
    fn text(self, cx: &mut Context, v: &str) -> Got<i64> {
        match unix_seconds(v) {
            Some(seconds) => Got::Good(seconds),
            None => {
                cx.note(format!("expected {}, found another text", Timestamp::EXPECTED));
                Got::Bad
            }
        }
    }
}

/// Seconds since 1970 of an RFC 3339 time. Fractions of a second are dropped, and a leap second
/// counts as the one before it.
#[must_use]
pub fn unix_seconds(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        let digits = bytes.get(from..from.checked_add(len)?)?;
        digits.iter().try_fold(0, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
        })
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    let separated = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    if !separated {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    if !valid || second > 60 {
        return None;
    }
    let mut at = 19;
    if is(at, b".") {
        at += 1;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
    }
    let offset = match bytes.get(at..)? {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = number(at + 1, 2)? * 60 + number(at + 4, 2)?;
            if *sign == b'-' { -minutes * 60 } else { minutes * 60 }
        }
        _ => return None,
    };
    let of_day = hour * 3600 + minute * 60 + second.min(59);
    Some(days_since_1970(year, month, day) * 86_400 + of_day - offset)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Hinnant's `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::unix_seconds;

    #[test]
    fn times_are_read_as_rfc_3339_says() {
        assert_eq!(unix_seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_seconds("2024-02-29T12:30:45Z"), Some(1_709_209_845));
        assert_eq!(unix_seconds("2024-02-29T12:30:45.999Z"), Some(1_709_209_845));
        assert_eq!(unix_seconds("2024-02-29T14:30:45+02:00"), Some(1_709_209_845));
        assert_eq!(unix_seconds("1969-12-31T23:59:59Z"), Some(-1));
        for bad in ["", "2024", "2024-02-29", "2024-13-01T00:00:00Z", "2024-02-29T12:30:45", "x"] {
            assert_eq!(unix_seconds(bad), None, "{bad}");
        }
    }
}
