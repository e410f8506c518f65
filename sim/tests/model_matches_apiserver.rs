//! The simulated API server against the real one: a conversation that was recorded with a
//! kube-apiserver (`sim/tests/data/apiserver.json`; the test `recorded` of the cluster tests has it
//! again with the real one) is had with the simulated one, and must be the same.

use std::fs;

use serde_json::Value;
use tidegate_sim::network::api::http::Request;
use tidegate_sim::network::api::store::Store;
use tidegate_sim::network::api::verbs::{Place, answer};
use tidegate_sim::network::api::watch;

#[path = "../../adapters/tests/cluster/transcript.rs"]
mod transcript;
use transcript::{Asked, Server, difference, hold};

/// The simulated one, without a network.
struct Model(Store);

impl Server for Model {
    fn ask(&mut self, asked: &Asked) -> (u16, String) {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let request = Request {
            method: asked.method.to_owned(),
            path: path.to_owned(),
            query: pairs.map(|(k, v)| (k.to_owned(), v.replace("%3D", "="))).collect(),
            accept: asked.accept.to_owned(),
            body: asked.body.clone().into_bytes(),
        };
        let place = Place::of(path).unwrap();
        assert_eq!(asked.method == "PATCH", asked.content_type.contains("merge-patch"));
        if asked.method == "DELETE" {
            // Nobody deletes over HTTP in the simulator: objects go by what the schedule says.
            let key = (place.namespace.clone().unwrap(), place.name.clone().unwrap());
            self.0.delete(place.resource.plural, &key);
            return (200, "{}".to_owned());
        }
        if request.parameter("watch").is_none() {
            let answer = answer(&mut self.0, &place, &request, usize::MAX);
            return (answer.code, answer.body.to_string());
        }
        let (mut lines, mut at) = match watch::begin(&self.0, true, &place, &request) {
            Ok(begun) => begun,
            Err(refused) => return (refused.code, refused.body.to_string()),
        };
        let next = watch::next(&self.0, &place, &request, &mut at);
        lines.extend(next.unwrap_or_else(|last| last));
        (200, String::from_utf8(lines).unwrap())
    }

    fn compact(&mut self) {
        self.0.compact();
    }
}

#[test]
fn the_simulated_api_server_says_what_the_real_one_said() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/apiserver.json");
    let recorded: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(recorded.len() > 40, "{} steps", recorded.len());
    let said = hold(&mut Model(Store::new(1, 100)));
    if let Some(difference) = difference(&recorded, &said) {
        panic!("{difference}");
    }
    println!("{} steps, no difference", recorded.len());
}
