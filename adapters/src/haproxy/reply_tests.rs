//! Every answer here was given by a real HAProxy.

use tidegate_core::action::{MapId, ServerState};

use super::*;

fn server(kind: &str) -> RuntimeCommand {
    let (backend, server) = ("b".into(), "s".into());
    match kind {
        "add" => RuntimeCommand::AddServer {
            backend,
            server,
            address: ([10, 0, 0, 1], 80).into(),
            keywords: "".into(),
        },
        "del" => RuntimeCommand::DeleteServer { backend, server },
        "addr" => RuntimeCommand::SetServerAddress {
            backend,
            server,
            address: ([10, 0, 0, 1], 80).into(),
        },
        "state" => RuntimeCommand::SetServerState { backend, server, state: ServerState::Maint },
        "health" => RuntimeCommand::EnableHealth { backend, server },
        _ => RuntimeCommand::ShutdownSessions { backend, server },
    }
}

fn backend(kind: &str) -> RuntimeCommand {
    let backend = "b".into();
    match kind {
        "add" => RuntimeCommand::AddBackend { backend, profile: "p".into() },
        "publish" => RuntimeCommand::PublishBackend { backend },
        "unpublish" => RuntimeCommand::UnpublishBackend { backend },
        _ => RuntimeCommand::DeleteBackend { backend },
    }
}

fn map(kind: &str) -> RuntimeCommand {
    let (map, key) = (MapId::Policy, "k".into());
    match kind {
        "add" => RuntimeCommand::AddMapEntry { map, key, value: "v".into() },
        "set" => RuntimeCommand::SetMapEntry { map, key, value: "v".into() },
        _ => RuntimeCommand::DeleteMapEntry { map, key },
    }
}

fn file(kind: &str) -> RuntimeCommand {
    let file = "certs/x.pem".into();
    match kind {
        "cert" => RuntimeCommand::DeleteCertificate { file },
        "ca" => RuntimeCommand::DeleteAuthority { file },
        "line" => RuntimeCommand::DeleteCrtListLine { file },
        _ => RuntimeCommand::AddCrtListLine { file, hosts: Vec::new() },
    }
}

fn done(command: &RuntimeCommand, answer: &str) {
    assert_eq!(judge(command, answer), Outcome::Done, "{command:?}: {answer:?}");
}

fn refused_by(command: &RuntimeCommand, answer: &str) {
    let outcome = judge(command, answer);
    assert!(matches!(outcome, Outcome::Refused(_)), "{command:?}: {answer:?}: {outcome:?}");
}

#[test]
fn answers_about_servers() {
    done(&server("add"), "New server registered.");
    refused_by(&server("add"), "Already exists a server with the same name in backend.");
    refused_by(&server("add"), "'enabled' option is not accepted for dynamic server");
    refused_by(&server("add"), "unknown keyword 'bogus'.");
    refused_by(&server("add"), "character '[' is not permitted in server name '[::1]:80'.");
    refused_by(&server("add"), "'ca-file' : unable to load ca/x.pem.");
    refused_by(&server("add"), "verify is enabled by default but no CA file specified. If …");
    done(&server("del"), "Server deleted.");
    done(&server("del"), "No such server.");
    done(&server("del"), "No such backend.");
    refused_by(&server("del"), "Only servers in maintenance mode can be deleted.");
    refused_by(&server("del"), "Server still has connections attached to it, cannot remove it.");
    for answer in [
        "IP changed from '127.0.0.1' to '10.0.0.1', port changed from '1' to '80' by 'stats …'",
        "nothing changed",
        "no need to change the addr, no need to change the port by 'stats socket command'",
        "no need to change the addr, port changed from '80' to '81' by 'stats socket command'",
        "port changed from '80' to '81' by 'stats socket command'",
    ] {
        done(&server("addr"), answer);
    }
    refused_by(&server("addr"), "Invalid addr '300.1.1.2' by 'stats socket command'");
    refused_by(&server("addr"), "No such server.");
    done(&server("state"), "");
    refused_by(&server("state"), "No such server.");
    refused_by(&server("state"), "'set server <srv> state' expects 'ready', 'drain' and 'maint'.");
    refused_by(&server("health"), "Health check was not configured on this server, cannot enable.");
    done(&server("shutdown"), "");
    done(&server("shutdown"), "No such server.");
}

#[test]
fn answers_about_backends() {
    done(&backend("add"), "New backend registered.");
    refused_by(&backend("add"), "New backend registered (no support for dynamic servers: x).");
    refused_by(
        &backend("add"),
        "Error during backend creation : name is already used by other proxy 'backend b'.",
    );
    refused_by(&backend("add"), "Cannot find default proxy 'd-nope'.");
    refused_by(&backend("add"), "Unknown command: 'add', but maybe one of the following …");
    done(&backend("publish"), "Backend published.");
    refused_by(&backend("publish"), "No such backend.");
    done(&backend("unpublish"), "Backend unpublished.");
    done(&backend("unpublish"), "No such backend.");
    done(&backend("del"), "Backend deleted.");
    done(&backend("del"), "No such backend.");
    refused_by(&backend("del"), "Backend must be unpublished prior to its deletion.");
    refused_by(&backend("del"), "Only a backend without server can be deleted.");
}

#[test]
fn notices_of_earlier_commands_do_not_change_an_answer() {
    let notices = "Server b/s is going DOWN for maintenance. 0 active and 0 backup servers left.\n\
                   backend 'b' has no server available!\nServer deleted.\n";
    done(&backend("del"), &format!("{notices}Backend deleted."));
    refused_by(&backend("del"), &format!("{notices}Only a backend without server can be deleted."));
    done(&server("state"), notices);
    done(&map("set"), notices);
    refused_by(&map("set"), &format!("{notices}entry not found."));
}

#[test]
fn answers_about_maps() {
    for kind in ["add", "set", "del"] {
        done(&map(kind), "");
        refused_by(&map(kind), "Unknown map identifier. Please use #<id> or <file>.");
    }
    refused_by(&map("set"), "entry not found.");
    done(&map("del"), "Key not found.");
    refused_by(&map("add"), "regex '(a' is invalid (error=missing closing parenthesis, …).");
    refused_by(&map("add"), "Missing value for key 'onlykey'.");
}

#[test]
fn answers_about_certificates() {
    done(&file("cert"), "Certificate 'certs/x.pem' deleted!");
    done(&file("cert"), "Can't remove the certificate: certificate 'certs/x.pem' doesn't exist!");
    refused_by(
        &file("cert"),
        "Can't remove the certificate: certificate 'certs/x.pem' in use, can't be deleted!",
    );
    done(&file("ca"), "CA file 'certs/x.pem' deleted!");
    done(&file("ca"), "Can't remove the CA file: CA file 'certs/x.pem' doesn't exist!");
    done(
        &file("add"),
        "Inserting certificate 'certs/x.pem' in crt-list 'certs/list.txt'.\nSuccess!",
    );
    refused_by(&file("add"), "Can't edit the crt-list: certificate 'certs/x.pem' is empty!");
    refused_by(
        &file("add"),
        "Inserting certificate 'certs/x.pem' in crt-list 'certs/list.txt'.\nunable to load SSL \
         private key into SSL Context 'certs/x.pem': passed a null parameter.\nFailed!",
    );
    done(&file("line"), "Entry 'certs/x.pem' deleted in crtlist 'certs/list.txt'!");
    done(&file("line"), "Can't delete the entry: certificate 'certs/x.pem' does not exist!");
    done(
        &file("line"),
        "Can't delete the entry: certificate 'certs/x.pem' can't be found in crt-list \
         'certs/list.txt'!",
    );
    refused_by(
        &file("line"),
        "Can't delete the entry: certificate 'certs/x.pem' cannot be deleted, it is used as \
         default certificate by the following frontends:\n\t- /tmp/haproxy.cfg:17",
    );
    let several = "Can't delete the entry: found the certificate 'certs/x.pem' in several entries, \
                   please specify a line number preceded by colons (2, 3)!";
    assert_eq!(duplicate_lines(several), [2, 3]);
    assert!(duplicate_lines("Entry 'certs/x(1).pem' deleted").is_empty());
}

#[test]
fn installing_takes_two_answers() {
    let f = "certs/x.pem";
    let set = "Transaction created for certificate certs/x.pem!";
    let commit = "Committing certs/x.pem..\nSuccess!";
    assert_eq!(judge_install(f, set, commit), Installed::Settled(Outcome::Done));
    let ca = judge_install(
        "ca/x.pem",
        "transaction created for CA ca/x.pem!",
        "Committing ca/x.pem\nSuccess!",
    );
    assert_eq!(ca, Installed::Settled(Outcome::Done));
    let bad = "inconsistencies between private key and certificate loaded 'certs/x.pem'.\n\
               Can't commit certs/x.pem!";
    assert!(matches!(judge_install(f, set, bad), Installed::Settled(Outcome::Refused(_))));
    let none = "No ongoing transaction! !\nCan't commit certs/x.pem!";
    let garbage = "unable to load certificate from file 'certs/x.pem': no start line.\nCan't load \
                   the payload\nCan't update certs/x.pem!";
    let Installed::Settled(Outcome::Refused(words)) = judge_install(f, garbage, none) else {
        panic!("not refused");
    };
    assert!(words.contains("no start line"));
}

#[test]
fn a_foreign_transaction_is_recognised_in_both_forms() {
    let f = "certs/x.pem";
    let blocked = Installed::Blocked("certs/q.pem".to_owned());
    let new = "The ongoing transaction is about 'certs/q.pem' but you are trying to set \
               'certs/x.pem'\nCan't update certs/x.pem!";
    assert_eq!(judge_install(f, new, new), blocked);
    // 2.6 takes the bytes for the other file, and refuses the commit.
    let old = "Transaction updated for certificate certs/q.pem!";
    assert_eq!(judge_install(f, old, new), blocked);
    let ours = "Transaction updated for certificate certs/x.pem!";
    let commit = "Committing certs/x.pem\nSuccess!";
    assert_eq!(judge_install(f, ours, commit), Installed::Settled(Outcome::Done));
}

#[test]
fn what_nobody_has_seen_is_unknown() {
    for command in [server("add"), server("del"), server("addr"), backend("del"), file("line")] {
        assert_eq!(judge(&command, ""), Outcome::Unknown);
        assert_eq!(judge(&command, "Quite so."), Outcome::Unknown);
    }
    assert_eq!(judge(&map("set"), "Quite so."), Outcome::Unknown);
}

#[test]
fn notices_may_leave_no_room_for_an_answer() {
    let notices = "Server d/127.0.0.8:8 is UP/READY (leaving forced maintenance).\nServer d/127.0.0.9:9 is \
                   going DOWN for maintenance. 18 active and 0 backup servers left. 0 sessions active, 0 \
                   requeued, 0 remaini\n";
    assert_eq!(judge(&backend("del"), notices), Outcome::Unknown);
    assert!(is_drowned(&backend("del"), notices));
    for (command, answer) in [
        (backend("del"), ""),
        (backend("del"), "Permission denied\n"),
        (backend("publish"), notices),
        (server("del"), notices),
    ] {
        assert!(!is_drowned(&command, answer), "{command:?}: {answer:?}");
    }
}
