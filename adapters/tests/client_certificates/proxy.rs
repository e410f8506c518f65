//! The PROXY protocol towards pods.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use super::*;
use crate::common::manifest::{endpoint, service_ports, slice_of};

/// Signature of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the first bytes of a connection are.
fn kind(bytes: &[u8]) -> String {
    if bytes.starts_with(b"PROXY TCP4 127.0.0.1 ") {
        return "v1".into();
    }
    let Some(rest) = bytes.strip_prefix(SIGNATURE) else {
        return format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(20)]));
    };
    // Version and command, family, two bytes of length, 12 of addresses, then TLVs.
    let length = usize::from(rest[2]) * 256 + usize::from(rest[3]);
    let tlvs = &rest[16..4 + length];
    let mut kind = "v2".to_owned();
    if tlvs.first() == Some(&0x20) {
        // PP2_TYPE_SSL: flags, four bytes of verdict, sub-TLVs; 0x22 is the common name.
        kind.push_str("-ssl");
        let of_ssl = 3 + usize::from(tlvs[1]) * 256 + usize::from(tlvs[2]);
        let mut sub = &tlvs[8..of_ssl];
        while sub.len() > 3 {
            if sub[0] == 0x22 {
                kind.push_str("-cn");
            }
            sub = &sub[3 + usize::from(sub[1]) * 256 + usize::from(sub[2])..];
        }
    }
    kind
}

/// Answers each connection with what it began with.
fn pod() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let mut bytes = Vec::new();
            let mut piece = [0; 4096];
            while !bytes.windows(4).any(|w| w == b"\r\n\r\n" && bytes.len() > 60) {
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => bytes.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            let body = kind(&bytes);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
            let _ = write!(stream, "{head}connection: close\r\n\r\n{body}");
        }
    });
    port
}

pub fn every_version(stage: &Stage) {
    let port = pod();
    let values = [
        ("proxy", "v1"),
        ("proxy-v1", "v1"),
        ("proxy-v2", "v2"),
        ("proxy-v2-ssl", "v2-ssl"),
        ("proxy-v2-ssl-cn", "v2-ssl-cn"),
    ];
    let ports = serde_json::json!([{"name": "http", "port": 8080, "targetPort": port}]);
    let to = serde_json::json!([{"name": "http", "port": port, "protocol": "TCP"}]);
    let ready = endpoint(Ipv4Addr::LOCALHOST.into(), serde_json::json!({"ready": true}));
    let slice = slice_of("told-1", "told", to, vec![ready]);
    let mut objects = vec![stage.authority(), service_ports("told", ports), slice];
    for (value, _) in values {
        let host = format!("{value}.test");
        objects.push(stage.servers.issue(&[&host]).secret(&format!("{value}-tls")));
        let route = ingress(value).all(&host, "told").tls(&[&host], &format!("{value}-tls"));
        let route = route.annotation("haproxy.org/send-proxy-protocol", value);
        objects.push(route.with("client-ca", "clients-ca").into());
    }
    objects.push(
        ingress("proxy-bad").all("bad.test", "told").with("send-proxy-protocol", "v3").into(),
    );
    stage.rig.put("proxy", &objects);
    for (value, kind) in values {
        let answer = stage.wait(&format!("{value}.test"), Some(&stage.good), 200);
        assert_eq!(answer.body, kind, "{value}");
    }
    stage.rig.wait_problem(&["BadValue", "\"name\":\"proxy-bad\"", "send-proxy-protocol"]);
    let answer = stage.rig.now("bad.test", "/").body;
    assert!(answer.starts_with("\"GET / "), "{answer}");
    stage.rig.remove("proxy");
}
