//! Decoding of `discovery.k8s.io/v1/EndpointSlice`.
//!
//! Absent conditions mean ready, serving and not terminating. Only the first address of an
//! endpoint counts (the API says all are the same endpoint). Slices of type FQDN have no meaning
//! for a proxy and give no endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use tidegate_core::world::object::{Endpoint, EndpointSlice, Meta, Note, SlicePort};

use super::lenient::{Context, Field, Flag, Got, Lenient, Object, Port, Record, Text, take};
use super::service::IsOtherProtocol;

/// `endpoints[]`, with `nodeName`. An endpoint without a usable address is left out.
#[derive(Clone, Copy)]
pub(super) struct EndpointField;

#[derive(Default)]
struct SlimEndpoint {
    address: Option<IpAddr>,
    node: Option<Box<str>>,
    noted: bool,
    conditions: Conditions,
}

#[derive(Default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl<'de> Record<'de> for SlimEndpoint {
    const KEYS: &'static [&'static str] = &["addresses", "conditions", "nodeName"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "addresses" => match take(cx, map, FirstAddress)? {
                Got::Good(address) => self.address = Some(address),
                Got::Absent => {}
                Got::Bad => self.noted = true,
            },
            "nodeName" => self.node = take(cx, map, Text)?.good(),
            _ => self.conditions = take(cx, map, Object::of())?.good().unwrap_or_default(),
        }
        Ok(())
    }
}

impl<'de> Record<'de> for Conditions {
    const KEYS: &'static [&'static str] = &["ready", "serving", "terminating"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let value = take(cx, map, Flag)?.good();
        match key {
            "ready" => self.ready = value,
            "serving" => self.serving = value,
            _ => self.terminating = value,
        }
        Ok(())
    }
}

impl<'de> Field<'de> for EndpointField {
    type Out = (Endpoint, Option<Box<str>>);
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, map: A) -> Result<Got<Self::Out>, A::Error> {
        let Got::Good(slim) = Object::<SlimEndpoint>::of().map(cx, map)? else {
            return Ok(Got::Bad);
        };
        let Some(address) = slim.address else {
            if !slim.noted {
                cx.note_below(".addresses", "required");
            }
            return Ok(Got::Bad);
        };
        let Conditions { ready, serving, terminating } = slim.conditions;
        let endpoint = Endpoint {
            address,
            ready: ready.unwrap_or(true),
            serving: serving.unwrap_or(true),
            terminating: terminating.unwrap_or(false),
        };
        Ok(Got::Good((endpoint, slim.node)))
    }
}

/// The first entry of a list of addresses.
#[derive(Clone, Copy)]
struct FirstAddress;

impl<'de> Field<'de> for FirstAddress {
    type Out = IpAddr;
    const EXPECTED: &'static str = "a list of addresses";
    fn list<A: SeqAccess<'de>>(
        self,
        cx: &mut Context,
        mut list: A,
    ) -> Result<Got<IpAddr>, A::Error> {
        let first = list.next_element_seed(Lenient { cx, field: Address })?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first.unwrap_or(Got::Absent))
    }
}

#[derive(Clone, Copy)]
struct Address;

impl Field<'_> for Address {
    type Out = IpAddr;
    const EXPECTED: &'static str = "an IP address";
    fn text(self, cx: &mut Context, v: &str) -> Got<IpAddr> {
        match v.parse() {
            Ok(address) => Got::Good(address),
            Err(_) => {
                cx.note("expected an IP address, found another text");
                Got::Bad
            }
        }
    }
}

/// `ports[]`. Ports of protocols other than TCP decode to `None`.
#[derive(Clone, Copy)]
pub(super) struct SlicePortField;

#[derive(Default)]
struct SlimSlicePort {
    name: Box<str>,
    port: Option<u16>,
    other_protocol: bool,
    bad: bool,
}

impl<'de> Record<'de> for SlimSlicePort {
    const KEYS: &'static [&'static str] = &["name", "port", "protocol"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "name" => match take(cx, map, Text)? {
                Got::Good(name) => self.name = name,
                Got::Absent => {}
                Got::Bad => self.bad = true,
            },
            "port" => match take(cx, map, Port)? {
                Got::Good(port) => self.port = Some(port),
                Got::Absent => {}
                Got::Bad => self.bad = true,
            },
            _ => self.other_protocol = take(cx, map, IsOtherProtocol)?.good().unwrap_or(false),
        }
        Ok(())
    }
}

impl<'de> Field<'de> for SlicePortField {
    type Out = Option<SlicePort>;
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, map: A) -> Result<Got<Self::Out>, A::Error> {
        let Got::Good(slim) = Object::<SlimSlicePort>::of().map(cx, map)? else {
            return Ok(Got::Bad);
        };
        if slim.bad {
            return Ok(Got::Bad);
        }
        let SlimSlicePort { name, port, other_protocol, bad: _ } = slim;
        Ok(Got::Good((!other_protocol).then_some(SlicePort { name, port })))
    }
}

/// The slice of its parts.
pub(super) fn endpoint_slice(
    mut meta: Meta,
    service: Arc<str>,
    address_type: Option<Box<str>>,
    ports: Vec<SlicePort>,
    mut endpoints: Vec<(Endpoint, Option<Box<str>>)>,
) -> EndpointSlice {
    if address_type.as_deref() == Some("FQDN") {
        endpoints.clear();
        meta.notes.retain(|note| !note.field.starts_with("endpoints["));
        let message = "a proxy cannot use slices of type FQDN; its endpoints are left out";
        meta.notes.push(Note { field: "addressType".into(), message: message.into() });
    }
    let ready = endpoints.iter().filter(|(endpoint, _)| endpoint.ready);
    let nodes: BTreeSet<&str> = ready.filter_map(|(_, node)| node.as_deref()).collect();
    let nodes = nodes.into_iter().map(Arc::from).collect();
    let endpoints = endpoints.into_iter().map(|(endpoint, _)| endpoint).collect();
    EndpointSlice { meta, service, ports, endpoints, nodes }
}
