//! Starts, reloads, and an HAProxy that dies, hangs or was left by another controller.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::haproxy::{ProxyOptions, StopMode};
use tidegate::ports::Signal;
use tidegate::vault::Vault;
use tidegate_core::action::{ActionBody, MapId};
use tidegate_core::desired::{Contribution, Desired};
use tidegate_core::digest::Digest;
use tidegate_core::event::{Event, Outcome, WorkerId};

use super::bench::*;

#[test]
fn a_reload_moves_to_a_new_worker_and_a_refused_one_does_not() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, first) = bench.serve().await?;
        let link = bench.options.state_dir.join("haproxy.cfg");
        all_done(&bench.run(first, vec![add(MapId::Policy, "k", "v")]).await?);
        let image = bench.image(
            &capabilities,
            &[Contribution::Map(MapId::Policy, "k".into(), "from-file".into())],
        );
        let started = Instant::now();
        let ack = bench.reload(image.clone()).await?;
        println!("reload: {:?}", started.elapsed());
        assert_eq!(ack.outcomes, [Outcome::Done]);
        let second = ack.worker.ok_or("no worker")?;
        assert!(second > first);
        assert_eq!(bench.run(first, vec![add(MapId::Policy, "x", "v")]).await?, [Outcome::Unknown]);
        let observed = bench.read_back(second).await?;
        assert_eq!(map_of(&observed, MapId::Policy).get("k"), Some(&"from-file"));
        let digest = tidegate_core::render::skeleton_digest(&image.skeleton);
        assert_eq!(*observed.skeleton, *digest);
        let before = bench.ports.files.pointee(&link)?;
        let broken = bench.broken_image(&capabilities);
        let ack = bench.reload(broken.clone()).await?;
        let Outcome::Refused(words) = &ack.outcomes[0] else { panic!("{ack:?}") };
        assert!(words.contains("no-such-directive"), "{words}");
        assert_eq!(bench.ports.files.pointee(&link)?, before);
        all_done(&bench.run(second, vec![add(MapId::Policy, "still", "here")]).await?);
        let check = bench.act(ActionBody::Check { image: Arc::new(broken) }).await?;
        assert!(matches!(check.outcomes[0], Outcome::Refused(_)));
        let check = bench.act(ActionBody::Check { image: Arc::new(image.clone()) }).await?;
        assert_eq!(check.outcomes, [Outcome::Done]);
        for _ in 0..5 {
            let saved = bench.act(ActionBody::Save { image: Arc::new(image.clone()) }).await?;
            assert_eq!(saved.outcomes, [Outcome::Done]);
        }
        let generations = bench.ports.files.list(&bench.options.state_dir)?;
        let generations = generations.iter().filter(|name| name.starts_with("gen-")).count();
        assert!(generations <= 4, "{generations} generations");
        bench.end().await
    })
}

#[test]
fn a_reload_that_only_the_master_refuses_is_refused() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, worker) = bench.serve().await?;
        // `haproxy -c` does not bind, so it accepts a port that is taken.
        let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
        let mut skeleton = bench.skeleton(&capabilities, &[]);
        skeleton.listen.http_port = taken.local_addr()?.port();
        let image = Desired::new(Arc::new(skeleton)).image().clone();
        for key in ["still", "again"] {
            let started = Instant::now();
            let ack = bench.reload(image.clone()).await?;
            println!("refused after {:?}: {:?}", started.elapsed(), ack.outcomes);
            assert!(matches!(ack.outcomes[0], Outcome::Refused(_)), "{ack:?}");
            all_done(&bench.run(worker, vec![add(MapId::Policy, key, "here")]).await?);
        }
        // What the master refused costs the next reload nothing.
        let ack = bench.reload(bench.image(&capabilities, &[])).await?;
        assert_eq!(ack.outcomes, [Outcome::Done]);
        let next = ack.worker.ok_or("no worker")?;
        assert!(next > worker);
        all_done(&bench.run(next, vec![add(MapId::Policy, "k", "v")]).await?);
        bench.end().await
    })
}

#[test]
fn a_killed_haproxy_is_back_from_files_within_a_second() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, first) = bench.serve().await?;
        let entry = Contribution::Map(MapId::Policy, "k".into(), "saved".into());
        let image = Arc::new(bench.image(&capabilities, &[entry]));
        assert_eq!(bench.act(ActionBody::Save { image }).await?.outcomes, [Outcome::Done]);
        for (victim, previous) in [("worker", first), ("master", WorkerId(2))] {
            let pid = match victim {
                "worker" => bench.pid().await.ok_or("no worker")?,
                _ => bench.master().await?,
            };
            let killed = Instant::now();
            bench.ports.processes.signal(pid, Signal::Kill)?;
            bench.event(|e| (*e == Event::WorkerLost(previous)).then_some(())).await?;
            let lost = killed.elapsed();
            let worker = bench.worker_seen().await?;
            println!("{victim} killed: lost after {lost:?}, back after {:?}", killed.elapsed());
            assert!(killed.elapsed() < Duration::from_secs(2));
            assert!(worker > previous);
            let observed = bench.read_back(worker).await?;
            assert_eq!(map_of(&observed, MapId::Policy).get("k"), Some(&"saved"));
        }
        bench.end().await
    })
}

#[test]
fn a_new_controller_adopts_what_runs_and_a_second_one_is_refused() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (_, worker) = bench.serve().await?;
        all_done(&bench.run(worker, vec![add(MapId::Policy, "k", "v")]).await?);
        let pid = bench.pid().await;
        let second = Bench::over(bench.options.clone(), Arc::clone(&bench.vault)).await;
        let text = second.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(!text.is_empty(), "two controllers in one folder");
        // The first one ends without a word, as when killed.
        drop(bench.handle.take());
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut next = Bench::over(bench.options.clone(), Arc::clone(&bench.vault)).await?;
        let started = Instant::now();
        let worker = next.worker_seen().await?;
        next.capabilities().await?;
        println!("adopted after {:?}", started.elapsed());
        assert_eq!(next.pid().await, pid);
        let observed = next.read_back(worker).await?;
        assert_eq!(map_of(&observed, MapId::Policy).get("k"), Some(&"v"));
        next.end().await
    })
}

#[test]
fn files_on_disk_are_served_before_anything_is_asked_for() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        bench.serve().await?;
        if let Some(handle) = bench.handle.take() {
            handle.stop(StopMode::Soft { within: Duration::from_secs(1) }).await?;
        }
        assert_eq!(bench.pid().await, None);
        // The newest files are no good: the last ones that ran are used.
        let dir = bench.options.state_dir.join("gen-99");
        bench.ports.files.create_dir(&dir, 0o755)?;
        bench.ports.files.write(&dir.join("haproxy.cfg"), b"nonsense\n", 0o644)?;
        let link = bench.options.state_dir.join("haproxy.cfg");
        bench.ports.files.point(&link, Path::new("gen-99/haproxy.cfg"))?;
        let mut next = Bench::over(bench.options.clone(), Arc::clone(&bench.vault)).await?;
        next.worker_seen().await?;
        // Core starts an HAProxy when it knows what one can do and of no worker.
        assert_eq!(next.seen.len(), 1, "WorkerSeen, then ProxyFound: {:?}", next.seen);
        next.capabilities().await?;
        next.end().await
    })
}

#[test]
fn missing_bytes_are_a_refusal_that_changes_nothing() -> Result {
    on_each(|_, binary| async move {
        let mut bench = Bench::start(binary).await?;
        let (capabilities, worker) = bench.serve().await?;
        let link = bench.options.state_dir.join("haproxy.cfg");
        let before = bench.ports.files.pointee(&link)?;
        let missing = Contribution::Certificate(Digest::of(b"nowhere"), "a.example".into());
        let image = Arc::new(bench.image(&capabilities, &[missing]));
        for body in [
            ActionBody::Save { image: image.clone() },
            ActionBody::Check { image: image.clone() },
            ActionBody::Reload { image, reasons: Vec::new() },
        ] {
            let ack = bench.act(body).await?;
            let Outcome::Refused(words) = &ack.outcomes[0] else { panic!("{ack:?}") };
            assert!(words.starts_with("files: "), "{words}");
        }
        assert_eq!(bench.ports.files.pointee(&link)?, before);
        all_done(&bench.run(worker, vec![add(MapId::Policy, "k", "v")]).await?);
        bench.end().await
    })
}

/// Whether every thread of a process is stopped.
fn is_stopped(pid: &str) -> std::io::Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
        if !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[test]
fn a_worker_that_hangs_leaves_outcomes_unknown_and_recovers() -> Result {
    on_each(|_, binary| async move {
        let folder = tempfile::tempdir()?;
        let mut options = ProxyOptions::spawn(folder.path().to_owned(), binary);
        options.answer_patience = Duration::from_millis(300);
        let mut bench = Bench::over(options, Arc::new(Vault::new([7; 32]))).await?;
        bench.folder = Some(folder);
        let (_, worker) = bench.serve().await?;
        let pid = bench.pid().await.ok_or("no worker")?.to_string();
        let signal = |name: &str| std::process::Command::new("kill").args([name, &pid]).status();
        signal("-STOP")?;
        // The signal is on its way when `kill` returns; a thread may still answer until it arrives.
        while !is_stopped(&pid)? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let outcomes = bench.run(worker, vec![add(MapId::Policy, "k", "v")]).await;
        signal("-CONT")?;
        assert_eq!(outcomes?, [Outcome::Unknown]);
        let deadline = Instant::now() + PATIENCE;
        let key = |n: u32| add(MapId::Policy, &format!("again{n}"), "v");
        let mut tries = 0;
        while bench.run(worker, vec![key(tries)]).await? != [Outcome::Done] {
            assert!(Instant::now() < deadline, "it did not recover");
            tries += 1;
        }
        bench.read_back(worker).await?;
        assert!(!bench.seen.contains(&Event::WorkerLost(worker)));
        bench.end().await
    })
}
