//! Promises about what tenants write: parsers take anything, and nothing breaks out of its place
//! in a file or command.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::slice;
use std::sync::Arc;

use tidegate_core::action::{ActionBody, MapId};
use tidegate_core::capability::Tier;
use tidegate_core::check;
use tidegate_core::controller::Controller;
use tidegate_core::desired::{Image, Skeleton};
use tidegate_core::event::Event;
use tidegate_core::render;
use tidegate_core::time::Time;
use tidegate_core::world::object::{
    BackendRef, ConfigMap, Ingress, Object, Path, PathType, PortRef, Rule, Service, ServicePort,
    ServiceSource, Tls,
};

use super::projections;
use crate::arb::{Case, Setup, TIERS, by_hand, objects};
use crate::drive::{Drive, Watch, event_of};
use crate::oracle::haproxy::Haproxy;
use crate::oracle::lexer::{self, CrtListLine, Section};
use crate::oracle::load;
use crate::run::Verdict;

/// Texts a tenant may write, for every place that takes one.
#[derive(Clone, Debug)]
pub struct Writing {
    /// What HAProxy can do.
    pub tier: Tier,
    /// Full key to value.
    pub annotations: BTreeMap<String, String>,
    /// Host of a rule.
    pub host: String,
    /// Path of a rule.
    pub path: String,
    /// Any other name.
    pub name: String,
}

/// Of how many writings of one world the annotations stand in the ConfigMap too: few enough that
/// what they say for everybody does not put the others out of the way.
const IN_CONFIG_MAP: usize = 5;

/// How many texts stand in how many fields: [`case_of`] writes each annotation in an Ingress and a
/// Service, and those of the first ones in the ConfigMap, the host three times, the path twice and
/// the name five times.
#[must_use]
pub fn texts(writings: &[Writing]) -> usize {
    let annotated = |all: &[Writing]| all.iter().map(|w| w.annotations.len()).sum::<usize>();
    let first = &writings[..writings.len().min(IN_CONFIG_MAP)];
    2 * annotated(writings) + annotated(first) + (3 + 2 + 5) * writings.len()
}

/// What tenants wrote goes into every field of an Ingress and a Service of each, and of the
/// ConfigMap, next to a cluster that works. HAProxy is of the tier that the first one says.
#[must_use]
pub fn case_of(writings: &[Writing]) -> Case {
    let mut initial = Vec::new();
    let mut data = BTreeMap::new();
    for (number, writing) in writings.iter().enumerate() {
        initial.extend(objects_of(number, writing));
        if number < IN_CONFIG_MAP {
            let said = writing.annotations.iter();
            data.extend(
                said.map(|(k, v)| (k.replace("tidegate.io/", "").into(), v.as_str().into())),
            );
        }
    }
    let meta = objects::meta("a", "config", 0, BTreeMap::new());
    initial.push(Object::ConfigMap(Arc::new(ConfigMap { meta, data })));
    let setup = Setup {
        tier: writings.first().map_or(Tier::A, |writing| writing.tier),
        default_backend: false,
        default_certificate: false,
        classless: false,
        external_names: true,
    };
    Case { setup, furnished: true, initial, acts: Vec::new() }
}

/// An Ingress and a Service with what a tenant wrote in all their fields. The first has a host in
/// common with the cluster that works, each other one a host of its own.
fn objects_of(number: usize, writing: &Writing) -> [Object; 2] {
    let Writing { tier: _, annotations, host, path, name } = writing;
    let (ingress, service, own) = match number {
        0 => ("i3".to_owned(), "db".to_owned(), "h.org".to_owned()),
        n => (format!("i3-{n}"), format!("db-{n}"), format!("h{n}.org")),
    };
    let meta = objects::meta("a", &ingress, 0, annotations.clone());
    let rule = |host: &str, path: &str, path_type| Rule {
        host: host.into(),
        paths: vec![Path {
            path: path.into(),
            path_type,
            backend: BackendRef::Service {
                name: service.as_str().into(),
                port: PortRef::Number(80),
            },
        }],
    };
    let ingress = Object::Ingress(Arc::new(Ingress {
        meta,
        class: Some("ours".into()),
        default_backend: Some(BackendRef::Service {
            name: name.as_str().into(),
            port: PortRef::Name(name.as_str().into()),
        }),
        rules: vec![
            rule(host, path, PathType::Prefix),
            rule(&own, path, PathType::Exact),
            rule(host, "/h", PathType::ImplementationSpecific),
            rule(&own, "/h", PathType::Prefix),
        ],
        tls: vec![Tls { hosts: vec![host.as_str().into()], secret: Some("tls".into()) }],
        status: Vec::new(),
    }));
    let port = ServicePort {
        name: name.as_str().into(),
        port: 80,
        app_protocol: Some(name.as_str().into()),
        node_port: None,
    };
    let service = Object::Service(Arc::new(Service {
        meta: objects::meta("a", &service, 0, annotations.clone()),
        source: ServiceSource::ExternalName(name.as_str().into()),
        ports: vec![port],
        local_traffic: false,
        addresses: Vec::new(),
    }));
    [ingress, service]
}

/// A controller that was told, and whose external Services have an address.
fn told(writings: &[Writing]) -> Controller {
    let mut controller = projections::told(&case_of(writings));
    let addresses = vec![IpAddr::from([10, 0, 0, 1])];
    let names: BTreeSet<&str> = writings.iter().map(|writing| writing.name.as_str()).collect();
    let resolved = |name: &str| Event::Resolved { name: name.into(), addresses: addresses.clone() };
    let _ = controller.step(Time(1), names.into_iter().map(resolved).collect());
    controller
}

/// Any bytes in any field: a step ends, keeps the invariants, and equals a computation from
/// nothing.
///
/// # Errors
/// A broken invariant.
pub fn parsers_are_total(writing: &Writing) -> Verdict {
    let controller = told(slice::from_ref(writing));
    let broken = check::check(&controller);
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
}

/// The same, and the rendering has exactly the intended structure.
///
/// # Errors
/// What broke out of its place.
pub fn writing_is_contained(writing: &Writing) -> Verdict {
    let controller = told(slice::from_ref(writing));
    is_contained(controller.desired().image())
}

/// A rendering has the intended structure at every step of a case, and so have the commands.
///
/// # Errors
/// What broke out of its place.
pub fn render_is_injection_safe(case: &Case) -> Verdict {
    let mut drive = Drive::start(case, Watch::default())?;
    drive.answer_all()?;
    for event in case.acts.iter().filter_map(event_of) {
        drive.step(vec![event])?;
        drive.answer_all()?;
    }
    is_contained(drive.controller.desired().image())?;
    for given in &drive.steps {
        for action in &given.actions {
            if let ActionBody::Runtime { commands, .. } = &action.body {
                for command in commands {
                    let text = format!("{command:?}");
                    // Debug shows what cannot stand in a command as an escape.
                    let escapes = ["\\n", "\\r", "\\t", "\\0", "\\u{"];
                    let quiet = text.replace("\\\\", "");
                    if let Some(bad) = escapes.iter().find(|e| quiet.contains(*e)) {
                        return Err(format!("{bad} in a command: {text}"));
                    }
                }
            }
        }
    }
    Ok(())
}

pub(super) fn is_contained(image: &Image) -> Verdict {
    let generation = load::generation(image);
    let sections = lexer::config(&generation.config)?;
    let (profiles, sections): (Vec<Section>, Vec<Section>) =
        sections.into_iter().partition(is_of_snippet);
    let snippets = render::profile::with_snippets(image);
    if profiles.len() != snippets.len() {
        return Err(format!("{} profiles with snippets, not {}", profiles.len(), snippets.len()));
    }
    let (tenants, fixed): (Vec<Section>, Vec<Section>) =
        sections.into_iter().partition(is_of_tenant);
    static_part_is_benign(image, &fixed)?;
    backends_are_as_wanted(image, &tenants)?;
    for id in MapId::ALL {
        let text = generation.maps.get(id.file()).map_or("", String::as_str);
        map_is_as_wanted(image, id, text)?;
    }
    let lines = lexer::crt_list(&generation.crt_list)?;
    let wanted = render::crt_list::all_lines(image);
    if lines.len() != wanted.len() + 1 {
        return Err(format!("the crt-list has {} lines", lines.len()));
    }
    for CrtListLine { file, named, filters: hosts } in lines.iter().skip(1) {
        let authority = Haproxy::authority_of(file);
        if named.iter().any(|name| authority.as_ref() != Some(name)) {
            return Err(format!("the crt-list has {file} with {named:?}"));
        }
        let line = wanted.iter().find(|l| *l.file == **file);
        let same =
            line.is_some_and(|l| l.hosts.iter().map(|h| &**h).eq(hosts.iter().map(|h| &**h)));
        let plain = |h: &String| h.chars().all(|c| c.is_ascii_alphanumeric() || "*.-_".contains(c));
        if !same || !hosts.iter().all(plain) {
            return Err(format!("the crt-list has {file} {hosts:?}"));
        }
    }
    Ok(())
}

fn is_of_snippet(section: &Section) -> bool {
    let named = |name: &String| name.contains("-snippet-");
    section.kind == "defaults" && section.words.first().is_some_and(named)
}

fn is_of_tenant(section: &Section) -> bool {
    section.kind == "backend" && !section.words.first().is_some_and(|n| n.starts_with("tidegate-"))
}

/// The static part has the lines it has for harmless header names and options, word for word but
/// for those.
fn static_part_is_benign(image: &Image, sections: &[Section]) -> Verdict {
    let skeleton = &image.skeleton;
    let names = (0..skeleton.header_names.len()).map(|n| format!("x-benign-{n}").into());
    // Words of which each is one of a few, numbers and addresses stay; they are looked at below.
    let is_typed = |option: &str| option.starts_with("tidegate-") && !FREE.contains(&option);
    if let Some(odd) = skeleton.options.iter().find(|(o, v)| is_typed(o) && !v.chars().all(typed)) {
        return Err(format!("option {odd:?}"));
    }
    let options = skeleton.options.iter().map(|(option, value)| {
        (option.clone(), if is_typed(option) { value.clone() } else { "1s".into() })
    });
    let mut benign: Skeleton = (**skeleton).clone();
    benign.header_names = names.collect();
    benign.options = options.collect();
    let mut text = String::new();
    let _ = render::skeleton::write(&benign, load::FOLDER, "0", &mut text);
    let intended = lexer::config(&text)?;
    if intended.len() != sections.len() {
        return Err(format!("{} static sections, not {}", sections.len(), intended.len()));
    }
    for (has, intended) in sections.iter().zip(&intended) {
        if has.words != intended.words || has.lines.len() != intended.lines.len() {
            return Err(format!("section {:?} has {} lines", has.words, has.lines.len()));
        }
        for (a, b) in has.lines.iter().zip(&intended.lines) {
            let directive = |words: &[String]| words.iter().take(2).cloned().collect::<Vec<_>>();
            let own = ["default-path", "description", "timeout", "dynamic-cookie-key"];
            let own = own.contains(&a.words[0].as_str())
                && a.words.iter().skip(1).all(|w| !w.contains(char::is_whitespace))
                || a.words[0] == "log-format";
            // What a percent sign begins is evaluated for each request.
            let percents = |words: &[String]| words.iter().map(|w| w.matches('%').count()).sum();
            let (has, intended): (usize, usize) = (percents(&a.words), percents(&b.words));
            if a.words.len() != b.words.len()
                || (!own && directive(&a.words) != directive(&b.words))
                || (!own && has != intended)
            {
                return Err(format!("{:?} instead of {:?}", a.words, b.words));
            }
        }
    }
    Ok(())
}

/// Options whose values are texts.
const FREE: [&str; 3] = ["tidegate-log-format", "tidegate-log-format-tcp", "tidegate-cookie-key"];

/// Characters of typed values; a line feed stands between the targets of logs.
fn typed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.:/@[] \n".contains(c)
}

/// Server keywords there may be, and how many arguments each takes.
const KEYWORDS: &[(&str, usize)] = &[
    ("check", 0),
    ("inter", 1),
    ("maxconn", 1),
    ("maxqueue", 1),
    ("proto", 1),
    ("ssl", 0),
    ("alpn", 1),
    ("verify", 1),
    ("ca-file", 1),
    ("crt", 1),
    ("sni", 1),
    ("no-sni-auto", 0),
    ("send-proxy", 0),
    ("send-proxy-v2", 0),
    ("send-proxy-v2-ssl", 0),
    ("send-proxy-v2-ssl-cn", 0),
    ("check-send-proxy", 0),
    ("check-ssl", 0),
    ("check-alpn", 1),
    ("check-sni", 1),
    ("check-proto", 1),
    ("no-check-sni-auto", 0),
    ("disabled", 0),
];

fn backends_are_as_wanted(image: &Image, sections: &[Section]) -> Verdict {
    let spares: usize = render::backend::spares(image).values().map(BTreeSet::len).sum();
    if sections.len() != image.backends.len() + spares {
        return Err(format!("{} backends, not {}", sections.len(), image.backends.len() + spares));
    }
    for section in sections {
        let [name, _, _] = section.words.as_slice() else {
            return Err(format!("backend {:?}", section.words));
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if !name.chars().all(plain) {
            return Err(format!("backend name {name:?}"));
        }
        let wanted = image.backends.get(name).map_or(0, |b| b.servers.len());
        let mut live = 0;
        for line in &section.lines {
            let [directive, _, address, keywords @ ..] = line.words.as_slice() else {
                return Err(format!("{:?} in backend {name}", line.words));
            };
            let is_address = address.parse::<std::net::SocketAddr>().is_ok();
            if directive != "server" || !is_address {
                return Err(format!("{:?} in backend {name}", line.words));
            }
            keywords_are_known(keywords)?;
            live += usize::from(!keywords.iter().any(|w| w == "disabled"));
        }
        if live != wanted {
            return Err(format!("backend {name} has {live} servers, not {wanted}"));
        }
    }
    Ok(())
}

fn keywords_are_known(keywords: &[String]) -> Verdict {
    let mut rest = keywords.iter();
    while let Some(word) = rest.next() {
        let Some((_, arguments)) = KEYWORDS.iter().find(|(known, _)| known == word) else {
            return Err(format!("server keyword {word:?} in {keywords:?}"));
        };
        for _ in 0..*arguments {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./()".contains(c);
            match rest.next() {
                Some(argument) if argument.chars().all(plain) && !argument.contains("..") => {}
                other => return Err(format!("{word} {other:?} in {keywords:?}")),
            }
        }
    }
    Ok(())
}

/// The bytes of base64 (RFC 4648, section 4); HAProxy's `b64dec` makes them part of a message.
fn decoded(text: &str) -> Vec<u8> {
    let alphabet = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain("+/".chars());
    let alphabet: Vec<char> = alphabet.collect();
    let digits: Vec<usize> =
        text.chars().filter_map(|c| alphabet.iter().position(|a| *a == c)).collect();
    let group = |four: &[usize]| {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        let bytes = [bits >> 16, bits >> 8, bits].map(|byte| (byte & 0xff) as u8);
        bytes.into_iter().take(four.len() - 1)
    };
    digits.chunks(4).flat_map(group).collect()
}

fn map_is_as_wanted(image: &Image, id: MapId, text: &str) -> Verdict {
    let mut wanted: Vec<(String, String)> =
        image.map(id).iter().map(|(k, e)| (k.to_string(), e.value.to_string())).collect();
    let extra = match id {
        MapId::Ledger => 2 + render::profile::with_snippets(image).len(),
        _ => 0,
    };
    let mut has = lexer::map(text);
    if has.len() != wanted.len() + extra {
        return Err(format!(
            "{} has {} entries, not {}",
            id.file(),
            has.len(),
            wanted.len() + extra
        ));
    }
    if id == MapId::Ledger {
        return Ok(());
    }
    has.sort();
    wanted.sort();
    if has != wanted {
        let surplus: Vec<_> = has.iter().filter(|e| !wanted.contains(e)).collect();
        return Err(format!("{}: {surplus:?}", id.file()));
    }
    // With lists of headers the map has lengths too, and any byte may be one.
    let plain = id == MapId::Headers && !image.skeleton.header_names.is_empty();
    for (key, value) in has.iter().filter(|(_, value)| plain && value != "-") {
        if decoded(value).iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return Err(format!("{}: a line ends in the value of {key}", id.file()));
        }
    }
    for (key, value) in &has {
        let fields = value.split('|').count();
        let shape = match id {
            MapId::Route => fields == 1 || (matches!(fields, 3 | 4) && value.starts_with('|')),
            MapId::Policy => {
                fields
                    == 1 + tidegate_core::annotations::FAMILIES
                        .iter()
                        .map(|f| f.fields.len())
                        .sum::<usize>()
            }
            _ => true,
        };
        // Of what has blanks only these words are written as they are (RFC 6797, 6.1).
        let value = value.replace("; includeSubDomains", "").replace("; preload", "");
        let spaced = value.contains([' ', ';', '\\']) && matches!(id, MapId::Route | MapId::Policy);
        if !shape || spaced {
            return Err(format!("{}: {key} {value}", id.file()));
        }
    }
    Ok(())
}

/// S19: where HAProxy would resume a TLS session of one host on another, it resumes none once clients of
/// any host are asked for certificates.
///
/// # Errors
/// What HAProxy can do, and does not.
pub fn sessions_stay_apart() -> Verdict {
    for tier in TIERS {
        let case = by_hand::asks_for_certificates(*tier);
        let generation = load::generation(projections::told(&case).desired().image());
        let lines = lexer::crt_list(&generation.crt_list)?;
        if !lines.iter().any(|line| !line.named.is_empty()) {
            return Err("no client is asked for a certificate".to_owned());
        }
        let full = ["  tune.ssl.cachesize 0\n", " no-tls-tickets"];
        let resumes = !full.iter().all(|words| generation.config.contains(words));
        if resumes != case.setup.capabilities().isolated_sessions {
            return Err(format!("S19: tier {tier:?} resumes TLS sessions: {resumes}"));
        }
    }
    Ok(())
}

/// The text of a whole generation for what tenants wrote, for HAProxy itself to judge.
///
/// # Errors
/// What broke out of its place.
pub fn generation_of(writings: &[Writing]) -> Result<load::Generation, String> {
    let controller = told(writings);
    let image = controller.desired().image();
    is_contained(image)?;
    Ok(load::generation(image))
}
