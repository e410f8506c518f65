use std::fs;

use tidegate_core::capability::Capabilities;
use tidegate_core::desired::{Backend, BackendSpec, Contribution, Desired, Skeleton};
use tidegate_core::settings::Settings;
use tidegate_core::world::object::Name;

use super::*;
use crate::os::files::OsFiles;

fn vault() -> Vault {
    Vault::new([7; 32])
}

/// A desired state whose contributions can be replaced.
struct Want {
    desired: Desired,
    contributions: Vec<Contribution>,
}

impl Want {
    fn new(state: &Path) -> Want {
        let skeleton = Skeleton {
            checks: false,
            listen: Settings::documented(&state.display().to_string()).listen,
            capabilities: Arc::new(Capabilities::tier_a()),
            header_names: Vec::new(),
            tcp_ports: Vec::new(),
            passthrough: false,
            options: Default::default(),
            errors: Arc::default(),
            peers: Vec::new(),
            snippets: Default::default(),
        };
        Want { desired: Desired::new(Arc::new(skeleton)), contributions: Vec::new() }
    }

    /// So many applications, the first of them with a server of its own address.
    fn set(&mut self, applications: u16, first: u16) {
        let mut new = Vec::new();
        for number in 0..applications {
            let name: Arc<str> = format!("ns_app{number:04}_80").into();
            let spec = BackendSpec {
                service: Name::new("ns", &format!("app{number}")),
                port_name: "http".into(),
                port: 80,
                profile: "tidegate-roundrobin".into(),
                keywords: "".into(),
                files: Vec::new(),
                check: None,
                snippet: None,
                reach: None,
            };
            let port = if number == 0 { first } else { 8000 + number };
            let servers = vec![([10, 0, 0, 1], port).into()];
            let backend = Backend { name: name.clone(), spec: Arc::new(spec), servers };
            new.push(Contribution::Backend(Arc::new(backend)));
            let key = format!("app{number}.test/>").into();
            new.push(Contribution::Map(MapId::Route, key, name));
        }
        new.sort();
        self.desired.replace(&self.contributions, &new);
        self.contributions = new;
    }
}

fn text_of(dir: &Path, generation: Generation, name: &str) -> String {
    let dir = dir.join(dir_name(generation));
    let text = fs::read_to_string(dir.join(name)).unwrap();
    text.replace(&dir.display().to_string(), "HERE")
}

/// What a process writes that has written nothing before.
fn whole(want: &Want, state: &Path, name: &str) -> String {
    let fresh = Generations::new(Arc::new(OsFiles), state);
    let generation = fresh.write(want.desired.image(), &vault()).unwrap();
    let text = text_of(state, generation, name);
    fresh.discard(generation);
    text
}

const NAMES: [&str; 3] = [CONFIG, "maps/route.map", DIGEST];

#[test]
fn a_generation_that_follows_is_as_if_written_whole() {
    let state = tempfile::tempdir().unwrap();
    let generations = Generations::new(Arc::new(OsFiles), state.path());
    let mut want = Want::new(state.path());
    for (applications, first) in [(300, 1), (300, 2), (301, 2), (290, 3), (40, 3), (300, 4)] {
        want.set(applications, first);
        let generation = generations.write(want.desired.image(), &vault()).unwrap();
        for name in NAMES {
            let text = text_of(state.path(), generation, name);
            assert_eq!(text, whole(&want, state.path(), name), "{name}, {applications}");
        }
        generations.point(generation).unwrap();
        generations.prune();
    }
}

#[test]
fn what_somebody_changed_by_hand_is_not_copied() {
    let state = tempfile::tempdir().unwrap();
    let generations = Generations::new(Arc::new(OsFiles), state.path());
    let mut want = Want::new(state.path());
    let by_hand: [fn(&Path, String); 4] = [
        |path, text| fs::write(path, format!("# by hand\n{text}")).unwrap(),
        |path, text| fs::write(path, text.replacen("10.0.0.1", "10.9.9.9", 1)).unwrap(),
        |path, text| fs::write(path, text.split_at(text.len() / 2).0).unwrap(),
        |path, _| fs::remove_file(path).unwrap(),
    ];
    for (round, change) in (1..).zip(by_hand) {
        for name in [CONFIG, "maps/route.map"] {
            want.set(300, 2 * round);
            let generation = generations.write(want.desired.image(), &vault()).unwrap();
            let path = state.path().join(dir_name(generation)).join(name);
            let text = fs::read_to_string(&path).unwrap();
            change(&path, text);
            want.set(300, 2 * round + 1);
            let generation = generations.write(want.desired.image(), &vault()).unwrap();
            for name in NAMES {
                let text = text_of(state.path(), generation, name);
                assert_eq!(text, whole(&want, state.path(), name), "{name}, change {round}");
            }
        }
    }
}
