//! The HAProxy adapter against every HAProxy that is installed.
//!
//! `deploy/haproxy/install.sh` puts 2.6, 3.0, 3.2 and 3.4 into `~/.cache/tidegate/haproxy` (or
//! `$TIDEGATE_HAPROXY_DIR`). A version that is not there is skipped with a word.

mod attached;
mod bench;
mod reloads;

use std::sync::Arc;
use std::time::Instant;

use tidegate_core::action::{MapId, RuntimeCommand, ServerState};
use tidegate_core::capability::Tier;
use tidegate_core::desired::Contribution;
use tidegate_core::digest::Digest;
use tidegate_core::event::{Observed, Outcome};
use tidegate_core::render::{crt_list, profile};
use tokio::io::AsyncWriteExt;

use bench::*;

#[test]
fn abilities_are_those_of_the_documented_tiers() -> Result {
    on_each(|version, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let found = bench.capabilities().await?;
        let tier = match version {
            "2.6" => Tier::C,
            "3.0" | "3.2" => Tier::B,
            _ => Tier::A,
        };
        assert_eq!(found.tier(), tier);
        assert_eq!(found.headers_bin, version == "3.4");
        assert_eq!(found.timeout_connect, version == "3.4");
        assert_eq!(found.timeout_client, version != "2.6");
        assert!(found.descriptors > 0);
        Ok(())
    })
}

#[test]
fn map_entries_arrive_as_they_were_sent() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (_, worker) = bench.serve().await?;
        let nasty = r#"a b;c\d\\ "e" 'f' #g <<h $i %[j] ü <<"#;
        let many =
            (0..3000).map(|n| add(MapId::Policy, &format!("many{n}"), &format!("v{n} {nasty}")));
        let mut commands = vec![add(MapId::Access, "one", nasty)];
        commands.extend(many);
        let started = Instant::now();
        all_done(&bench.run(worker, commands).await?);
        println!("3001 additions: {:?}", started.elapsed());
        let set = |key: &str, value: &str| RuntimeCommand::SetMapEntry {
            map: MapId::Policy,
            key: key.into(),
            value: value.into(),
        };
        let delete =
            |key: &str| RuntimeCommand::DeleteMapEntry { map: MapId::Policy, key: key.into() };
        let outcomes = bench
            .run(
                worker,
                vec![set("many7", "x;y"), set("none", "x"), delete("many8"), delete("none")],
            )
            .await?;
        assert_eq!(outcomes[0], Outcome::Done);
        assert!(matches!(outcomes[1], Outcome::Refused(_)));
        assert_eq!(outcomes[2..], [Outcome::Done, Outcome::Done]);
        let observed = bench.read_back(worker).await?;
        assert_eq!(map_of(&observed, MapId::Access).get("one"), Some(&nasty));
        let policy = map_of(&observed, MapId::Policy);
        assert_eq!(policy.get("many7"), Some(&"x;y"));
        assert_eq!(policy.get("many8"), None);
        assert_eq!(policy.get("many9"), Some(&&*format!("v9 {nasty}")));
        assert_eq!(policy.len(), 2999);
        bench.end().await
    })
}

#[test]
fn a_bad_entry_in_a_bulk_addition_is_the_only_one_refused() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (_, worker) = bench.serve().await?;
        let keys = ["^a", "^b", "(broken", "^c", "(again", "^d"];
        let outcomes =
            bench.run(worker, keys.map(|key| add(MapId::Rewrite, key, "x")).into()).await?;
        let refused: Vec<_> = outcomes.iter().map(|o| matches!(o, Outcome::Refused(_))).collect();
        assert_eq!(refused, [false, false, true, false, true, false], "{outcomes:?}");
        let observed = bench.read_back(worker).await?;
        let keys: Vec<_> = map_of(&observed, MapId::Rewrite).into_keys().collect();
        assert_eq!(keys, ["^a", "^b", "^c", "^d"]);
        bench.end().await
    })
}

#[test]
fn servers_come_change_and_go() -> Result {
    on_each(|version, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let capabilities = bench.capabilities().await?;
        let service =
            tidegate_core::world::object::Name { namespace: "d".into(), name: "s".into() };
        let spec = Arc::new(tidegate_core::desired::BackendSpec {
            service,
            port_name: "".into(),
            port: 80,
            profile: profile::DEFAULT.into(),
            keywords: "".into(),
            files: Vec::new(),
            check: None,
            snippet: None,
            reach: None,
        });
        let backend = tidegate_core::desired::Backend {
            name: spec.name(),
            spec,
            servers: vec!["10.0.0.1:8080".parse()?],
        };
        let name = backend.name.clone();
        let image = bench.image(&capabilities, &[Contribution::Backend(Arc::new(backend))]);
        let worker = bench.reload(image).await?.worker.ok_or("no worker")?;
        let find = |observed: &Observed, name: &str| {
            observed.backends.iter().find(|b| *b.name == *name).map(|b| b.servers.clone())
        };
        let observed = bench.read_back(worker).await?;
        assert!(observed.backends.iter().all(|b| !b.name.starts_with("tidegate-")));
        let servers = find(&observed, &name).ok_or("no backend")?;
        assert_eq!(servers[0].address, Some("10.0.0.1:8080".parse()?));
        assert!(servers[0].ready);
        if version == "2.6" {
            assert!(servers[1..].iter().all(|s| s.address.is_none() && !s.ready));
            let address = |address: &str| -> Result<RuntimeCommand> {
                let address = address.parse()?;
                let (backend, server) = (name.clone(), "s2".into());
                Ok(RuntimeCommand::SetServerAddress { backend, server, address })
            };
            let commands = vec![
                address("10.0.0.2:80")?,
                address("10.0.0.2:80")?,
                address("[fd00::2]:81")?,
                state(&name, "s2", ServerState::Ready),
            ];
            all_done(&bench.run(worker, commands).await?);
            let servers = find(&bench.read_back(worker).await?, &name).ok_or("no backend")?;
            assert_eq!(servers[1].address, Some("[fd00::2]:81".parse()?));
            assert!(servers[1].ready);
        } else {
            let other = "[fd00::1]:8080";
            let commands = vec![
                add_server(&name, other)?,
                state(&name, "fd00::1:8080", ServerState::Ready),
                state(&name, "10.0.0.1:8080", ServerState::Maint),
                RuntimeCommand::ShutdownSessions {
                    backend: name.clone(),
                    server: "10.0.0.1:8080".into(),
                },
            ];
            all_done(&bench.run(worker, commands).await?);
            let again = bench.run(worker, vec![add_server(&name, other)?]).await?;
            assert!(matches!(again[0], Outcome::Refused(_)));
            let servers = find(&bench.read_back(worker).await?, &name).ok_or("no backend")?;
            let states: Vec<_> = servers.iter().map(|s| (s.slot, s.address, s.ready)).collect();
            let addresses = ["10.0.0.1:8080", "[fd00::1]:8080"].map(|text| text.parse().ok());
            assert_eq!(states, [(0, addresses[0], false), (0, addresses[1], true)]);
            let delete = |server: &str| RuntimeCommand::DeleteServer {
                backend: name.clone(),
                server: server.into(),
            };
            let outcomes = bench
                .run(worker, vec![delete("10.0.0.1:8080"), delete("none"), delete("fd00::1:8080")])
                .await?;
            assert_eq!(outcomes[..2], [Outcome::Done, Outcome::Done]);
            assert!(matches!(outcomes[2], Outcome::Refused(_)));
        }
        bench.end().await
    })
}

#[test]
fn backends_come_and_go_where_haproxy_can() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, worker) = bench.serve().await?;
        let backend: Arc<str> = "d_new_80".into();
        let commands = vec![
            RuntimeCommand::AddBackend {
                backend: backend.clone(),
                profile: profile::DEFAULT.into(),
            },
            RuntimeCommand::PublishBackend { backend: backend.clone() },
            add_server(&backend, "127.0.0.1:9")?,
            state(&backend, "127.0.0.1:9", ServerState::Ready),
        ];
        let started = Instant::now();
        let outcomes = bench.run(worker, commands).await?;
        println!("a backend with a server: {:?}", started.elapsed());
        if !capabilities.dynamic_backends {
            assert!(outcomes.iter().all(|o| matches!(o, Outcome::Refused(_))), "{outcomes:?}");
            return bench.end().await;
        }
        all_done(&outcomes);
        let observed = bench.read_back(worker).await?;
        assert!(observed.backends.iter().any(|b| *b.name == *backend && b.servers.len() == 1));
        let delete = RuntimeCommand::DeleteBackend { backend: backend.clone() };
        let outcomes = bench.run(worker, vec![delete.clone()]).await?;
        assert!(matches!(outcomes[0], Outcome::Refused(_)));
        let commands = vec![
            RuntimeCommand::UnpublishBackend { backend: backend.clone() },
            state(&backend, "127.0.0.1:9", ServerState::Maint),
            RuntimeCommand::DeleteServer { backend: backend.clone(), server: "127.0.0.1:9".into() },
            delete.clone(),
            delete,
        ];
        all_done(&bench.run(worker, commands).await?);
        bench.end().await
    })
}

/// What changes of servers have to say is in HAProxy's answer to the next deletion of a backend, and
/// nothing else is when there is much of it.
#[test]
fn a_backend_that_goes_after_many_servers_is_known_to_be_gone() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, worker) = bench.serve().await?;
        if !capabilities.dynamic_backends {
            return bench.end().await;
        }
        let backend: Arc<str> = "d_large_80".into();
        let profile = profile::DEFAULT.into();
        let mut commands = vec![RuntimeCommand::AddBackend { backend: backend.clone(), profile }];
        let servers: Vec<String> = (1..=20).map(|n| format!("127.0.0.{n}:{n}")).collect();
        for server in &servers {
            commands.push(add_server(&backend, server)?);
            commands.push(state(&backend, server, ServerState::Ready));
        }
        all_done(&bench.run(worker, commands).await?);
        let all = servers.iter();
        let mut commands: Vec<_> =
            all.map(|server| state(&backend, server, ServerState::Maint)).collect();
        commands.extend(servers.iter().map(|server| RuntimeCommand::DeleteServer {
            backend: backend.clone(),
            server: server.as_str().into(),
        }));
        all_done(&bench.run(worker, commands).await?);
        let delete = RuntimeCommand::DeleteBackend { backend: backend.clone() };
        all_done(&bench.run(worker, vec![delete]).await?);
        let observed = bench.read_back(worker).await?;
        assert!(observed.backends.iter().all(|b| *b.name != *backend), "it is still there");
        bench.end().await
    })
}

#[test]
fn certificates_are_installed_listed_and_removed() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (_, worker) = bench.serve().await?;
        let one = certificate(&bench.vault, "a.example")?;
        let two = certificate(&bench.vault, "b.example")?;
        let bad = bench.vault.admit(b"garbage\n".to_vec());
        let ca = authority(&bench.vault)?;
        // Somebody died in the middle of a transaction.
        let mut stream = bench.ports.net.dial(&bench.socket("worker.sock")).await?;
        let pem = bench.vault.certificate(&one).ok_or("no certificate")?;
        let pem = String::from_utf8_lossy(&pem).replace("\n\n", "\n");
        let file = crt_list::DEFAULT_FILE;
        stream.write_all(format!("set ssl cert {file} <<\n{pem}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_buf(&mut stream, &mut answer).await?;
        drop(stream);
        let install =
            |file: &str, digest| RuntimeCommand::InstallCertificate { file: file.into(), digest };
        let commands = vec![
            install("certs/one.pem", one),
            install("certs/bad.pem", bad),
            install("certs/two.pem", two),
            install("certs/gone.pem", Digest::of(b"not in the vault")),
            RuntimeCommand::ReplaceDefaultCertificate { digest: Some(two) },
            RuntimeCommand::InstallAuthority { file: "ca/x.pem".into(), digest: ca },
            RuntimeCommand::InstallAuthority { file: "ca/bad.pem".into(), digest: bad },
        ];
        let started = Instant::now();
        let outcomes = bench.run(worker, commands).await?;
        println!("certificates: {:?}", started.elapsed());
        let done: Vec<_> = outcomes.iter().map(|o| *o == Outcome::Done).collect();
        assert_eq!(done, [true, false, true, false, true, true, false], "{outcomes:?}");
        assert!(outcomes.iter().all(|o| *o != Outcome::Unknown), "{outcomes:?}");
        let line = |file: &str, hosts: &[&str]| RuntimeCommand::AddCrtListLine {
            file: file.into(),
            hosts: hosts.iter().map(|h| (*h).into()).collect(),
        };
        let both = line("certs/one.pem", &["a.example", "*.a.example"]);
        all_done(&bench.run(worker, vec![both]).await?);
        let observed = bench.read_back(worker).await?;
        let certificates: Vec<_> = observed.certificates.iter().map(|c| &**c).collect();
        assert_eq!(certificates, [file, "certs/one.pem", "certs/two.pem"]);
        assert_eq!(observed.authorities, ["ca/x.pem".into()]);
        let listed = observed.crt_list.iter().find(|(f, _)| **f == *"certs/one.pem");
        assert_eq!(listed.map(|(_, hosts)| hosts.len()), Some(2));
        // A second line for the same file: deleting removes both.
        all_done(&bench.run(worker, vec![line("certs/one.pem", &["c.example"])]).await?);
        let unlist = |file: &str| RuntimeCommand::DeleteCrtListLine { file: file.into() };
        let forget = |file: &str| RuntimeCommand::DeleteCertificate { file: file.into() };
        let outcomes = bench.run(worker, vec![forget("certs/one.pem")]).await?;
        assert!(matches!(outcomes[0], Outcome::Refused(_)));
        let commands = vec![unlist("certs/one.pem"), unlist("certs/none.pem")];
        all_done(&bench.run(worker, commands).await?);
        let commands = vec![
            forget("certs/one.pem"),
            forget("certs/two.pem"),
            forget("certs/none.pem"),
            RuntimeCommand::DeleteAuthority { file: "ca/x.pem".into() },
            RuntimeCommand::DeleteAuthority { file: "ca/none.pem".into() },
        ];
        all_done(&bench.run(worker, commands).await?);
        let observed = bench.read_back(worker).await?;
        assert_eq!(observed.certificates, [file.into()]);
        assert_eq!(observed.crt_list.len(), 1);
        assert!(observed.authorities.is_empty());
        bench.end().await
    })
}

#[test]
fn a_round_trip_is_short() -> Result {
    on_each(|version, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (_, worker) = bench.serve().await?;
        all_done(&bench.run(worker, vec![add(MapId::Policy, "k", "v")]).await?);
        for count in [1, 3, 10] {
            let mut times = Vec::new();
            for n in 0..300 {
                let commands = (0..count)
                    .map(|_| RuntimeCommand::SetMapEntry {
                        map: MapId::Policy,
                        key: "k".into(),
                        value: format!("{n}").into(),
                    })
                    .collect();
                let started = Instant::now();
                all_done(&bench.run(worker, commands).await?);
                times.push(started.elapsed());
            }
            times.sort_unstable();
            println!("{version}: {count} commands: median {:?}, p99 {:?}", times[150], times[297]);
        }
        bench.end().await
    })
}
