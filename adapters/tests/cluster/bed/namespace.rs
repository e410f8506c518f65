//! A network namespace of the test's own, in which every address of the pods is local.
//!
//! The calling thread enters it, and with it every thread and process that it starts from then on:
//! etcd, kube-apiserver, tidegate, HAProxy, pods and clients talk to each other and to nobody
//! else, and their ports are free. The namespace has no name and ends with its last user.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::common::pods;

/// First two bytes of the addresses that the sample pods get.
const PODS: [u8; 2] = [10, 64];

/// Where pods with IPv6 live.
pub const POD_SIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 1);

/// An address that is not loopback, as the API server wants one to advertise.
pub const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));

/// Makes one, and moves this thread into it.
pub fn enter() {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let uid = rustix::process::getuid();
    assert!(
        uid.is_root(),
        "the cluster tests make a network namespace, which only root may: run them as root"
    );
    let name = format!("tidegate-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    ip(&["netns", "add", &name]);
    let entered = File::open(format!("/run/netns/{name}")).and_then(|file| {
        Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
    });
    // It lives on as long as a thread is in it; without a name nothing stays behind.
    ip(&["netns", "del", &name]);
    entered.unwrap_or_else(|error| panic!("cannot enter the network namespace {name}: {error}"));
    ip(&["link", "set", "lo", "up"]);
    ip(&["addr", "add", &format!("{NODE}/32"), "dev", "lo"]);
    ip(&["route", "add", "local", "10.64.0.0/10", "dev", "lo"]);
    // Without IPv6 in the kernel the tests go on with IPv4.
    let _ = Command::new("ip")
        .args(["-6", "addr", "add", &format!("{POD_SIX}/128")])
        .args(["dev", "lo"])
        .status();
    pods::live_in(PODS, IpAddr::V6(POD_SIX));
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        panic!("the cluster tests need `ip` (Debian package iproute2): {error}")
    });
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
