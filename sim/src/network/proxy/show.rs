//! What `show` commands of a worker say.
//!
//! Inputs: a worker. Outputs: HAProxy's text. Columns and headers are those of the real versions.

use std::fmt::Write as _;

use tidegate_core::action::MapId;
use tidegate_core::render::crt_list;

use super::Version;
use super::process::Worker;
use crate::model::haproxy::{Admin, Haproxy};

/// The answer to a `show` command of these words.
#[must_use]
pub fn show(version: Version, worker: &Worker, words: &[&str]) -> Option<String> {
    Some(match words {
        ["info"] => info(version, worker),
        ["map", file] => match MapId::ALL.into_iter().find(|id| id.file() == *file) {
            Some(id) => map(worker, id),
            None => "Unknown map identifier. Please use #<id> or <file>.\n".to_owned(),
        },
        ["backend"] => {
            let mut text = "# name\n".to_owned();
            for name in worker.memory.backends.keys() {
                text.push_str(name);
                text.push('\n');
            }
            text
        }
        ["servers", "state"] => servers(worker),
        ["ssl", "cert"] => {
            let mut text = transaction(worker, "cert") + "# filename\n";
            let named = worker.memory.files.iter().chain(&worker.empty);
            for file in named.filter(|file| file.starts_with("certs/")) {
                text.push_str(file);
                text.push('\n');
            }
            text
        }
        ["ssl", "cert", file] => certificate(worker, file),
        ["ssl", "ca-file"] => {
            let mut text = transaction(worker, "ca-file");
            text.push_str("# filename\n@system-ca - 145 certificate(s)\n");
            for (files, count) in [(&worker.memory.files, 1), (&worker.empty, 0)] {
                for file in files.iter().filter(|file| file.starts_with("ca/")) {
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{file} - {count} certificate(s)");
                }
            }
            text
        }
        ["ssl", "crt-list", file] if *file == crt_list::FILE => {
            let mut text = format!("# {file}\n{}\n", crt_list::DEFAULT_FILE);
            for (file, hosts) in &worker.memory.crt_list {
                let _ = writeln!(text, "{file} {}", hosts.join(" "));
            }
            text
        }
        ["ssl", "crt-list", _] => "didn't find the specified filename\n".to_owned(),
        _ => return None,
    })
}

fn info(version: Version, worker: &Worker) -> String {
    format!(
        "Name: HAProxy\nVersion: {}\nRelease_date: 2026/01/01\nNbthread: 2\nNbproc: 1\n\
         Process_num: 1\nPid: {}\nUptime: 0d 0h00m01s\nUptime_sec: 1\nnode: simulated\n\
         description: {}\nTasks: 20\nRun_queue: 1\nStopping: {}\nStart_time_sec: {}\n",
        version.full(),
        worker.pid,
        worker.memory.skeleton,
        u8::from(worker.stopping),
        worker.start_s,
    )
}

fn map(worker: &Worker, id: MapId) -> String {
    let mut text = String::new();
    for (number, (key, value)) in worker.memory.maps.get(&id).into_iter().flatten().enumerate() {
        let _ = writeln!(text, "0x{:x} {key} {value}", 0x7f90_0000_0000_u64 + number as u64 * 64);
    }
    text
}

const COLUMNS: &str = "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state \
    srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result \
    srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn \
    srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port";

fn servers(worker: &Worker) -> String {
    let mut text = format!("1\n# {COLUMNS}\n");
    for (number, (name, backend)) in worker.memory.backends.iter().enumerate() {
        for (at, server) in backend.servers.iter().enumerate() {
            let admin = match server.admin {
                Admin::Ready => 0,
                Admin::Maint => 1,
                Admin::Drain => 8,
            };
            let op = if server.admin == Admin::Maint { 0 } else { 2 };
            let (ip, port) = match server.address {
                Some(address) => (address.ip().to_string(), address.port()),
                None => ("127.0.0.1".to_owned(), 1),
            };
            let _ = writeln!(
                text,
                "{} {name} {} {} {ip} {op} {admin} 1 1 9 1 0 0 8 0 0 0 - {port} - 0 0 - - 0",
                number + 3,
                at + 1,
                server.name
            );
        }
    }
    text
}

fn transaction(worker: &Worker, kind: &str) -> String {
    match worker.transactions.get(kind) {
        Some((file, _)) => format!("# transaction\n*{file}\n"),
        None => String::new(),
    }
}

fn certificate(worker: &Worker, file: &str) -> String {
    let listed = worker.memory.crt_list.iter().any(|(listed, _)| listed == file);
    let named = |server: &crate::model::haproxy::Server| {
        Haproxy::files_of(&server.keywords).iter().any(|named| named == file)
    };
    let used = worker.memory.backends.values().flat_map(|backend| &backend.servers).any(named);
    let status = match (worker.empty.contains(file), worker.memory.files.contains(file)) {
        (true, _) => "Empty",
        (false, true) if listed || used || file == crt_list::DEFAULT_FILE => "Used",
        (false, true) => "Unused",
        (false, false) => {
            return "Can't display the certificate: Not found or the certificate is \
                                  a bundle!\n"
                .to_owned();
        }
    };
    format!("Filename: {file}\nStatus: {status}\nSerial: 01\n")
}
