//! Claims: the paths of Ingresses for a host, and which of them is the best for a request.

use tidegate_core::world::object::{BackendRef, Ingress, Path, PathType};

/// The best claim on a path, if there is any.
pub(super) fn best<'c, 'a>(claims: &'c [Claim<'a>], path: &str) -> Option<&'c Claim<'a>> {
    let mut best: Option<&Claim<'_>> = None;
    for claim in claims.iter().filter(|c| c.matches(path)) {
        // Claims come from the oldest Ingress first: only a better one replaces.
        if best.is_none_or(|b| claim.goodness() > b.goodness()) {
            best = Some(claim);
        }
    }
    best
}

/// A path of an Ingress for a host.
pub(super) struct Claim<'a> {
    pub(super) ingress: &'a Ingress,
    pub(super) backend: &'a BackendRef,
    /// Elements of the path; `None` for a default backend, which matches everything.
    pub(super) elements: Option<Vec<String>>,
    /// Whether it is the whole path, and then whether it ends with a slash.
    pub(super) exact: Option<bool>,
    typed: bool,
}

impl Claim<'_> {
    pub(super) fn matches(&self, path: &str) -> bool {
        let Some(wanted) = &self.elements else { return true };
        let given = elements(path);
        match self.exact {
            Some(slash) => {
                let given_slash = path.ends_with('/');
                *wanted == given && slash == given_slash
            }
            None => given.starts_with(wanted),
        }
    }

    /// Larger is better; equal means that the older Ingress holds.
    pub(super) fn goodness(&self) -> (bool, bool, usize, usize) {
        let rule = self.elements.is_some();
        let elements = self.elements.as_deref().unwrap_or_default();
        (rule, self.exact.is_some(), elements.len(), elements.iter().map(String::len).sum())
    }
}

pub(super) fn claims<'a>(ingress: &'a Ingress, host: &str) -> Vec<Claim<'a>> {
    let mut found = Vec::new();
    let mut names_host = host.is_empty();
    for rule in ingress.rules.iter().filter(|r| canonical(&r.host) == host && is_host(&r.host)) {
        names_host = true;
        found.extend(rule.paths.iter().filter_map(|path| claim(ingress, path)));
    }
    // Within one Ingress typed paths come before ImplementationSpecific ones.
    found.sort_by_key(|c| !c.typed);
    if let Some(backend) = ingress.default_backend.as_ref().filter(|_| names_host) {
        found.push(Claim { ingress, backend, elements: None, exact: None, typed: true });
    }
    found
}

fn claim<'a>(ingress: &'a Ingress, path: &'a Path) -> Option<Claim<'a>> {
    let is_exact = path.path_type == PathType::Exact;
    let text = if path.path.is_empty() && !is_exact { "/" } else { &*path.path };
    let visible = text.chars().all(|c| c.is_ascii_graphic() && !"?#>".contains(c));
    let dots = elements(text).iter().any(|e| {
        let e = e.to_ascii_lowercase().replace("%2e", ".");
        e == "." || e == ".."
    });
    if !text.starts_with('/') || !visible || dots {
        return None;
    }
    Some(Claim {
        ingress,
        backend: &path.backend,
        elements: Some(elements(text)),
        exact: is_exact.then(|| text.ends_with('/')),
        typed: path.path_type != PathType::ImplementationSpecific,
    })
}

fn elements(path: &str) -> Vec<String> {
    path.split('/').filter(|e| !e.is_empty()).map(str::to_owned).collect()
}

pub(super) fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Whether a rule's host can be served at all, among those that the generators make.
pub(super) fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let labels = name.split('.').all(|l| !l.is_empty() && !l.starts_with('-'));
    let address = name.parse::<std::net::Ipv4Addr>().is_ok();
    host.is_empty() || (name.chars().all(plain) && labels && !address)
}
