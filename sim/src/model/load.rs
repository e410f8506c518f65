//! Starting a model of HAProxy from rendered files: the text of a generation is parsed by the
//! independent lexer, as a start or reload does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_core::action::MapId;
use tidegate_core::capability::Capabilities;
use tidegate_core::desired::{Image, Skeleton};
use tidegate_core::render;

use super::haproxy::{Admin, Backend, Haproxy, Server};
use super::lexer::{self, CrtListLine, Section};

/// The text of a generation, as the adapter writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// `haproxy.cfg`.
    pub config: String,
    /// Maps by file name.
    pub maps: BTreeMap<&'static str, String>,
    /// The crt-list.
    pub crt_list: String,
    /// Files that exist.
    pub files: BTreeSet<String>,
    /// Other texts by file name.
    pub texts: BTreeMap<String, String>,
}

/// Folder of the generation in the text.
pub const FOLDER: &str = "/tmp/tidegate-proptests/gen-1";

thread_local! {
    /// The static part rendered last: it is most of the text, and almost always the same.
    static FIXED: RefCell<Option<(Arc<Skeleton>, String)>> = const { RefCell::new(None) };
}

/// `haproxy.cfg` of an image, the same text that `render::config` gives.
fn config(image: &Image) -> String {
    // Writing to a String cannot fail.
    let mut tenants = String::new();
    let _ = render::backend::write_all(image, FOLDER, &mut tenants);
    FIXED.with_borrow_mut(|cached| {
        if let Some((_, fixed)) = cached.as_ref().filter(|(of, _)| *of == image.skeleton) {
            return format!("{fixed}{tenants}");
        }
        let mut whole = String::new();
        let _ = render::config(image, FOLDER, &mut whole);
        if let Some(fixed) = whole.strip_suffix(&tenants) {
            *cached = Some((image.skeleton.clone(), fixed.to_owned()));
        }
        whole
    })
}

/// Renders an image.
#[must_use]
pub fn generation(image: &Image) -> Generation {
    let config = config(image);
    let mut maps = BTreeMap::new();
    for id in MapId::ALL {
        let mut text = String::new();
        let _ = render::map(image, id, &mut text);
        maps.insert(id.file(), text);
    }
    let mut crt_list = String::new();
    let _ = render::crt_list(image, &mut crt_list);
    let files = render::files(image).into_iter().map(|(name, _)| name.to_string()).collect();
    let texts = render::auth::file(&image.skeleton).into_iter().collect();
    Generation { config, maps, crt_list, files, texts }
}

/// A worker that has loaded the rendering of an image.
///
/// # Errors
/// What HAProxy refuses, in words.
pub fn start(image: &Image, capabilities: &Capabilities) -> Result<Haproxy, String> {
    let mut proxy = load(&generation(image), capabilities)?;
    proxy.default_certificate = Some(image.default_certificate);
    Ok(proxy)
}

/// A worker that has loaded a generation. The content of the default certificate is left open.
///
/// # Errors
/// What HAProxy refuses, in words.
pub fn load(generation: &Generation, capabilities: &Capabilities) -> Result<Haproxy, String> {
    let sections = lexer::config(&generation.config)?;
    let mut proxy = Haproxy::empty(capabilities.clone());
    for section in &sections {
        match (section.kind.as_str(), section.words.as_slice()) {
            ("global", []) => proxy.skeleton = description(section)?,
            ("defaults", [name]) => {
                Arc::make_mut(&mut proxy.profiles).insert(name.clone());
            }
            ("frontend", [_, from, _]) if from == "from" => {}
            ("backend", [name, from, profile]) if from == "from" => {
                if !proxy.profiles.contains(profile) {
                    return Err(format!("backend {name}: no defaults section {profile}"));
                }
                let backend = backend(&mut proxy, section, &generation.files)?;
                if proxy.backends.insert(name.clone(), backend).is_some() {
                    return Err(format!("backend {name} is there twice"));
                }
            }
            (kind, words) => return Err(format!("section {kind} {words:?} makes no sense")),
        }
    }
    for id in MapId::ALL {
        let text = generation.maps.get(id.file()).ok_or("a map file is missing")?;
        let entries = lexer::map(text);
        if let Some((key, _)) = entries.iter().find(|(key, _)| Haproxy::refuses_key(id, key)) {
            return Err(format!("map {}: invalid regex {key}", id.file()));
        }
        proxy.maps.insert(id, entries);
    }
    load_certificates(&mut proxy, generation)?;
    Ok(proxy)
}

fn description(section: &Section) -> Result<String, String> {
    let line = section.lines.iter().find(|l| l.words.first().is_some_and(|w| w == "description"));
    let words = line.map(|l| l.words.as_slice());
    match words {
        Some([_, digest]) => Ok(digest.clone()),
        other => Err(format!("description: {other:?}")),
    }
}

fn backend(
    proxy: &mut Haproxy,
    section: &Section,
    files: &BTreeSet<String>,
) -> Result<Backend, String> {
    let [_, _, profile] = section.words.as_slice() else { return Err("no profile".to_owned()) };
    let mut servers: Vec<Server> = Vec::new();
    for line in &section.lines {
        let [directive, name, address, keywords @ ..] = line.words.as_slice() else { continue };
        // Hops within HAProxy are no servers of tenants.
        if directive != "server" || address.starts_with("unix@") {
            continue;
        }
        let address: SocketAddr =
            address.parse().map_err(|_| format!("server {name}: address {address}"))?;
        // A file may be named by its whole path; it is the same file.
        let folder = format!("{FOLDER}/");
        let mut keywords: Vec<String> =
            keywords.iter().map(|w| w.strip_prefix(&folder).unwrap_or(w).to_owned()).collect();
        let disabled = keywords.last().is_some_and(|w| w == "disabled");
        if disabled {
            keywords.pop();
        }
        for file in Haproxy::files_of(&keywords) {
            if !files.contains(&file) || Haproxy::refuses_file(&file) {
                return Err(format!("server {name}: cannot load {file}"));
            }
            proxy.files.insert(file);
        }
        if servers.iter().any(|s| s.name == *name) {
            return Err(format!("server {name} is there twice"));
        }
        let unused = address.port() == 1 && address.ip().is_loopback() && disabled;
        servers.push(Server {
            name: name.clone(),
            address: (!unused).then_some(address),
            admin: if disabled { Admin::Maint } else { Admin::Ready },
            keywords,
        });
    }
    Ok(Backend { profile: profile.clone(), published: true, servers })
}

fn load_certificates(proxy: &mut Haproxy, generation: &Generation) -> Result<(), String> {
    for CrtListLine { file, named, filters } in lexer::crt_list(&generation.crt_list)? {
        if let Some(missing) = named.iter().find(|name| !generation.files.contains(*name)) {
            return Err(format!("crt-list: {missing} does not exist"));
        }
        proxy.files.extend(named);
        if !generation.files.contains(&file) {
            return Err(format!("crt-list: {file} does not exist"));
        }
        if Haproxy::refuses_file(&file) {
            return Err(format!("crt-list: unable to load {file}"));
        }
        proxy.files.insert(file.clone());
        if file == Haproxy::DEFAULT_CERTIFICATE {
            if !filters.is_empty() {
                return Err("the default certificate has filters".to_owned());
            }
        } else {
            proxy.crt_list.push((file, filters));
        }
    }
    Ok(())
}

/// The backends of a worker that has loaded an image, and nothing else: quicker than [`start`], for
/// comparing them with those that were made at run time.
///
/// # Errors
/// What HAProxy refuses, in words.
pub fn backends(image: &Image) -> Result<BTreeMap<String, Backend>, String> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = render::backend::write_all(image, FOLDER, &mut text);
    let files = render::files(image).into_iter().map(|(name, _)| name.to_string()).collect();
    let mut proxy = Haproxy::empty((*image.skeleton.capabilities).clone());
    let mut all = BTreeMap::new();
    for section in lexer::config(&text)?.iter().filter(|section| section.kind == "backend") {
        let name = section.words.first().cloned().unwrap_or_default();
        all.insert(name, backend(&mut proxy, section, &files)?);
    }
    Ok(all)
}

/// A worker with the routes, policies and backends of an image and nothing else: quicker than
/// [`start`], for asking where requests go.
#[must_use]
pub fn sketch(image: &Image) -> Haproxy {
    let mut proxy = Haproxy::empty((*image.skeleton.capabilities).clone());
    for id in [MapId::Route, MapId::Policy] {
        let entries = image.map(id).iter();
        let entries = entries.map(|(k, e)| (k.to_string(), e.value.to_string())).collect();
        proxy.maps.insert(id, entries);
    }
    for (name, backend) in image.backends.iter() {
        let server = |address: &SocketAddr| Server {
            name: address.to_string(),
            address: Some(*address),
            admin: Admin::Ready,
            keywords: Vec::new(),
        };
        let servers = backend.servers.iter().map(server).collect();
        let profile = backend.spec.profile.to_string();
        proxy.backends.insert(name.to_string(), Backend { profile, published: true, servers });
    }
    proxy
}
