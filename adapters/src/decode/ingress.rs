//! Decoding of `networking.k8s.io/v1/Ingress` specs.
//!
//! A rule or path whose host, path or backend has the wrong shape is left out as a whole: read as
//! absent it would claim more requests than was written.

use std::sync::Arc;

use serde::de::MapAccess;
use tidegate_core::world::object::{BackendRef, Path, PathType, PortRef, Rule, Tls};

use super::lenient::{Context, Field, Got, List, Object, Port, Record, SharedText, Text, take};

/// `spec.rules[]`.
#[derive(Clone, Copy)]
pub(super) struct RuleField;

#[derive(Default)]
struct SlimRule {
    host: Box<str>,
    paths: Vec<Path>,
    bad: bool,
}

impl<'de> Record<'de> for SlimRule {
    const KEYS: &'static [&'static str] = &["host", "http"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "host" => match take(cx, map, Text)? {
                Got::Good(host) => self.host = host,
                Got::Absent => {}
                Got::Bad => self.bad = true,
            },
            _ => match take(cx, map, Object::<SlimHttp>::of())? {
                Got::Good(http) => {
                    self.bad |= http.incomplete && http.paths.is_empty();
                    self.paths = http.paths;
                }
                Got::Absent => {}
                Got::Bad => self.bad = true,
            },
        }
        Ok(())
    }
}

impl<'de> Field<'de> for RuleField {
    type Out = Rule;
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, map: A) -> Result<Got<Rule>, A::Error> {
        let Got::Good(SlimRule { host, paths, bad }) = Object::of().map(cx, map)? else {
            return Ok(Got::Bad);
        };
        Ok(if bad { Got::Bad } else { Got::Good(Rule { host, paths }) })
    }
}

#[derive(Default)]
struct SlimHttp {
    paths: Vec<Path>,
    incomplete: bool,
}

impl<'de> Record<'de> for SlimHttp {
    const KEYS: &'static [&'static str] = &["paths"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        _: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match take(cx, map, List(PathField))? {
            Got::Good(list) => (self.paths, self.incomplete) = (list.entries, list.incomplete),
            Got::Absent => {}
            Got::Bad => self.incomplete = true,
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct PathField;

#[derive(Default)]
struct SlimPath {
    path: Box<str>,
    path_type: Option<PathType>,
    backend: Option<BackendRef>,
    bad: bool,
}

impl<'de> Record<'de> for SlimPath {
    const KEYS: &'static [&'static str] = &["path", "pathType", "backend"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "path" => match take(cx, map, Text)? {
                Got::Good(path) => self.path = path,
                Got::Absent => {}
                Got::Bad => self.bad = true,
            },
            "pathType" => self.path_type = take(cx, map, PathTypeField)?.good(),
            _ => self.backend = take(cx, map, BackendField)?.good(),
        }
        Ok(())
    }
}

impl<'de> Field<'de> for PathField {
    type Out = Path;
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, map: A) -> Result<Got<Path>, A::Error> {
        let Got::Good(slim) = Object::<SlimPath>::of().map(cx, map)? else {
            return Ok(Got::Bad);
        };
        if slim.bad {
            return Ok(Got::Bad);
        }
        let path_type = slim.path_type.unwrap_or_else(|| {
            cx.note_below(".pathType", "required; read as ImplementationSpecific");
            PathType::ImplementationSpecific
        });
        let backend = slim.backend.unwrap_or_else(|| BackendRef::Unusable("no backend".into()));
        Ok(Got::Good(Path { path: slim.path, path_type, backend }))
    }
}

#[derive(Clone, Copy)]
struct PathTypeField;

impl Field<'_> for PathTypeField {
    type Out = PathType;
    const EXPECTED: &'static str = "Exact, Prefix or ImplementationSpecific";
    fn text(self, cx: &mut Context, v: &str) -> Got<PathType> {
        Got::Good(match v {
            "Exact" => PathType::Exact,
            "Prefix" => PathType::Prefix,
            "ImplementationSpecific" => PathType::ImplementationSpecific,
            _ => {
                cx.note(format!("expected {}, found another text", Self::EXPECTED));
                PathType::ImplementationSpecific
            }
        })
    }
}

/// A backend: `spec.defaultBackend` and `backend` of a path. Always decodes to something.
#[derive(Clone, Copy)]
pub(super) struct BackendField;

#[derive(Default)]
struct SlimBackend {
    service: Option<SlimService>,
    resource: Option<SlimResource>,
}

impl<'de> Record<'de> for SlimBackend {
    const KEYS: &'static [&'static str] = &["service", "resource"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "service" => self.service = take(cx, map, Object::of())?.good(),
            _ => self.resource = take(cx, map, Object::of())?.good(),
        }
        Ok(())
    }
}

impl<'de> Field<'de> for BackendField {
    type Out = BackendRef;
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, map: A) -> Result<Got<BackendRef>, A::Error> {
        let Got::Good(slim) = Object::<SlimBackend>::of().map(cx, map)? else {
            return Ok(Got::Bad);
        };
        let unusable = |text: String| BackendRef::Unusable(text.into());
        Ok(Got::Good(match (slim.service, slim.resource) {
            (Some(service), None) => service.finish(),
            (Some(_), Some(_)) => unusable("both a service and a resource".to_owned()),
            (None, Some(r)) => unusable(format!("a resource ({} {})", r.kind, r.name)),
            (None, None) => unusable("neither a service nor a resource".to_owned()),
        }))
    }
}

#[derive(Default)]
struct SlimResource {
    kind: Box<str>,
    name: Box<str>,
}

impl<'de> Record<'de> for SlimResource {
    const KEYS: &'static [&'static str] = &["kind", "name"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let value = take(cx, map, Text)?.good().unwrap_or_default();
        match key {
            "kind" => self.kind = value,
            _ => self.name = value,
        }
        Ok(())
    }
}

#[derive(Default)]
struct SlimService {
    name: Option<Arc<str>>,
    port: Option<SlimPort>,
}

impl<'de> Record<'de> for SlimService {
    const KEYS: &'static [&'static str] = &["name", "port"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "name" => self.name = take(cx, map, SharedText)?.good(),
            _ => self.port = take(cx, map, Object::of())?.good(),
        }
        Ok(())
    }
}

impl SlimService {
    fn finish(self) -> BackendRef {
        let unusable = |text: &str| BackendRef::Unusable(text.into());
        let Some(name) = self.name.filter(|name| !name.is_empty()) else {
            return unusable("a service without a name");
        };
        let port = match self.port.unwrap_or_default() {
            SlimPort { name: None, number: Some(number) } => PortRef::Number(number),
            SlimPort { name: Some(name), number: None } => PortRef::Name(name),
            SlimPort { name: Some(_), number: Some(_) } => {
                return unusable("a service port by name and by number at once");
            }
            SlimPort { name: None, number: None } => {
                return unusable("a service without a usable port");
            }
        };
        BackendRef::Service { name, port }
    }
}

#[derive(Default)]
struct SlimPort {
    name: Option<Box<str>>,
    number: Option<u16>,
}

impl<'de> Record<'de> for SlimPort {
    const KEYS: &'static [&'static str] = &["name", "number"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "name" => {
                self.name = take(cx, map, Text)?.good().filter(|name| !name.is_empty());
            }
            _ => self.number = take(cx, map, BackendPort)?.good(),
        }
        Ok(())
    }
}

/// `port.number`: the API writes 0 when the port is given by name.
#[derive(Clone, Copy)]
struct BackendPort;

impl Field<'_> for BackendPort {
    type Out = u16;
    const EXPECTED: &'static str = Port::EXPECTED;
    fn integer(self, cx: &mut Context, v: i64) -> Got<u16> {
        if v == 0 { Got::Absent } else { Port.integer(cx, v) }
    }
}

/// `spec.tls[]`.
#[derive(Clone, Copy)]
pub(super) struct TlsField;

#[derive(Default)]
struct SlimTls {
    hosts: Vec<Box<str>>,
    secret: Option<Arc<str>>,
    bad: bool,
}

impl<'de> Record<'de> for SlimTls {
    const KEYS: &'static [&'static str] = &["hosts", "secretName"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "hosts" => match take(cx, map, List(Text))? {
                // No hosts means every host of the Ingress: never by mistake.
                Got::Good(list) => {
                    self.bad |= list.incomplete && list.entries.is_empty();
                    self.hosts = list.entries;
                }
                Got::Absent => {}
                Got::Bad => self.bad = true,
            },
            _ => {
                let secret = take(cx, map, SharedText)?.good();
                self.secret = secret.filter(|name| !name.is_empty());
            }
        }
        Ok(())
    }
}

impl<'de> Field<'de> for TlsField {
    type Out = Tls;
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, map: A) -> Result<Got<Tls>, A::Error> {
        let Got::Good(SlimTls { hosts, secret, bad }) = Object::of().map(cx, map)? else {
            return Ok(Got::Bad);
        };
        Ok(if bad { Got::Bad } else { Got::Good(Tls { hosts, secret }) })
    }
}
