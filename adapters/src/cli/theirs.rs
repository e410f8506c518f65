//! The command line of haproxytech's controller, in our words, so that a Deployment of that
//! controller runs with nothing changed but its image.
//!
//! Inputs: arguments as the process got them. Outputs: our arguments, and a [`Note`] for each of
//! theirs that has no meaning here. Not here: what ours mean.
//!
//! `tidegate run` takes their names beside ours. A command line that begins with one of their
//! arguments, and so has no verb, is theirs as a whole: their class, addresses and ports are then
//! the defaults. An argument that nobody knows stays an error, and so does one that would serve
//! what must not be served, were it left out.

use std::collections::BTreeMap;

use tidegate_core::problem::{Problem, Reason, Severity};
use tidegate_core::world::object::{Kind, Name, ObjectRef};

use Meaning::{Nothing, Other, Silent, Told, Value};

/// What to do with a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing of theirs is in it.
    Ours,
    /// The same in our words.
    Theirs(Vec<String>, Vec<Note>),
    /// There is nothing to do, and why.
    Done(&'static str),
    /// It must not be run, and why.
    Refused(String),
}

/// An argument that has no meaning here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The argument.
    pub argument: String,
    /// Whether something that was asked for is not there.
    pub lacks: bool,
    /// What is so instead, or what to use.
    pub instead: &'static str,
}

impl Note {
    /// The note as a Problem. It is about the controller's own ConfigMap, for want of an object.
    #[must_use]
    pub fn problem(&self, config_map: Option<&Name>) -> Problem {
        let name = config_map.cloned().unwrap_or_else(|| Name::new("", "tidegate"));
        Problem {
            object: ObjectRef { kind: Kind::ConfigMap, name },
            field: self.argument.as_str().into(),
            reason: Reason::NotSupported,
            severity: if self.lacks { Severity::Warning } else { Severity::Info },
            what: format!("the argument {} has no meaning here", self.argument),
            instead: "it is ignored".to_owned(),
            fix: self.instead.to_owned(),
        }
    }
}

/// What an argument of theirs means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// This argument of ours with the same value.
    Value(&'static str),
    /// A switch of ours.
    Switch(&'static str),
    /// Something with a value that [`Line`] knows.
    Other,
    /// A switch that [`Line`] knows.
    OtherSwitch,
    /// What is so anyway.
    Silent,
    /// Nothing, without a value: whether something is lacking, and what is so instead.
    Nothing(bool, &'static str),
    /// The same with a value.
    Told(bool, &'static str),
}

/// Every argument of theirs, sorted.
pub const ARGUMENTS: &[(&str, Meaning)] = &[
    ("cache-resync-period", Told(false, "watches are kept up to date by themselves")),
    ("channel-size", Told(false, "events are taken in as they come")),
    ("config-dir", Value("--state-dir")),
    ("configmap", Value("--configmap")),
    ("configmap-errorfiles", Value("--configmap-errorfiles")),
    ("configmap-patternfiles", Value("--configmap-patternfiles")),
    ("configmap-tcp-services", Value("--configmap-tcp-services")),
    ("controller-port", Told(false, "health and metrics are at --admin-bind")),
    ("custom-validation-rules", Told(true, "annotations of your own are not there")),
    ("default-backend-port", Told(false, "HAProxy answers 404 by itself")),
    ("default-backend-service", Value("--default-backend")),
    ("default-ssl-certificate", Value("--default-certificate")),
    ("disable-config-snippets", Value("--disable-config-snippets")),
    ("disable-http", Meaning::OtherSwitch),
    ("disable-https", Meaning::OtherSwitch),
    ("disable-ingress-status-update", Meaning::OtherSwitch),
    ("disable-ipv4", Meaning::OtherSwitch),
    ("disable-ipv6", Meaning::OtherSwitch),
    ("disable-quic", Meaning::OtherSwitch),
    ("disable-service-external-name", Silent),
    ("disable-writing-only-if-reload", Nothing(false, "files follow every change by --save-max")),
    ("empty-ingress-class", Meaning::Switch("--watch-classless")),
    (
        "enable-custom-annotations-on-ingress",
        Nothing(true, "annotations of your own are not there"),
    ),
    ("experimental", Told(false, "each Ingress has backends of its own")),
    ("external", Meaning::OtherSwitch),
    ("gateway-controller-name", Told(true, "the Gateway API is not there yet")),
    ("healthz-bind-port", Other),
    ("healthz-bind-thread", Told(false, "--threads says how many threads HAProxy has")),
    ("http-bind-port", Other),
    ("http-bind-thread", Told(false, "--threads says how many threads HAProxy has")),
    ("https-bind-port", Other),
    ("https-bind-thread", Told(false, "--threads says how many threads HAProxy has")),
    ("ingress.class", Other),
    ("initial-sync-period", Told(false, "the first configuration waits for complete lists")),
    ("input-file", Other),
    ("ipv4-bind-address", Other),
    ("ipv6-bind-address", Other),
    ("job-check-crd", Meaning::OtherSwitch),
    ("kubeconfig", Other),
    ("localpeer-port", Told(false, "tables are handed on through a socket in --state-dir")),
    ("log", Other),
    ("namespace-blacklist", Other),
    ("namespace-whitelist", Value("--namespace")),
    ("output-file", Other),
    ("pprof", Nothing(false, "there is no profiler; `tidegate replay` tells what a run did")),
    ("program", Value("--haproxy")),
    ("prometheus", Silent),
    ("publish-service", Value("--publish-service")),
    ("quic-announce-port", Value("--quic-announce-port")),
    ("quic-bind-port", Other),
    ("runtime-dir", Told(false, "sockets are in --state-dir")),
    ("stats-bind-port", Value("--stats-port")),
    ("stats-bind-thread", Told(false, "--threads says how many threads HAProxy has")),
    ("sync-period", Told(false, "changes take effect at once")),
    ("test", Meaning::OtherSwitch),
    ("with-pebble", Silent),
    ("with-s6-overlay", Silent),
];

/// Their short forms.
const SHORT: [(&str, &str); 3] = [("-e", "external"), ("-p", "pprof"), ("-t", "test")];

/// Names that are ours too, with the same meaning.
const SHARED: [&str; 5] =
    ["configmap", "kubeconfig", "log", "publish-service", "quic-announce-port"];

/// The name and the value after `=`, of an argument of theirs.
fn theirs(argument: &str) -> Option<(&'static str, Meaning, Option<&str>)> {
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (argument, None),
    };
    let long = match SHORT.iter().find(|(short, _)| *short == name) {
        Some((_, long)) => long,
        None => name.strip_prefix("--")?,
    };
    let at = ARGUMENTS.binary_search_by(|(known, _)| (*known).cmp(long)).ok()?;
    ARGUMENTS.get(at).map(|(name, meaning)| (*name, *meaning, value))
}

/// Reads a command line; the first argument is the program.
#[must_use]
pub fn read(arguments: &[String], has_ipv6: bool, home: Option<&str>) -> Reading {
    let Some(first) = arguments.get(1) else { return Reading::Ours };
    let whole = theirs(first).is_some();
    let rest = if whole { arguments.get(1..) } else { arguments.get(2..) }.unwrap_or_default();
    let is_theirs =
        |argument: &String| theirs(argument).is_some_and(|(n, _, _)| !SHARED.contains(&n));
    if !whole && (first != "run" || !rest.iter().any(is_theirs)) {
        return Reading::Ours;
    }
    let mut line = Line { out: Vec::new(), notes: Vec::new(), said: BTreeMap::new() };
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        let Some((name, meaning, value)) = theirs(argument) else {
            line.out.push(argument.clone());
            continue;
        };
        let is_switch =
            matches!(meaning, Meaning::Switch(_) | Meaning::OtherSwitch | Silent | Nothing(..));
        let value = match (is_switch, value) {
            (true, Some("false")) => continue,
            (true, _) => String::new(),
            (false, Some(value)) => value.to_owned(),
            (false, None) => match rest.next() {
                Some(value) => value.clone(),
                None => return Reading::Refused(format!("{argument} has no value")),
            },
        };
        if let Some(end) = line.take(name, meaning, value) {
            return end;
        }
    }
    line.finish(whole, has_ipv6, home)
}

/// A command line on its way into our words.
struct Line {
    out: Vec<String>,
    notes: Vec<Note>,
    /// Values of what can only be said when all is read.
    said: BTreeMap<&'static str, String>,
}

impl Line {
    /// Takes an argument in; something when that is the end.
    fn take(&mut self, name: &'static str, meaning: Meaning, value: String) -> Option<Reading> {
        match meaning {
            Value(ours) => self.out.extend([ours.to_owned(), value]),
            Meaning::Switch(ours) => self.out.push(ours.to_owned()),
            Silent => {}
            Nothing(lacks, instead) | Told(lacks, instead) => {
                self.notes.push(Note { argument: format!("--{name}"), lacks, instead });
            }
            Other | Meaning::OtherSwitch => match name {
                "job-check-crd" => {
                    return Some(Reading::Done("tidegate has no custom resources to install"));
                }
                "input-file" | "output-file" => {
                    return Some(Reading::Refused(
                        "--input-file and --output-file convert that controller's own resources; \
                         see docs/migrating-from-haproxytech.md"
                            .to_owned(),
                    ));
                }
                "test" => {
                    return Some(Reading::Refused("use `tidegate check -f DIR`".to_owned()));
                }
                "namespace-blacklist" => {
                    return Some(Reading::Refused(format!(
                        "--namespace-blacklist {value}: namespaces cannot be left out one by one, \
                         and ignoring this would serve it; name those to be served with \
                         --namespace, or mark them for --namespace-selector"
                    )));
                }
                _ => {
                    self.said.insert(name, value);
                }
            },
        }
        None
    }

    fn put(&mut self, argument: &str, value: &str) {
        self.out.push(format!("{argument}={value}"));
    }

    fn finish(mut self, whole: bool, has_ipv6: bool, home: Option<&str>) -> Reading {
        let said = std::mem::take(&mut self.said);
        let get = |name: &str| said.get(name).map(String::as_str);
        let is_set = |name: &str| said.contains_key(name);
        match get("ingress.class") {
            Some(class) if !class.is_empty() => {
                self.put("--controller-name", &format!("{CONTROLLER}/{class}"));
                self.put("--ingress-class", class);
            }
            Some(_) => self.put("--controller-name", CONTROLLER),
            None if whole => self.put("--controller-name", CONTROLLER),
            None => {}
        }
        let families = ["disable-ipv4", "disable-ipv6", "ipv4-bind-address", "ipv6-bind-address"];
        if whole || families.into_iter().any(is_set) {
            let four = get("ipv4-bind-address").unwrap_or("0.0.0.0");
            let six = get("ipv6-bind-address").unwrap_or("::");
            let wants_six = has_ipv6 || is_set("ipv6-bind-address");
            let mut addresses = Vec::new();
            addresses.extend((!is_set("disable-ipv4")).then_some(four));
            addresses.extend((!is_set("disable-ipv6") && wants_six).then_some(six));
            if addresses.is_empty() {
                return Reading::Refused("without IPv4 and IPv6 nothing can be served".to_owned());
            }
            self.put("--bind", &addresses.join(","));
        }
        for (off, port, ours) in [
            ("disable-http", "http-bind-port", "--http-port"),
            ("disable-https", "https-bind-port", "--https-port"),
        ] {
            match get(port) {
                _ if is_set(off) => self.put(ours, "0"),
                Some(port) => self.put(ours, port),
                None => {}
            }
        }
        // Theirs has it by itself, at the number of the HTTPS port.
        let same = whole.then(|| get("https-bind-port").unwrap_or("8443"));
        match get("quic-bind-port").or(same) {
            _ if is_set("disable-quic") || is_set("disable-https") => self.put("--quic-port", "0"),
            Some(port) => self.put("--quic-port", port),
            None => {}
        }
        if let Some(port) = get("healthz-bind-port").or(whole.then_some("1042")) {
            let address = if is_set("disable-ipv4") { "[::]" } else { "0.0.0.0" };
            self.put("--admin-bind", &format!("{address}:{port}"));
        }
        if let Some(level) = get("log") {
            self.put("--log", if level == "warning" { "warn" } else { level });
        }
        if is_set("disable-ingress-status-update") {
            self.forget("--publish-service");
        }
        match (get("kubeconfig"), is_set("external"), home) {
            (Some(file), _, _) => self.put("--kubeconfig", file),
            (None, true, Some(home)) => self.put("--kubeconfig", &format!("{home}/.kube/config")),
            (None, true, None) => return Reading::Refused("-e needs --kubeconfig".to_owned()),
            (None, false, _) if whole => self.out.push("--cluster".to_owned()),
            (None, false, _) => {}
        }
        let verb = ["tidegate".to_owned(), "run".to_owned()];
        Reading::Theirs(verb.into_iter().chain(self.out).collect(), self.notes)
    }

    /// Takes back an argument of ours with its value.
    fn forget(&mut self, argument: &str) {
        if let Some(at) = self.out.iter().position(|said| said == argument) {
            self.out.drain(at..(at + 2).min(self.out.len()));
        }
    }
}

/// Their controller's name; a class may come after it.
const CONTROLLER: &str = "haproxy.org/ingress-controller";

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(line: &str) -> Reading {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        read(&words, true, Some("/home/a"))
    }

    fn ours(line: &str) -> String {
        match read_words(line) {
            Reading::Theirs(words, _) => words.join(" "),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(ARGUMENTS.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn a_command_line_without_a_verb_is_theirs() {
        assert_eq!(
            ours("x --configmap=ns/config --ingress.class=haproxy --publish-service ns/lb -p"),
            "tidegate run --configmap ns/config --publish-service ns/lb \
             --controller-name=haproxy.org/ingress-controller/haproxy --ingress-class=haproxy \
             --bind=0.0.0.0,:: --quic-port=8443 --admin-bind=0.0.0.0:1042 --cluster"
        );
        assert_eq!(
            ours(
                "x -e --program=/h --disable-ipv6 --http-bind-port 80 --disable-https=true --log=warning"
            ),
            "tidegate run --haproxy /h --controller-name=haproxy.org/ingress-controller \
             --bind=0.0.0.0 --http-port=80 --https-port=0 --quic-port=0 --admin-bind=0.0.0.0:1042 \
             --log=warn \
             --kubeconfig=/home/a/.kube/config"
        );
    }

    #[test]
    fn run_takes_their_names_beside_ours() {
        assert_eq!(
            ours("x run -f dir --ingress.class= --empty-ingress-class --namespace-whitelist a"),
            "tidegate run -f dir --watch-classless --namespace a \
             --controller-name=haproxy.org/ingress-controller"
        );
        assert_eq!(
            ours("x run --cluster --publish-service a/b --disable-ingress-status-update"),
            "tidegate run --cluster"
        );
        for line in ["x", "x check -f dir", "x run -f dir --configmap a/b --log info", "x --help"] {
            assert_eq!(read_words(line), Reading::Ours, "{line}");
        }
    }

    #[test]
    fn http_3_is_theirs_by_default_and_ours_when_asked_for() {
        for (line, quic) in [
            ("x --https-bind-port=443", "--quic-port=443"),
            ("x --quic-bind-port=4433 --https-bind-port=443", "--quic-port=4433"),
            ("x --quic-bind-port=4433 --disable-quic", "--quic-port=0"),
            ("x --quic-bind-port=4433 --disable-quic=false", "--quic-port=4433"),
            ("x run -f d --quic-bind-port 4433", "--quic-port=4433"),
            ("x run -f d --disable-quic", "--quic-port=0"),
        ] {
            assert!(
                ours(line).contains(&format!(" {quic} ")) || ours(line).ends_with(quic),
                "{line}"
            );
        }
        assert!(ours("x --quic-announce-port=443").contains("--quic-announce-port 443"));
        assert!(!ours("x run -f d --ingress.class=a").contains("quic"));
        assert_eq!(read_words("x run -f d --quic-announce-port 443"), Reading::Ours);
    }

    #[test]
    fn what_has_no_meaning_is_told_and_what_would_open_is_refused() {
        let Reading::Theirs(_, notes) = read_words("x run -f d --sync-period=1s --channel-size 9")
        else {
            panic!()
        };
        let told: Vec<_> = notes.iter().map(|note| &*note.argument).collect();
        assert_eq!(told, ["--sync-period", "--channel-size"]);
        for line in [
            "x --namespace-blacklist=kube-system",
            "x --configmap",
            "x --input-file=a",
            "x --disable-ipv4 --disable-ipv6",
            "x -t",
        ] {
            assert!(matches!(read_words(line), Reading::Refused(_)), "{line}");
        }
        assert!(matches!(read_words("x --job-check-crd"), Reading::Done(_)));
        // A misspelt one stays for our own parser to refuse.
        assert!(ours("x run -f d --ingress.class=a --sink-period=5s").contains("--sink-period=5s"));
    }
}
