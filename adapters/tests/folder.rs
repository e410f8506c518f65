//! The folder source: only differences, the last good version of what is broken, and never an
//! object lost for any other reason than its removal.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::folder::{Folder, FolderError, FolderSettings, read};
use tidegate::vault::Vault;
use tidegate_core::event::Event;
use tidegate_core::problem::{Problem, Reason, Severity};
use tidegate_core::world::object::{Kind, Name, Object, ObjectRef};
use tokio::sync::mpsc::{Receiver, channel};

/// Longest time a change may take to be told; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  \
         - port: {port}\n"
    )
}

fn service_ref(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::Service, "default", name)
}

fn settings(path: &Path) -> FolderSettings {
    let config_maps = vec![Name::new("default", "tidegate")];
    FolderSettings { path: path.to_owned(), config_maps }
}

struct Rig {
    dir: TempDir,
    vault: Arc<Vault>,
    _folder: Folder,
    events: Receiver<Vec<Event>>,
    first: Vec<Event>,
}

impl Rig {
    /// A running source on a folder with these files.
    fn with(files: &[(&str, &str)]) -> Rig {
        let dir = TempDir::new().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let vault = Arc::new(Vault::new([1; 32]));
        let (sender, mut events) = channel(64);
        let folder = Folder::start(settings(dir.path()), Arc::clone(&vault), sender).unwrap();
        let first = events.blocking_recv().unwrap();
        Rig { dir, vault, _folder: folder, events, first }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The next batch of events.
    fn next(&mut self) -> Vec<Event> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let batch = async { tokio::time::timeout(PATIENCE, self.events.recv()).await };
        runtime.block_on(batch).expect("an event in time").expect("the source runs")
    }

    /// Changes a file of its own and expects nothing but that change: all before it was silent.
    fn expect_silence(&mut self) {
        static PORT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
        let port = PORT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Longer than the source waits for a file that is being replaced.
        std::thread::sleep(Duration::from_millis(50));
        self.write("zz-probe.yaml", &service("probe", port));
        assert_eq!(told(&self.next()), [format!("+ Service default/probe :{port}")]);
    }
}

/// Events in short: what changed, and problems with their places.
fn told(events: &[Event]) -> Vec<String> {
    let mut told = Vec::new();
    for event in events {
        match event {
            Event::Upserted(Object::Service(service)) => {
                let port = service.ports.first().map_or(0, |port| port.port);
                told.push(format!("+ Service {} :{port}", service.meta.name));
            }
            Event::Upserted(object) => told.push(format!("+ {}", object.object_ref())),
            Event::Deleted(name) => told.push(format!("- {name}")),
            Event::SourceProblems(problems) => {
                told.extend(problems.iter().map(|p| format!("! {} {}", p.field, p.object)));
                if problems.is_empty() {
                    told.push("no problems".to_owned());
                }
            }
            other => panic!("{other:?}"),
        }
    }
    told
}

fn problems(events: &[Event]) -> Vec<Problem> {
    let found = events.iter().find_map(|event| match event {
        Event::SourceProblems(problems) => Some(problems.clone()),
        _ => None,
    });
    found.expect("problems")
}

fn listed(events: &[Event]) -> Vec<String> {
    let mut names = Vec::new();
    for event in events {
        if let Event::Relisted { objects, .. } = event {
            names.extend(objects.iter().map(|object| object.object_ref().to_string()));
        }
    }
    names
}

#[test]
fn the_first_batch_lists_every_kind_once() {
    let rig = Rig::with(&[
        ("b.yaml", &(service("b", 80) + "---\n" + &service("c", 81))),
        ("sub/a.json", r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}"#),
        (
            "sub/list.yml",
            "kind: List\napiVersion: v1\nitems:\n- kind: Namespace\n  apiVersion: v1\n  \
             metadata: {name: n}\n",
        ),
        (
            "config.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: tidegate}\n---\n\
                         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n",
        ),
        ("ignored.txt", "not: [yaml"),
        (".hidden.yaml", "not: [yaml"),
        ("deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"),
        ("empty.yaml", "# nothing\n---\n"),
    ]);
    let kinds: Vec<Kind> = rig
        .first
        .iter()
        .filter_map(|event| match event {
            Event::Relisted { kind, .. } => Some(*kind),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, Kind::ALL);
    assert_eq!(rig.first.len(), Kind::ALL.len(), "no problems: {:?}", rig.first.last());
    assert_eq!(
        listed(&rig.first),
        [
            "Namespace n",
            "ConfigMap default/tidegate",
            "Service default/a",
            "Service default/b",
            "Service default/c",
        ]
    );
    let once = read(&settings(rig.dir.path()), &rig.vault).unwrap();
    assert_eq!(once, rig.first, "the verbs that read once see the same");
}

#[test]
fn a_missing_folder_is_an_error() {
    let vault = Arc::new(Vault::new([1; 32]));
    let missing = settings(Path::new("/does/not/exist"));
    assert!(matches!(read(&missing, &vault), Err(FolderError::Unreadable { .. })));
    let (sender, _receiver) = channel(1);
    assert!(Folder::start(missing, vault, sender).is_err());
}

#[test]
fn only_what_differs_is_told() {
    let three = |port| {
        let two = service("a", 80) + "---\n" + &service("b", port);
        two + "---\n" + &service("c", 82)
    };
    let mut rig = Rig::with(&[("apps.yaml", &three(81))]);
    rig.write("apps.yaml", &three(91));
    assert_eq!(told(&rig.next()), ["+ Service default/b :91"]);
    rig.write("apps.yaml", &three(91));
    rig.expect_silence();
    rig.write("apps.yaml", &(service("c", 82) + "---\n" + &service("a", 80)));
    assert_eq!(told(&rig.next()), ["- Service default/b"]);
    rig.write("new.yaml", &service("d", 1));
    assert_eq!(told(&rig.next()), ["+ Service default/d :1"]);
    fs::remove_file(rig.path("apps.yaml")).unwrap();
    assert_eq!(told(&rig.next()), ["- Service default/a", "- Service default/c"]);
}

#[test]
fn a_broken_file_leaves_its_last_good_version_in_force() {
    let good = service("a", 80) + "---\n" + &service("b", 81);
    let mut rig = Rig::with(&[("apps.yaml", &good)]);
    let broken = service("a", 90) + "---\n" + &service("b", 91).replace("ports:", "ports: [");
    rig.write("apps.yaml", &broken);
    let events = rig.next();
    let found = problems(&events);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(found[0].object, service_ref("b"));
    assert_eq!((found[0].reason, found[0].severity), (Reason::Source, Severity::Warning));
    let line = found[0].field.strip_prefix("apps.yaml:").and_then(|at| at.split(':').next());
    let line: usize = line.unwrap().parse().unwrap();
    assert!((14..=16).contains(&line), "{}", found[0]);
    rig.write("apps.yaml", &(service("a", 90) + "---\n" + &service("b", 91)));
    let fixed = ["+ Service default/a :90", "+ Service default/b :91", "no problems"];
    assert_eq!(told(&rig.next()), fixed);
    rig.write("apps.yaml", "");
    assert_eq!(told(&rig.next()), ["- Service default/a", "- Service default/b"]);
}

#[test]
fn a_json_mistake_is_told_with_its_place() {
    let rig = Rig::with(&[("a.json", "{\"kind\": \"Service\",\n  \"apiVersion\" \"v1\"}\n")]);
    let found = problems(&rig.first);
    assert!(found[0].field.starts_with("a.json:2:"), "{}", found[0]);
    assert_eq!(found[0].severity, Severity::Error);
}

#[test]
fn the_good_documents_of_a_new_file_are_used() {
    let text = service("a", 80) + "---\nkind: [\n---\n" + &service("b", 1);
    let rig = Rig::with(&[("a.yaml", &text)]);
    assert_eq!(listed(&rig.first), ["Service default/a", "Service default/b"]);
    assert_eq!(problems(&rig.first).len(), 1);
}

#[test]
fn an_object_that_becomes_undecodable_stays_as_it_was() {
    let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: c}\n";
    let mut rig = Rig::with(&[("a.yaml", &(class.to_owned() + "---\n" + &service("a", 80)))]);
    let old = class.replace("/v1", "/v1beta1");
    rig.write("a.yaml", &(old + "---\n" + &service("a", 81)));
    assert_eq!(told(&rig.next()), ["+ Service default/a :81", "! a.yaml:1 IngressClass c"]);
    rig.write("a.yaml", &service("a", 81));
    assert_eq!(told(&rig.next()), ["- IngressClass c", "no problems"]);
}

#[test]
fn nothing_is_lost_while_an_editor_replaces_a_file() {
    let mut rig = Rig::with(&[("a.yaml", &service("a", 80))]);
    // Write beside, rename over.
    rig.write(".a.yaml.swp", &service("a", 81));
    fs::rename(rig.path(".a.yaml.swp"), rig.path("a.yaml")).unwrap();
    assert_eq!(told(&rig.next()), ["+ Service default/a :81"]);
    // Rename away, write anew.
    fs::rename(rig.path("a.yaml"), rig.path("a.yaml~")).unwrap();
    rig.write("a.yaml", &service("a", 82));
    fs::remove_file(rig.path("a.yaml~")).unwrap();
    assert_eq!(told(&rig.next()), ["+ Service default/a :82"]);
    // Remove, write the same again.
    fs::remove_file(rig.path("a.yaml")).unwrap();
    rig.write("a.yaml", &service("a", 82));
    rig.expect_silence();
    // Rename.
    fs::rename(rig.path("a.yaml"), rig.path("b.yaml")).unwrap();
    rig.expect_silence();
    rig.write("b.yaml", &service("a", 83));
    assert_eq!(told(&rig.next()), ["+ Service default/a :83"]);
}

#[test]
fn a_half_written_file_is_not_seen() {
    use std::io::Write as _;
    let mut rig = Rig::with(&[("a.yaml", &(service("a", 80) + "---\n" + &service("b", 81)))]);
    let mut file = fs::File::create(rig.path("a.yaml")).unwrap();
    file.write_all(service("a", 80).as_bytes()).unwrap();
    file.flush().unwrap();
    rig.expect_silence();
    file.write_all(("---\n".to_owned() + &service("b", 82)).as_bytes()).unwrap();
    drop(file);
    assert_eq!(told(&rig.next()), ["+ Service default/b :82"]);
}

#[test]
fn of_two_files_with_the_same_object_the_first_wins() {
    let mut rig = Rig::with(&[("b.yaml", &service("a", 80)), ("c.yaml", &service("a", 81))]);
    assert_eq!(listed(&rig.first), ["Service default/a"]);
    let found = problems(&rig.first);
    assert_eq!((found[0].reason, &found[0].object), (Reason::Conflict, &service_ref("a")));
    assert!(found[0].what.contains("b.yaml") && found[0].what.contains("c.yaml"));
    rig.write("a.yaml", &service("a", 79));
    assert_eq!(told(&rig.next())[..1], ["+ Service default/a :79"]);
    rig.write("c.yaml", &service("a", 99));
    rig.expect_silence();
    fs::remove_file(rig.path("a.yaml")).unwrap();
    assert_eq!(told(&rig.next()), ["+ Service default/a :80", "! c.yaml Service default/a"]);
    fs::remove_file(rig.path("b.yaml")).unwrap();
    assert_eq!(told(&rig.next()), ["+ Service default/a :99", "no problems"]);
    let double = service("x", 1) + "---\n" + &service("x", 2);
    rig.write("x.yaml", &double);
    assert_eq!(told(&rig.next()), ["+ Service default/x :1", "! x.yaml Service default/x"]);
}

#[test]
fn new_and_removed_folders_are_followed() {
    let mut rig = Rig::with(&[]);
    fs::create_dir(rig.path("team")).unwrap();
    rig.write("team/a.yaml", &service("a", 80));
    assert_eq!(told(&rig.next()), ["+ Service default/a :80"]);
    rig.write("team/a.yaml", &service("a", 81));
    assert_eq!(told(&rig.next()), ["+ Service default/a :81"]);
    fs::remove_dir_all(rig.path("team")).unwrap();
    assert_eq!(told(&rig.next()), ["- Service default/a"]);
}

#[test]
fn a_config_map_volume_is_switched_at_once() {
    use std::os::unix::fs::symlink;
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (version, port) in [("..1", 80), ("..2", 81)] {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("a.yaml"), service("a", port)).unwrap();
    }
    symlink("..1", path("..data")).unwrap();
    symlink("..data/a.yaml", path("a.yaml")).unwrap();
    let (sender, mut events) = channel(64);
    let vault = Arc::new(Vault::new([1; 32]));
    let folder = Folder::start(settings(dir.path()), vault, sender).unwrap();
    assert_eq!(listed(&events.blocking_recv().unwrap()), ["Service default/a"]);
    symlink("..2", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    assert_eq!(told(&events.blocking_recv().unwrap()), ["+ Service default/a :81"]);
    folder.stop();
}

#[test]
fn a_folder_that_vanishes_keeps_its_last_state() {
    let mut rig = Rig::with(&[("a.yaml", &service("a", 80))]);
    let away = rig.dir.path().with_extension("away");
    fs::rename(rig.dir.path(), &away).unwrap();
    let events = rig.next();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(problems(&events)[0].what.contains("cannot be read"));
    fs::rename(&away, rig.dir.path()).unwrap();
    assert_eq!(told(&rig.next()), ["no problems"]);
    rig.write("a.yaml", &service("a", 81));
    assert_eq!(told(&rig.next()), ["+ Service default/a :81"]);
}

#[test]
fn secrets_stay_in_the_vault_while_their_file_is_there() {
    let made = rcgen::generate_simple_self_signed(["web.example".to_owned()]).unwrap();
    let indented = |pem: String| pem.lines().fold(String::new(), |all, l| all + "    " + l + "\n");
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: cert}}\nstringData:\n  tls.crt: |\n{}  \
         tls.key: |\n{}",
        indented(made.cert.pem()),
        indented(made.signing_key.serialize_pem())
    );
    let mut rig = Rig::with(&[("secret.yaml", &text)]);
    let secret = rig.first.iter().find_map(|event| match event {
        Event::Relisted { kind: Kind::Secret, objects } => objects.first().cloned(),
        _ => None,
    });
    let Some(Object::Secret(secret)) = secret else { panic!() };
    let digest = secret.certificate.clone().unwrap().unwrap().digest;
    let sweep = |rig: &Rig| {
        (0..=tidegate::vault::IDLE_SWEEPS_MAX).map(|_| rig.vault.sweep(&[].into())).sum::<usize>()
    };
    assert_eq!(sweep(&rig), 0);
    assert!(rig.vault.certificate(&digest).is_some());
    fs::remove_file(rig.path("secret.yaml")).unwrap();
    assert_eq!(told(&rig.next()), ["- Secret default/cert"]);
    assert_eq!(sweep(&rig), 1);
}

#[test]
fn text_that_is_not_utf_8_leaves_the_last_good_version() {
    let mut rig = Rig::with(&[("a.yaml", &service("a", 80))]);
    fs::write(rig.path("a.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    let events = rig.next();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(problems(&events)[0].what.contains("UTF-8"));
    rig.write("a.yaml", &service("a", 81));
    assert_eq!(told(&rig.next()), ["+ Service default/a :81", "no problems"]);
}

#[test]
fn hostile_texts_are_problems_of_their_own_file_only() {
    let deep = |open: &str| open.repeat(200_000);
    let bomb = (1..30).fold("a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let alias = format!("*a{}, ", n - 1).repeat(8);
        text + &format!("a{n}: &a{n} [{alias}x]\n")
    });
    let texts = [
        deep("["),
        deep("{a: "),
        deep("- "),
        format!("{{\"a\":{}", deep("[")),
        deep("[").replace('[', "? "),
        bomb,
        "a: &a [*a]\n".to_owned(),
        "%YAML 9.9\n---\nkind: [".to_owned(),
        "kind: Service\nkind: Service\n".to_owned(),
        "\t\u{0}\u{7f}".to_owned(),
        "kind: \"Serv".to_owned(),
    ];
    let names: Vec<String> = (0..texts.len()).map(|n| format!("bad-{n:02}.yaml")).collect();
    let good = service("good", 80);
    let mut files = vec![("good.yaml", good.as_str())];
    files.extend(names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)));
    let rig = Rig::with(&files);
    assert_eq!(listed(&rig.first), ["Service default/good"]);
    let found = problems(&rig.first);
    for name in &names {
        assert!(found.iter().any(|p| p.field.starts_with(name.as_str())), "{name}: {found:#?}");
    }
    assert!(found.iter().all(|p| p.what.len() < 400), "{found:#?}");
}

#[test]
fn the_samples_have_no_mistakes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let samples = settings(&root.join("deploy/examples/manifests"));
    let events = read(&samples, &Vault::new([1; 32])).unwrap();
    assert_eq!(events.len(), Kind::ALL.len(), "no problems: {:?}", events.last());
    for event in &events {
        let Event::Relisted { objects, .. } = event else { panic!() };
        assert!(objects.iter().all(|object| object.meta().notes.is_empty()));
    }
    assert_eq!(listed(&events).iter().filter(|name| name.starts_with("Ingress ")).count(), 3);
}
