//! Promises about snippets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use tidegate_core::action::ActionBody;
use tidegate_core::capability::Capabilities;
use tidegate_core::controller::{Controller, Step};
use tidegate_core::event::{Ack, Event, Outcome};
use tidegate_core::settings::Settings;
use tidegate_core::snippet::Place;
use tidegate_core::time::Time;
use tidegate_core::world::object::{
    BackendRef, ConfigMap, Ingress, Kind, Name, Object, Path, PathType, PortRef, Rule, Service,
    ServicePort, ServiceSource,
};

use super::render::is_contained;
use crate::arb::{hostile, objects};
use crate::run::Verdict;

/// Lines that are fine somewhere, so that hostile ones stand beside them.
const FINE: &[&str] = &[
    "acl a path /x",
    "http-request deny if { path /x }",
    "http-response set-header X-A \"b c\"",
    "timeout server 5s",
    "option http-no-delay",
    "tune.http.maxhdr 99",
    "stats uri /stats",
    "# a comment",
    "",
];

/// Lines that read, run or reach what is not theirs.
const REACHING: &[&str] = &[
    "http-request set-header X-A %[env(PATH)]",
    "http-response set-header X-A \"%[env(PATH)]\"",
    "http-request lua.x",
    "http-request set-map(maps/route.map) x y",
    "http-request return status 200 file /etc/passwd",
    "acl x src -f /etc/passwd",
    "errorfile 503 /etc/passwd",
    "server x 10.6.6.6:80",
    "use_backend other",
];

/// Snippets of everybody, and whether HAProxy takes them.
#[derive(Clone, Debug)]
pub struct Writing {
    /// Of the ConfigMap, by place.
    pub operator: BTreeMap<Place, String>,
    /// Of an Ingress and of its Service.
    pub tenant: [String; 2],
    /// HAProxy's verdicts, in turn.
    pub verdicts: Vec<bool>,
}

/// Any lines in any place.
pub fn writing() -> BoxedStrategy<Writing> {
    let line = || {
        prop_oneof![
            6 => select(FINE).prop_map(str::to_owned),
            4 => hostile::text(),
            1 => select(REACHING).prop_map(str::to_owned)
        ]
    };
    let lines = move || {
        let lines = proptest::collection::vec(line(), 0..4);
        lines.prop_map(|lines| lines.join("\n"))
    };
    let operator = proptest::collection::btree_map(select(&Place::ALL[..]), lines(), 0..5);
    let verdicts = proptest::collection::vec(any::<bool>(), 1..8);
    (operator, [lines(), lines()], verdicts)
        .prop_map(|(operator, tenant, verdicts)| Writing { operator, tenant, verdicts })
        .boxed()
}

fn objects_of(writing: &Writing) -> Vec<Object> {
    let snippet = |text: &String| {
        let key = format!("tidegate.io/{}", Place::Backend.key());
        BTreeMap::from([(key, text.clone())])
    };
    let [of_ingress, of_service] = &writing.tenant;
    let mut annotations = snippet(of_ingress);
    annotations.insert("kubernetes.io/ingress.class".into(), "tidegate".into());
    let data = writing.operator.iter();
    let data = data.map(|(place, text)| (place.key().into(), text.as_str().into()));
    let meta = objects::meta("a", "config", 0, BTreeMap::new());
    vec![
        Object::ConfigMap(Arc::new(ConfigMap { meta, data: data.collect() })),
        Object::Service(Arc::new(Service {
            meta: objects::meta("a", "db", 0, snippet(of_service)),
            source: ServiceSource::Slices,
            ports: vec![ServicePort {
                name: "".into(),
                port: 80,
                app_protocol: None,
                node_port: None,
            }],
            local_traffic: false,
            addresses: Vec::new(),
        })),
        Object::Ingress(Arc::new(Ingress {
            meta: objects::meta("a", "i", 0, annotations),
            class: None,
            default_backend: None,
            rules: vec![Rule {
                host: "h.org".into(),
                paths: vec![Path {
                    path: "/".into(),
                    path_type: PathType::Prefix,
                    backend: BackendRef::Service { name: "db".into(), port: PortRef::Number(80) },
                }],
            }],
            tls: Vec::new(),
            status: Vec::new(),
        })),
    ]
}

/// No line is in the image before HAProxy accepted the snippet it comes from, refused ones never
/// are, and what is accepted keeps to its place; nor is one that reaches beyond it, though HAProxy
/// accepts it.
///
/// # Errors
/// The line that should not be there.
pub fn nothing_unjudged_joins(writing: &Writing) -> Verdict {
    let mut settings = Settings::documented("/s");
    settings.config_map = Some(Name::new("a", "config"));
    settings.snippets.namespaces = vec!["a".into()];
    let mut controller = Controller::new(settings, Time(0));
    let all = objects_of(writing);
    let mut events = vec![Event::ProxyFound(Capabilities::tier_a())];
    events.extend(Kind::ALL.iter().map(|kind| {
        let of_kind = all.iter().filter(|object| object.kind() == *kind);
        Event::Relisted { kind: *kind, objects: of_kind.cloned().collect() }
    }));
    let mut accepted: BTreeSet<String> = BTreeSet::new();
    let mut verdicts = writing.verdicts.iter().cycle();
    let mut step = controller.step(Time(1), events);
    for _ in 0..16 {
        only_accepted(&controller, &accepted)?;
        is_contained(controller.desired().image())?;
        let Step { actions, .. } = step;
        let judged = actions.iter().find_map(|action| match &action.body {
            ActionBody::CheckSnippet { snippet } => Some((action.id, snippet)),
            _ => None,
        });
        let Some((id, snippet)) = judged else { return Ok(()) };
        let outcome = match verdicts.next() {
            Some(true) => {
                accepted.extend(snippet.text.lines().map(str::to_owned));
                Outcome::Done
            }
            Some(false) | None => Outcome::Refused("parsing [/x/snippet.cfg:9] : no".into()),
        };
        let ack = Ack { id, outcomes: vec![outcome], worker: None };
        step = controller.step(Time(2), vec![Event::Acked(ack)]);
    }
    Err("snippets are judged again and again".to_owned())
}

fn only_accepted(controller: &Controller, accepted: &BTreeSet<String>) -> Verdict {
    let image = controller.desired().image();
    let of_backends = image.backends.iter().filter_map(|(_, b)| b.spec.snippet.as_ref());
    for snippet in image.skeleton.snippets.values().chain(of_backends) {
        let stranger = snippet.text.lines().find(|line| !accepted.contains(*line));
        if let Some(line) = stranger {
            return Err(format!("{line:?} is in the image and was not accepted"));
        }
        if let Some(line) = snippet.text.lines().find(|line| reaches(line)) {
            return Err(format!("{line:?} is in the image and reaches beyond its place"));
        }
    }
    Ok(())
}

/// A naive second reading of what no line may have.
fn reaches(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().to_ascii_lowercase();
    let line = line.replace(['"', '\'', '\\'], "");
    let within = ["env(", "lua", "set-map", "/etc/"];
    let first = line.split_whitespace().next().unwrap_or_default();
    within.iter().any(|word| line.contains(word)) || ["server", "use_backend"].contains(&first)
}
