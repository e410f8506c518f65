//! What a real API server says, recorded for the simulator's (`sim/tests/model_matches_apiserver.rs`).

use crate::bed::Bed;
use crate::bed::api::Api;
use crate::bed::plane::{ADMIN, PORT};
use crate::transcript::{Asked, Server, difference, hold};

/// The real one.
struct Real(Bed);

impl Server for Real {
    fn ask(&mut self, asked: &Asked) -> (u16, String) {
        let mut api = Api::new(&self.0.plane.access(PORT, ADMIN));
        let answer =
            api.ask_as(asked.method, &asked.path, asked.accept, asked.content_type, &asked.body);
        let answer = answer.unwrap();
        (answer.status, answer.body)
    }

    /// Its cache of what is forgotten goes with the process only.
    fn compact(&mut self) {
        self.0.plane.compact();
        self.0.plane.kill_apiserver();
        self.0.plane.start_apiserver();
    }
}

/// `BLESS=1` records anew.
#[test]
fn the_recorded_conversation_is_still_had() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim/tests/data/apiserver.json");
    let said = hold(&mut Real(Bed::start()));
    if std::env::var_os("BLESS").is_some() {
        let text = serde_json::to_string_pretty(&said).unwrap();
        std::fs::write(path, text + "\n").unwrap();
        return;
    }
    let recorded: Vec<_> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    if let Some(difference) = difference(&recorded, &said) {
        panic!("{difference}");
    }
}
