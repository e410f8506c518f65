//! Certificates and authorities: installed before anything names them, deleted after nothing does.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Inputs, Next, Phase};
use crate::action::{MapId, RuntimeCommand};
use crate::applied::{LEDGER_DEFAULT_CERTIFICATE, LEDGER_UNKNOWN};
use crate::desired::ServerFile;
use crate::render::crt_list;
use crate::render::maps::default_certificate_entry;
use crate::sabotage::{Mistake, is_planted};

/// What the default certificate needs next: that the ledger no longer vouches for what was there,
/// its content, then the ledger's word for it. So whatever becomes of the answers, and whatever is
/// wanted by then, the ledger never names a content that is not there.
pub(crate) fn default_certificate(inputs: &Inputs<'_>) -> Next {
    let wanted = inputs.desired.image().default_certificate;
    let vouched = inputs.running.default_certificate();
    if vouched == Some(wanted) {
        return Next::Settled;
    }
    let (map, key): (_, Arc<str>) = (MapId::Ledger, LEDGER_DEFAULT_CERTIFICATE.into());
    let has_word = inputs.running.map(map).get(&key).is_some();
    if inputs.running.default_installed == Some(wanted) {
        let value = default_certificate_entry(inputs.desired.image());
        let command = match has_word {
            true => RuntimeCommand::SetMapEntry { map, key, value },
            false => RuntimeCommand::AddMapEntry { map, key, value },
        };
        return Next::Commands(Phase::Build, Vec::from([(command, None)]));
    }
    let mut commands = Vec::new();
    if vouched.is_some() {
        let value = LEDGER_UNKNOWN.into();
        commands.push((RuntimeCommand::SetMapEntry { map, key, value }, None));
    }
    commands.push((RuntimeCommand::ReplaceDefaultCertificate { digest: wanted }, None));
    Next::Commands(Phase::Build, commands)
}

/// What a file named by server keywords needs next.
pub(crate) fn server_file(inputs: &Inputs<'_>, name: &Arc<str>) -> Next {
    let wanted = inputs.desired.image().files.get(name).map(|entry| entry.value);
    let present = inputs.running.files.contains(name);
    let file = name.clone();
    let (phase, command) = match (wanted, present) {
        (Some(_), true) | (None, false) => return Next::Settled,
        (Some(ServerFile::Authority(digest)), false) => {
            (Phase::Build, RuntimeCommand::InstallAuthority { file, digest })
        }
        (Some(ServerFile::ClientCertificate(digest)), false) => {
            (Phase::Build, RuntimeCommand::InstallCertificate { file, digest })
        }
        (None, true) if name.starts_with("ca/") => {
            (Phase::Collect, RuntimeCommand::DeleteAuthority { file })
        }
        (None, true) => (Phase::Collect, RuntimeCommand::DeleteCertificate { file }),
    };
    Next::Commands(phase, Vec::from([(command, None)]))
}

/// What a certificate and its lines need next.
pub(crate) fn certificate(inputs: &Inputs<'_>, key: &Arc<str>) -> Next {
    let none = alloc::collections::BTreeMap::new();
    let running = inputs.running.certificates.get(key).unwrap_or(&none);
    let hosts = inputs.desired.image().certificates.get(key);
    let lines = hosts.map(|hosts| crt_list::lines(key, hosts)).unwrap_or_default();
    let Some((digest, _)) = crt_list::parts(key) else { return Next::Settled };
    let mut commands = Vec::new();
    for line in lines.iter().filter(|line| !running.contains_key(&line.file)) {
        let install = RuntimeCommand::InstallCertificate { file: line.file.clone(), digest };
        commands.push((install, None));
    }
    if !commands.is_empty() {
        return Next::Commands(Phase::Build, commands);
    }
    // HAProxy reads the authorities when the line is added.
    let authority = crt_list::authority_file(key);
    if hosts.is_some() && authority.is_some_and(|file| !inputs.running.files.contains(&file)) {
        return Next::Wait;
    }
    for line in &lines {
        if running.get(&line.file).is_some_and(|r| !r.listed) {
            let add = RuntimeCommand::AddCrtListLine {
                file: line.file.clone(),
                hosts: line.hosts.clone(),
            };
            commands.push((add, None));
        }
    }
    if !commands.is_empty() {
        return Next::Commands(Phase::Switch, commands);
    }
    let stale = || running.iter().filter(|(file, _)| lines.iter().all(|l| l.file != **file));
    for (file, _) in stale().filter(|(_, line)| line.listed) {
        commands.push((RuntimeCommand::DeleteCrtListLine { file: file.clone() }, None));
    }
    if !commands.is_empty() {
        let early = is_planted(Mistake::LineGap);
        return Next::Commands(if early { Phase::Urgent } else { Phase::Unlink }, commands);
    }
    for (file, _) in stale() {
        commands.push((RuntimeCommand::DeleteCertificate { file: file.clone() }, None));
    }
    if commands.is_empty() {
        return Next::Settled;
    }
    Next::Commands(Phase::Collect, commands)
}

/// A certificate in words, for reasons and traces.
#[must_use]
pub fn describe(hex: &str) -> alloc::string::String {
    format!("certificate {}", hex.get(..8).unwrap_or(hex))
}
