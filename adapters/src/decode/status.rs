//! Decoding of the `status` of an Ingress, a Service or a Node: addresses and readiness.
//!
//! What is wrong in a status is no user's mistake, so nothing of it is noted: an entry that cannot
//! be read is left out.

use std::net::IpAddr;

use serde::de::MapAccess;
use tidegate_core::world::object::{Address, Meta, Node};

use super::lenient::{Context, Field, Got, Object, Record, Text, take, take_list};

/// The `status` of an Ingress, a Service or a Node; their fields have different names.
#[derive(Default)]
pub(super) struct Status {
    /// `loadBalancer.ingress`, in its order.
    pub load_balancer: Vec<Address>,
    internal: Vec<IpAddr>,
    external: Vec<IpAddr>,
    ready: bool,
}

impl<'de> Record<'de> for Status {
    const KEYS: &'static [&'static str] = &["loadBalancer", "addresses", "conditions"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "loadBalancer" => {
                let balancer: LoadBalancer =
                    take(cx, map, Object::of())?.good().unwrap_or_default();
                self.load_balancer = balancer.ingress;
            }
            "addresses" => {
                for (kind, address) in take_list(cx, map, NodeAddress)?.into_iter().flatten() {
                    match &*kind {
                        "InternalIP" => self.internal.push(address),
                        "ExternalIP" => self.external.push(address),
                        _ => {}
                    }
                }
            }
            _ => {
                let conditions = take_list(cx, map, ReadyCondition)?;
                self.ready = conditions.contains(&true);
            }
        }
        Ok(())
    }
}

impl Status {
    /// Where a Service is reached from outside: its load balancer, else its external addresses,
    /// else its cluster addresses.
    pub fn service(
        self,
        external: Vec<Address>,
        cluster: Vec<Address>,
        first: Option<Address>,
    ) -> Vec<Address> {
        if !self.load_balancer.is_empty() {
            self.load_balancer
        } else if !external.is_empty() {
            external
        } else if !cluster.is_empty() {
            cluster
        } else {
            first.into_iter().collect()
        }
    }

    /// The Node of its parts. One that is excluded from load balancers is as good as not ready.
    pub fn node(self, meta: Meta, excluded: bool) -> Node {
        let Status { load_balancer: _, internal, external, ready } = self;
        Node { meta, internal, external, ready: ready && !excluded }
    }
}

#[derive(Default)]
struct LoadBalancer {
    ingress: Vec<Address>,
}

impl<'de> Record<'de> for LoadBalancer {
    const KEYS: &'static [&'static str] = &["ingress"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        _: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        self.ingress = take_list(cx, map, Entry)?.into_iter().flatten().collect();
        Ok(())
    }
}

/// An entry of `loadBalancer.ingress`; one without an address decodes to `None`.
#[derive(Clone, Copy)]
struct Entry;

#[derive(Default)]
struct SlimEntry {
    ip: Option<IpAddr>,
    hostname: Option<Box<str>>,
}

impl<'de> Record<'de> for SlimEntry {
    const KEYS: &'static [&'static str] = &["ip", "hostname"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let text = take(cx, map, Text)?.good();
        match key {
            "ip" => self.ip = text.and_then(|text| text.parse().ok()),
            _ => self.hostname = text.filter(|text| !text.is_empty()),
        }
        Ok(())
    }
}

impl<'de> Field<'de> for Entry {
    type Out = Option<Address>;
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, map: A) -> Result<Got<Self::Out>, A::Error> {
        let entry: SlimEntry = Object::of().map(cx, map)?.good().unwrap_or_default();
        Ok(Got::Good(entry.ip.map(Address::Ip).or(entry.hostname.map(Address::Host))))
    }
}

/// An entry of a Node's `addresses`: type and address; what is no IP address decodes to `None`.
#[derive(Clone, Copy)]
struct NodeAddress;

#[derive(Default)]
struct SlimNodeAddress {
    kind: Box<str>,
    address: Option<IpAddr>,
}

impl<'de> Record<'de> for SlimNodeAddress {
    const KEYS: &'static [&'static str] = &["type", "address"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let text = take(cx, map, Text)?.good();
        match key {
            "type" => self.kind = text.unwrap_or_default(),
            _ => self.address = text.and_then(|text| text.parse().ok()),
        }
        Ok(())
    }
}

impl<'de> Field<'de> for NodeAddress {
    type Out = Option<(Box<str>, IpAddr)>;
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, map: A) -> Result<Got<Self::Out>, A::Error> {
        let slim: SlimNodeAddress = Object::of().map(cx, map)?.good().unwrap_or_default();
        Ok(Got::Good(slim.address.map(|address| (slim.kind, address))))
    }
}

/// An entry of `conditions`: whether it says that a Node is ready.
#[derive(Clone, Copy)]
struct ReadyCondition;

#[derive(Default)]
struct SlimCondition {
    is_ready: bool,
    is_true: bool,
}

impl<'de> Record<'de> for SlimCondition {
    const KEYS: &'static [&'static str] = &["type", "status"];
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let text = take(cx, map, Text)?.good();
        match key {
            "type" => self.is_ready = text.as_deref() == Some("Ready"),
            _ => self.is_true = text.as_deref() == Some("True"),
        }
        Ok(())
    }
}

impl<'de> Field<'de> for ReadyCondition {
    type Out = bool;
    const EXPECTED: &'static str = "an object";
    fn map<A: MapAccess<'de>>(self, cx: &mut Context, map: A) -> Result<Got<bool>, A::Error> {
        let slim: SlimCondition = Object::of().map(cx, map)?.good().unwrap_or_default();
        Ok(Got::Good(slim.is_ready && slim.is_true))
    }
}

/// An IP address as an [`Address`].
#[derive(Clone, Copy)]
pub(super) struct IpField;

impl Field<'_> for IpField {
    type Out = Address;
    const EXPECTED: &'static str = "an IP address";
    fn text(self, cx: &mut Context, v: &str) -> Got<Address> {
        match v.parse() {
            Ok(address) => Got::Good(Address::Ip(address)),
            Err(_) => {
                cx.note("expected an IP address, found another text");
                Got::Bad
            }
        }
    }
}

/// An IP address, or `None` or nothing, as headless Services have it.
#[derive(Clone, Copy)]
pub(super) struct IpOrNone;

impl Field<'_> for IpOrNone {
    type Out = Address;
    const EXPECTED: &'static str = "an IP address";
    fn text(self, _: &mut Context, v: &str) -> Got<Address> {
        v.parse().map_or(Got::Bad, |address| Got::Good(Address::Ip(address)))
    }
}
