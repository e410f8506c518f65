//! haproxytech's custom resources: `spec` of any shape, and what it says in our keys.

use serde::de::{MapAccess, SeqAccess};
use tidegate_core::annotations::dialect::{Entry, Target, Verdict};
use tidegate_core::world::custom::{Api, Custom, Part, Said, Unsaid, Weight};
use tidegate_core::world::object::Meta;

use super::lenient::{Context, Field, Got, KeyIf, Lenient};
use crate::custom::{self, Outcome, Tree, tcp};

/// A value of any shape.
#[derive(Clone, Copy)]
pub(super) struct Any;

impl<'de> Field<'de> for Any {
    type Out = Tree;
    const EXPECTED: &'static str = "anything";
    fn text(self, _: &mut Context, v: &str) -> Got<Tree> {
        Got::Good(Tree::Text(v.to_owned()))
    }
    fn integer(self, _: &mut Context, v: i64) -> Got<Tree> {
        Got::Good(Tree::Text(v.to_string()))
    }
    fn fraction(self, _: &mut Context, v: f64) -> Got<Tree> {
        Got::Good(Tree::Text(v.to_string()))
    }
    fn boolean(self, _: &mut Context, v: bool) -> Got<Tree> {
        Got::Good(Tree::Text(v.to_string()))
    }
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, mut map: A) -> Result<Got<Tree>, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(KeyIf(|_: &str| true))? {
            let value = map.next_value_seed(Lenient { cx, field: Any })?.good();
            if let Some(key) = key {
                entries.push((key.into_string(), value.unwrap_or_default()));
            }
        }
        Ok(Got::Good(Tree::Map(entries)))
    }
    fn list<A: SeqAccess<'de>>(self, cx: &mut Context, mut list: A) -> Result<Got<Tree>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(Lenient { cx, field: Any })? {
            items.push(item.good().unwrap_or_default());
        }
        Ok(Got::Good(Tree::List(items)))
    }
}

/// The object of core.
pub(super) fn custom(meta: Meta, part: Part, api: Api, spec: &Tree) -> Custom {
    let table = custom::table();
    let mut said = Vec::new();
    let fields = match part {
        Part::Tcp => {
            let (ports, fields) = tcp::ports(&table, &meta.name.namespace, spec);
            said.extend(ports.into_iter().map(|port| Said {
                key: port.port.into(),
                value: port.value.into(),
                field: port.place.into(),
            }));
            fields
        }
        Part::Global | Part::Defaults | Part::Frontend | Part::Backend => {
            custom::fields(&table, part.name(), spec)
        }
    };
    let mut unsaid = Vec::new();
    for custom::Field { path: _, place, entry, protects, outcome } in fields {
        match outcome {
            Outcome::Silent => {}
            Outcome::Keys(pairs) => said.extend(pairs.into_iter().map(|(key, value)| Said {
                key: key.into(),
                value: value.into(),
                field: place.as_str().into(),
            })),
            Outcome::Left(why) => unsaid.push(left(place, entry.as_ref(), protects, &why)),
        }
    }
    said.sort();
    // The ports of TCP services may collide, which is told; of keys the first counts.
    said.dedup_by(|later, first| later.key == first.key && part != Part::Tcp);
    unsaid.sort();
    Custom { meta, part, api, said, unsaid }
}

/// What is said of a field without a counterpart.
fn left(place: String, entry: Option<&Entry>, protects: bool, why: &str) -> Unsaid {
    let what = match (entry.map(|entry| (entry.verdict, entry.target)), why) {
        (Some((Verdict::Never, _)), _) => "it has no meaning here".to_owned(),
        (Some((_, Target::Key(_) | Target::Flag(_))), "") => "it is not read here".to_owned(),
        (_, "") => "it has no counterpart here".to_owned(),
        (_, why) => format!("it has no counterpart here: {why}"),
    };
    let fix = match entry.map(|entry| entry.target) {
        Some(Target::Key(key)) => format!("write tidegate.io/{key}"),
        Some(Target::Flag(flag)) => format!("use the flag {flag} of `tidegate run`"),
        Some(Target::Nothing) | None => "remove it, if only tidegate reads it".to_owned(),
    };
    let remark = entry.map_or("", |entry| entry.remark);
    let fix = if remark.is_empty() || remark == "has no counterpart" {
        fix
    } else {
        format!("{fix}; {remark}")
    };
    let weight = match entry.map(|entry| entry.verdict) {
        _ if protects => Weight::Protects,
        Some(Verdict::Never) => Weight::Known,
        Some(_) | None => Weight::Lacks,
    };
    Unsaid { field: place.into(), what: what.into(), fix: fix.into(), weight }
}
