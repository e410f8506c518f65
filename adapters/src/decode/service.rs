//! Decoding of `v1/Service`: its ports, where its endpoints come from, where it is reached.

use serde::de::MapAccess;
use tidegate_core::world::object::{Address, Meta, Service, ServicePort, ServiceSource};

use super::lenient::{Context, Field, Got, Object, Port, Record, Text, take};

/// `spec.ports[]`. Ports of protocols other than TCP decode to `None`: no route can use them.
#[derive(Clone, Copy)]
pub(super) struct ServicePortField;

#[derive(Default)]
struct SlimServicePort {
    name: Box<str>,
    port: Option<u16>,
    app_protocol: Option<Box<str>>,
    node_port: Option<u16>,
    other_protocol: bool,
    noted: bool,
}

impl<'de> Record<'de> for SlimServicePort {
    const KEYS: &'static [&'static str] = &["name", "port", "appProtocol", "nodePort", "protocol"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "name" => self.name = take(cx, map, Text)?.good().unwrap_or_default(),
            "port" => match take(cx, map, Port)? {
                Got::Good(port) => self.port = Some(port),
                Got::Absent => {}
                Got::Bad => self.noted = true,
            },
            "appProtocol" => self.app_protocol = take(cx, map, Text)?.good(),
            "nodePort" => self.node_port = take(cx, map, NodePort)?.good(),
            _ => self.other_protocol = take(cx, map, IsOtherProtocol)?.good().unwrap_or(false),
        }
        Ok(())
    }
}

impl<'de> Field<'de> for ServicePortField {
    type Out = Option<ServicePort>;
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, map: A) -> Result<Got<Self::Out>, A::Error> {
        let Got::Good(slim) = Object::<SlimServicePort>::of().map(cx, map)? else {
            return Ok(Got::Bad);
        };
        if slim.other_protocol {
            return Ok(Got::Good(None));
        }
        let Some(port) = slim.port else {
            if !slim.noted {
                cx.note_below(".port", "required");
            }
            return Ok(Got::Bad);
        };
        let (name, app_protocol, node_port) = (slim.name, slim.app_protocol, slim.node_port);
        Ok(Got::Good(Some(ServicePort { name, port, app_protocol, node_port })))
    }
}

/// `nodePort`: a port, or 0 for none.
#[derive(Clone, Copy)]
struct NodePort;

impl Field<'_> for NodePort {
    type Out = u16;
    const EXPECTED: &'static str = "a port number from 0 to 65535";
    fn integer(self, cx: &mut Context, v: i64) -> Got<u16> {
        match u16::try_from(v) {
            Ok(0) => Got::Absent,
            Ok(port) => Got::Good(port),
            Err(_) => {
                cx.note(format!("expected {}, found {v}", Self::EXPECTED));
                Got::Bad
            }
        }
    }
}

/// `protocol`: whether it is something else than TCP.
#[derive(Clone, Copy)]
pub(super) struct IsOtherProtocol;

impl Field<'_> for IsOtherProtocol {
    type Out = bool;
    const EXPECTED: &'static str = "TCP, UDP or SCTP";
    fn text(self, _: &mut Context, v: &str) -> Got<bool> {
        Got::Good(!v.is_empty() && v != "TCP")
    }
}

/// The Service of its parts. An `ExternalName` without a usable name has no endpoints.
pub(super) fn service(
    mut meta: Meta,
    service_type: Option<Box<str>>,
    external_name: Option<Box<str>>,
    ports: Vec<ServicePort>,
    addresses: Vec<Address>,
) -> Service {
    let source = if service_type.as_deref() == Some("ExternalName") {
        let name = external_name.unwrap_or_default();
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if name.is_empty() {
            let (field, message) = ("spec.externalName".into(), "required".into());
            meta.notes.push(tidegate_core::world::object::Note { field, message });
        }
        ServiceSource::ExternalName(name.into())
    } else {
        ServiceSource::Slices
    };
    Service { meta, source, ports, local_traffic: false, addresses }
}
