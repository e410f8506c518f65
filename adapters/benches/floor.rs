//! The part of a change that nobody below the API server can save: from its answer to a write until
//! its watch tells of it, seen by a watch of our own beside tidegate's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use crate::bed::api::{Access, collection};
use crate::common::client::{Connection, Request};
use crate::tools::ms;

/// A watch of all EndpointSlices that notes when it hears of each version.
pub struct Floor(Arc<Mutex<BTreeMap<String, Instant>>>);

impl Floor {
    /// Watches from this version on, until the process ends.
    pub fn watch(access: &Access, version: &str) -> Floor {
        let path = collection("EndpointSlice", "");
        let target = format!("{path}?watch=1&resourceVersion={version}");
        let request = Request::get("127.0.0.1", &target)
            .header("authorization", &format!("Bearer {}", access.token))
            .header("accept", "application/json");
        let mut connection = Connection::tls(access.port, "127.0.0.1", &access.tls).unwrap();
        connection.write(request.text().as_bytes()).unwrap();
        let seen: Arc<Mutex<BTreeMap<String, Instant>>> = Arc::default();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let (mut text, mut part) = (Vec::new(), vec![0; 64 * 1024]);
            while let Ok(read @ 1..) = connection.read(&mut part) {
                let now = Instant::now();
                text.extend_from_slice(&part[..read]);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    // The sizes of chunks are no JSON.
                    if let Ok(event) = serde_json::from_slice::<Value>(&line) {
                        shared.lock().unwrap().insert(version_of(&event["object"]), now);
                    }
                }
            }
        });
        Floor(seen)
    }

    /// Milliseconds from the answer to a write until the watch told of it; `None` when it has not.
    pub fn delay(&self, version: &str, acked: Instant) -> Option<f64> {
        let seen = self.0.lock().unwrap().get(version).copied()?;
        Some(ms(seen.saturating_duration_since(acked)))
    }
}

/// The `resourceVersion` of an object.
pub fn version_of(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}
