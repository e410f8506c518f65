//! Moving here from another controller: what becomes of every key, and manifests with our keys.
//!
//! Inputs: the texts of manifests, which controller they were for. Outputs: a [`Report`]: a
//! [`Row`] for each key, and the texts anew. Verdicts come from the tables in
//! `tidegate_core::annotations::dialect`; values are tried on the parsers that `run` uses, by a
//! controller that reads the new texts. Not here: reading folders or clusters, printing.

mod custom;
mod judge;
mod object;
pub mod report;
mod rewrite;
mod row;
mod tree;

use std::path::PathBuf;

use tidegate_core::annotations::dialect::Dialect;
use tidegate_core::capability::Capabilities;
use tidegate_core::event::Event;
use tidegate_core::problem::{Problem, Reason};
use tidegate_core::settings::Settings;
use tidegate_core::world::object::{Kind, Name, Object};

use crate::cli::offline::Offline;
use crate::folder;
use judge::Judge;
use object::Found;
pub use row::{Deed, Need, Place, Row};

/// What is moved.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The controller they were for, where the keys do not tell.
    pub from: Option<Dialect>,
    /// ConfigMaps of the other controller; when none is named, they are recognised.
    pub configs: Vec<Name>,
    /// The class that rewritten Ingresses get; `None` leaves it.
    pub class: Option<String>,
    /// Whether Secrets are out of sight, so that none is missed.
    pub without_secrets: bool,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Where it is, from the root of the folder.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// A row for each key, in the order of files and texts.
    pub rows: Vec<Row>,
    /// File and line of each object that has rows.
    pub places: Vec<(PathBuf, usize)>,
    /// The manifests anew, in the order given.
    pub texts: Vec<Text>,
    /// How many objects were looked at.
    pub objects: usize,
    /// What else to know.
    pub notes: Vec<String>,
}

/// Judges all keys of manifests and writes them anew.
#[must_use]
pub fn migrate(texts: Vec<Text>, options: &Options, capabilities: &Capabilities) -> Report {
    let mut report = Report::default();
    let mut objects = Vec::new();
    for (file, Text { path, text }) in texts.iter().enumerate() {
        let (documents, broken) = tree::documents(text);
        for document in documents {
            object::objects(file, text, document, &mut objects);
        }
        let note = |why| format!("{} cannot be read to its end: {why}", path.display());
        report.notes.extend(broken.map(note));
    }
    let configs = configs(&objects, options, &mut report.notes);
    let judge = Judge::new(options.from, &objects, &configs);
    for (at, object) in objects.iter().enumerate() {
        if matches!(object.kind.as_str(), "Ingress" | "Service") {
            report.rows.extend(judge.annotations(at, object));
            report.rows.extend(judge.implied(at, object));
        }
        if let Some((_, dialect)) = configs.iter().find(|(config, _)| *config == at) {
            report.rows.extend(judge.config(at, object, *dialect));
        }
        if object.is_custom() {
            report.rows.extend(judge.custom(object));
        }
    }
    report.texts = anew(&texts, &objects, &judge, options, &report.rows, &mut report.notes);
    let config = configs.first().and_then(|(at, _)| objects.get(*at));
    let config = config.map(|object| Name::new(&object.namespace, &object.name));
    for problem in problems(&report.texts, config, options, capabilities) {
        attach(problem, &objects, &mut report.rows);
    }
    let place = |object: &Found| {
        let path = texts.get(object.file).map(|text| text.path.clone());
        (path.unwrap_or_default(), object.line)
    };
    report.places = objects.iter().map(place).collect();
    report.objects = objects.len();
    report
}

/// The ConfigMaps that are a controller's own, by name, or by their keys.
fn configs(objects: &[Found], options: &Options, notes: &mut Vec<String>) -> Vec<(usize, Dialect)> {
    let mut configs = Vec::new();
    for (at, object) in objects.iter().enumerate().filter(|(_, object)| object.kind == "ConfigMap")
    {
        let name = Name::new(&object.namespace, &object.name);
        let named = options.configs.contains(&name);
        if !named && !options.configs.is_empty() {
            continue;
        }
        let keys: Vec<&str> = object
            .data()
            .into_iter()
            .flat_map(|map| &map.entries)
            .filter_map(|(key, _)| key.text())
            .collect();
        let known = |dialect: &Dialect| {
            let table = dialect.config_table();
            keys.iter().filter(|key| table.contains_key(*key)).count()
        };
        let best = Dialect::ALL.into_iter().rev().max_by_key(known);
        let Some(dialect) = best.filter(|best| known(best) > 0).or(options.from) else { continue };
        let dialect = if named { options.from.unwrap_or(dialect) } else { dialect };
        let is_one = object.name == dialect.config_name();
        if named || is_one || (keys.len() >= 2 && known(&dialect) == keys.len()) {
            if !named {
                let (label, whose) = (object.label(), dialect.name());
                notes.push(format!(
                    "{label} is taken for the configuration of {whose}; say so with --configmap"
                ));
            }
            configs.push((at, dialect));
        }
    }
    for name in &options.configs {
        let mut found = configs.iter().filter_map(|(at, _)| objects.get(*at));
        if !found.any(|o| *o.namespace == *name.namespace && *o.name == *name.name) {
            notes.push(format!("there is no ConfigMap {name}"));
        }
    }
    configs
}

/// The texts after all deeds. A text that would not be readable any more stays as it was.
fn anew(
    texts: &[Text],
    objects: &[Found],
    judge: &Judge,
    options: &Options,
    rows: &[Row],
    notes: &mut Vec<String>,
) -> Vec<Text> {
    let one = |(file, Text { path, text }): (usize, &Text)| {
        let here: Vec<(&Found, Vec<&Row>, Option<&str>)> = objects
            .iter()
            .enumerate()
            .filter(|(_, object)| object.file == file)
            .map(|(at, object)| {
                let moves = object.kind == "Ingress" && judge.dialect_of(object).is_some();
                let class = options.class.as_deref().filter(|_| moves);
                (object, rows.iter().filter(|row| row.at == at).collect(), class)
            })
            .collect();
        let new = rewrite::rewrite(text, &here);
        let whole = |text: &str| {
            let (documents, broken) = tree::documents(text);
            broken.is_none().then_some(documents.len())
        };
        if whole(text).is_some() && whole(&new) != whole(text) {
            notes.push(format!("{} cannot be written anew, and stays as it is", path.display()));
            return Text { path: path.clone(), text: text.clone() };
        }
        Text { path: path.clone(), text: new }
    };
    texts.iter().enumerate().map(one).collect()
}

/// What `run` would say about the new texts, were all their Ingresses its own.
fn problems(
    texts: &[Text],
    config_map: Option<Name>,
    options: &Options,
    capabilities: &Capabilities,
) -> Vec<Problem> {
    // Nothing is written there.
    let mut settings = Settings::documented("/var/lib/tidegate");
    settings.classless = true;
    settings.config_map = config_map;
    settings.scope.secrets_on_demand = options.without_secrets;
    let config_maps = settings.all_config_maps().into_iter().cloned().collect();
    let mut offline = Offline::new(settings, capabilities.clone());
    let texts = texts.iter().map(|text| (text.path.as_path(), text.text.as_str()));
    let mut events = folder::read_texts(texts, &config_maps, &offline.vault);
    for event in &mut events {
        let Event::Relisted { kind, objects } = event else { continue };
        if *kind == Kind::IngressClass {
            objects.clear();
        }
        for object in objects {
            let Object::Ingress(ingress) = object else { continue };
            let mut ours = (**ingress).clone();
            ours.class = None;
            ours.meta.annotations.retain(|(key, _)| **key != *object::CLASS);
            *object = Object::Ingress(ours.into());
        }
    }
    offline.settle(events);
    offline.controller.problems().cloned().collect()
}

/// Gives a problem to the row whose key it is about.
fn attach(problem: Problem, objects: &[Found], rows: &mut [Row]) {
    let key = problem.field.strip_prefix("metadata.annotations[");
    let key = key.and_then(|rest| rest.strip_suffix(']'));
    let Some(key) = key.or_else(|| problem.field.strip_prefix("data.")) else { return };
    if problem.reason == Reason::UnknownKey {
        return;
    }
    let of = &problem.object;
    let is_it = |object: &Found| {
        let (namespace, name) = (&*of.name.namespace, &*of.name.name);
        object.kind == of.kind.name() && object.namespace == namespace && object.name == name
    };
    let is_its = |row: &Row| match &row.deed {
        Deed::Write(pairs) => pairs.iter().any(|(written, _)| written == key),
        Deed::Keep | Deed::Comment => row.key == key,
    };
    let its = |row: &&mut Row| objects.get(row.at).is_some_and(is_it) && is_its(row);
    if let Some(row) = rows.iter_mut().find(its) {
        // A route that is closed is not open.
        let closed = problem.reason == Reason::FailedClosed;
        row.need = if closed { Need::Human } else { row.need.max(Need::Human) };
        row.problems.push(problem);
    }
}
