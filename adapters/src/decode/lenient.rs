//! Lenient decoding with serde: a value of the wrong shape is left out and noted, never an error.
//!
//! In: any self-describing deserializer. Out: values of ours, and [`Note`]s with the path of each
//! field that was left out. Errors are only those of the text itself (broken JSON or YAML).
//! Unknown fields are skipped without being stored. Notes name the kind of value found and never
//! repeat the value, as it may be a secret.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tidegate_core::world::object::{Kind, Note};

/// Notes kept for one object; an object with more mistakes is told about the first ones.
const NOTES_MAX: usize = 32;

/// Longest list or map whose announced size is trusted for an allocation.
const RESERVE_MAX: usize = 1024;

/// One step of the path to a field.
#[derive(Clone, Copy)]
enum Segment {
    Key(&'static str),
    Index(usize),
}

/// What is known while an object is decoded: where we are, and what was left out so far.
#[derive(Default)]
pub(super) struct Context {
    path: Vec<Segment>,
    /// Fields left out so far.
    pub notes: Vec<Note>,
    /// The kind, as soon as it is known.
    pub kind: KindHint,
}

/// What is known about the kind of the object being decoded.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum KindHint {
    /// Nothing yet.
    #[default]
    Unknown,
    /// One of ours.
    Ours(Kind),
    /// Not one of ours: nothing of it is needed.
    Foreign,
}

impl Context {
    /// A context for an object of a kind that is known beforehand, or not.
    pub fn new(kind: Option<Kind>) -> Context {
        let kind = kind.map_or(KindHint::Unknown, KindHint::Ours);
        Context { path: Vec::with_capacity(12), notes: Vec::new(), kind }
    }

    /// Runs `read` one step further down the path.
    pub fn at<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Context) -> T) -> T {
        self.path.push(Segment::Key(key));
        let value = read(self);
        self.path.pop();
        value
    }

    /// Notes something about the field at the present path.
    pub fn note(&mut self, message: impl Into<String>) {
        self.note_below("", message);
    }

    /// Notes something about a field below the present path; `below` is appended as it is.
    pub fn note_below(&mut self, below: &str, message: impl Into<String>) {
        if self.notes.len() >= NOTES_MAX {
            return;
        }
        let mut field = self.path_text();
        field.push_str(below);
        self.notes.push(Note { field: field.into(), message: message.into().into() });
    }

    fn wrong(&mut self, expected: &str, found: &str) {
        self.note(format!("expected {expected}, found {found}"));
    }

    fn path_text(&self) -> String {
        let mut text = String::new();
        for segment in &self.path {
            match segment {
                Segment::Key(key) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(key);
                }
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }
}

/// What was found where a value was looked for.
pub(super) enum Got<T> {
    /// Nothing, or `null`.
    Absent,
    /// Something that cannot be used; it has been noted.
    Bad,
    /// The value.
    Good(T),
}

impl<T> Got<T> {
    /// The value, if there is a good one.
    pub fn good(self) -> Option<T> {
        match self {
            Got::Good(value) => Some(value),
            Got::Absent | Got::Bad => None,
        }
    }
}

/// A kind of field: which shapes it accepts. Every method that is not overridden notes the
/// shape as wrong.
pub(super) trait Field<'de>: Sized {
    /// What it decodes to.
    type Out;
    /// What is expected, with an article, for notes.
    const EXPECTED: &'static str;

    /// A string.
    fn text(self, cx: &mut Context, _: &str) -> Got<Self::Out> {
        cx.wrong(Self::EXPECTED, "a string");
        Got::Bad
    }

    /// An integer that fits.
    fn integer(self, cx: &mut Context, _: i64) -> Got<Self::Out> {
        cx.wrong(Self::EXPECTED, "a number");
        Got::Bad
    }

    /// Any other number.
    fn fraction(self, cx: &mut Context, _: f64) -> Got<Self::Out> {
        cx.wrong(Self::EXPECTED, "a number");
        Got::Bad
    }

    /// A truth value.
    fn boolean(self, cx: &mut Context, _: bool) -> Got<Self::Out> {
        cx.wrong(Self::EXPECTED, "a boolean");
        Got::Bad
    }

    /// `null`.
    fn null(self, _: &mut Context) -> Got<Self::Out> {
        Got::Absent
    }

    /// An object.
    fn map<A: MapAccess<'de>>(
        self,
        cx: &mut Context,
        mut map: A,
    ) -> Result<Got<Self::Out>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        cx.wrong(Self::EXPECTED, "an object");
        Ok(Got::Bad)
    }

    /// A list.
    fn list<A: SeqAccess<'de>>(
        self,
        cx: &mut Context,
        mut list: A,
    ) -> Result<Got<Self::Out>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        cx.wrong(Self::EXPECTED, "a list");
        Ok(Got::Bad)
    }
}

/// A seed that decodes a field in a context.
pub(super) struct Lenient<'c, F> {
    /// Where notes go.
    pub cx: &'c mut Context,
    /// What to decode.
    pub field: F,
}

impl<'de, F: Field<'de>> DeserializeSeed<'de> for Lenient<'_, F> {
    type Value = Got<F::Out>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: Field<'de>> Visitor<'de> for Lenient<'_, F> {
    type Value = Got<F::Out>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(F::EXPECTED)
    }
    fn visit_bool<E: Error>(self, v: bool) -> Result<Self::Value, E> {
        Ok(self.field.boolean(self.cx, v))
    }
    fn visit_i64<E: Error>(self, v: i64) -> Result<Self::Value, E> {
        Ok(self.field.integer(self.cx, v))
    }
    fn visit_u64<E: Error>(self, v: u64) -> Result<Self::Value, E> {
        Ok(match i64::try_from(v) {
            Ok(v) => self.field.integer(self.cx, v),
            Err(_) => self.field.fraction(self.cx, v as f64),
        })
    }
    fn visit_i128<E: Error>(self, v: i128) -> Result<Self::Value, E> {
        Ok(self.field.fraction(self.cx, v as f64))
    }
    fn visit_u128<E: Error>(self, v: u128) -> Result<Self::Value, E> {
        Ok(self.field.fraction(self.cx, v as f64))
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Self::Value, E> {
        Ok(self.field.fraction(self.cx, v))
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
        Ok(self.field.text(self.cx, v))
    }
    fn visit_bytes<E: Error>(self, v: &[u8]) -> Result<Self::Value, E> {
        Ok(self.field.text(self.cx, &String::from_utf8_lossy(v)))
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(self.field.null(self.cx))
    }
    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(self.field.null(self.cx))
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        self.field.map(self.cx, map)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        self.field.list(self.cx, list)
    }
}

/// A string, as `Box<str>`.
#[derive(Clone, Copy)]
pub(super) struct Text;

impl Field<'_> for Text {
    type Out = Box<str>;
    const EXPECTED: &'static str = "a string";
    fn text(self, _: &mut Context, v: &str) -> Got<Box<str>> {
        Got::Good(v.into())
    }
}

/// A string, as `Arc<str>`.
#[derive(Clone, Copy)]
pub(super) struct SharedText;

impl Field<'_> for SharedText {
    type Out = Arc<str>;
    const EXPECTED: &'static str = "a string";
    fn text(self, _: &mut Context, v: &str) -> Got<Arc<str>> {
        Got::Good(v.into())
    }
}

/// A truth value.
#[derive(Clone, Copy)]
pub(super) struct Flag;

impl Field<'_> for Flag {
    type Out = bool;
    const EXPECTED: &'static str = "a boolean";
    fn boolean(self, _: &mut Context, v: bool) -> Got<bool> {
        Got::Good(v)
    }
}

/// A whole number.
#[derive(Clone, Copy)]
pub(super) struct Integer;

impl Field<'_> for Integer {
    type Out = i64;
    const EXPECTED: &'static str = "a whole number";
    fn integer(self, _: &mut Context, v: i64) -> Got<i64> {
        Got::Good(v)
    }
}

/// A port, 1 to 65535.
#[derive(Clone, Copy)]
pub(super) struct Port;

impl Field<'_> for Port {
    type Out = u16;
    const EXPECTED: &'static str = "a port number from 1 to 65535";
    fn integer(self, cx: &mut Context, v: i64) -> Got<u16> {
        match u16::try_from(v) {
            Ok(port) if port > 0 => Got::Good(port),
            Ok(_) | Err(_) => {
                cx.wrong(Self::EXPECTED, &v.to_string());
                Got::Bad
            }
        }
    }
}

/// An object with known keys.
pub(super) trait Record<'de>: Default {
    /// The keys it reads; all others are skipped.
    const KEYS: &'static [&'static str];
    /// Reads the value under one of the keys.
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error>;
}

/// Field of an object with known keys.
pub(super) struct Object<R>(PhantomData<R>);

impl<R> Object<R> {
    /// The field.
    pub fn of() -> Object<R> {
        Object(PhantomData)
    }
}

impl<R> Clone for Object<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Object<R> {}

impl<'de, R: Record<'de>> Field<'de> for Object<R> {
    type Out = R;
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, mut map: A) -> Result<Got<R>, A::Error> {
        let mut record = R::default();
        while let Some(key) = map.next_key_seed(KnownKey(R::KEYS))? {
            let Some(key) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            cx.at(key, |cx| record.field(key, cx, &mut map))?;
        }
        Ok(Got::Good(record))
    }
}

/// Reads the value under the present key.
pub(super) fn take<'de, A: MapAccess<'de>, F: Field<'de>>(
    cx: &mut Context,
    map: &mut A,
    field: F,
) -> Result<Got<F::Out>, A::Error> {
    map.next_value_seed(Lenient { cx, field })
}

/// A list of equal fields. Entries that cannot be used are left out, and noted.
#[derive(Clone, Copy)]
pub(super) struct List<F>(pub F);

/// The entries of a list, and whether any was left out.
pub(super) struct Entries<T> {
    /// The usable entries.
    pub entries: Vec<T>,
    /// Whether some entry was not usable.
    pub incomplete: bool,
}

impl<'de, F: Field<'de> + Copy> Field<'de> for List<F> {
    type Out = Entries<F::Out>;
    const EXPECTED: &'static str = "a list";
    fn list<A: SeqAccess<'de>>(
        self,
        cx: &mut Context,
        mut list: A,
    ) -> Result<Got<Self::Out>, A::Error> {
        let mut entries = Vec::with_capacity(list.size_hint().unwrap_or(0).min(RESERVE_MAX));
        let mut incomplete = false;
        for index in 0.. {
            cx.path.push(Segment::Index(index));
            let entry = list.next_element_seed(Lenient { cx, field: self.0 });
            if let Ok(Some(Got::Absent)) = &entry {
                cx.wrong(F::EXPECTED, "null");
            }
            cx.path.pop();
            match entry? {
                Some(Got::Good(value)) => entries.push(value),
                Some(Got::Absent | Got::Bad) => incomplete = true,
                None => break,
            }
        }
        // They are kept for as long as the object.
        entries.shrink_to_fit();
        Ok(Got::Good(Entries { entries, incomplete }))
    }
}

/// Reads a list; what is absent or bad is empty.
pub(super) fn take_list<'de, A: MapAccess<'de>, F: Field<'de> + Copy>(
    cx: &mut Context,
    map: &mut A,
    field: F,
) -> Result<Vec<F::Out>, A::Error> {
    Ok(take(cx, map, List(field))?.good().map(|l| l.entries).unwrap_or_default())
}

/// A map key among known ones.
struct KnownKey(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for KnownKey {
    type Value = Option<&'static str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KnownKey {
    type Value = Option<&'static str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().copied().find(|key| *key == v))
    }
}

/// A map key that passes a test, as `Box<str>`.
pub(super) struct KeyIf<P>(pub P);

impl<'de, P: FnOnce(&str) -> bool> DeserializeSeed<'de> for KeyIf<P> {
    type Value = Option<Box<str>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<P: FnOnce(&str) -> bool> Visitor<'_> for KeyIf<P> {
    type Value = Option<Box<str>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
        Ok((self.0)(v).then(|| v.into()))
    }
}
