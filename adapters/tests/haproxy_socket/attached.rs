//! An HAProxy that somebody else starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::haproxy::{Mode, ProxyOptions, reload};
use tidegate::ports::{Endpoint, Signal};
use tidegate::vault::Vault;
use tidegate_core::action::MapId;
use tidegate_core::capability::Capabilities;
use tidegate_core::desired::Contribution;
use tidegate_core::event::{Event, Outcome, WorkerId};

use super::bench::*;

#[test]
fn attached_to_an_haproxy_that_somebody_else_runs() -> Result {
    on_each(|_, binary| async move {
        let mut owner = Bench::start(binary).await?;
        let (capabilities, _) = owner.serve().await?;
        let image = owner.image(&capabilities, &[]);
        // Its owner goes away; from now on nobody restarts it but this test.
        drop(owner.handle.take());
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut options = owner.options.clone();
        options.binary = PathBuf::from("/nonexistent/haproxy");
        options.mode = Mode::Attach {
            master: Some(owner.socket("master.sock")),
            worker: owner.socket("worker.sock"),
        };
        let mut bench = Bench::over(options, Arc::clone(&owner.vault)).await?;
        let first = bench.worker_seen().await?;
        let found = bench.capabilities().await?;
        assert_eq!(found.tier(), capabilities.tier());
        let ack = bench.reload(image).await?;
        assert_eq!(ack.outcomes, [Outcome::Done]);
        let second = ack.worker.ok_or("no worker")?;
        assert!(second > first);
        // Somebody reloads it behind our back.
        bench.master().await?;
        let verdict =
            reload::reload(&*bench.ports.net, &owner.socket("master.sock"), PATIENCE).await;
        assert!(!matches!(verdict, reload::Verdict::Refused(_)), "{verdict:?}");
        let third = bench.worker_seen().await?;
        assert!(bench.seen.contains(&Event::WorkerLost(second)));
        all_done(&bench.run(third, vec![add(MapId::Policy, "k", "v")]).await?);
        Ok(())
    })
}

/// A tidegate that has no HAProxy of its own, and HAProxys that this test starts.
struct Attached {
    bench: Bench,
    running: Option<std::process::Child>,
}

impl Attached {
    /// With an HAProxy that waits for its first files.
    async fn start(binary: &Path) -> Result<(Attached, Capabilities)> {
        let folder = tempfile::tempdir()?;
        let mut options = ProxyOptions::spawn(folder.path().to_owned(), "/nonexistent".into());
        let socket = |name: &str| Endpoint::Unix(folder.path().join("run").join(name));
        options.mode =
            Mode::Attach { master: Some(socket("master.sock")), worker: socket("worker.sock") };
        let mut bench = Bench::over(options, Arc::new(Vault::new([7; 32]))).await?;
        bench.folder = Some(folder);
        let mut attached = Attached { bench, running: None };
        attached.run(binary).await?;
        let found = attached.found().await?;
        Ok((attached, found))
    }

    fn config(&self) -> PathBuf {
        self.bench.options.state_dir.join("haproxy.cfg")
    }

    /// What the link in the state folder leads to.
    fn link(&self) -> Result<PathBuf> {
        Ok(self.bench.ports.files.pointee(&self.config())?)
    }

    /// Starts one as the units do, which try until there are files to start from.
    async fn run(&mut self, binary: &Path) -> Result {
        let deadline = Instant::now() + PATIENCE;
        while !self.config().exists() {
            assert!(Instant::now() < deadline, "no bootstrap was written");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let log = std::fs::File::create(self.bench.options.state_dir.join("run/words"))?;
        let mut command = std::process::Command::new(binary);
        command.args(["-C", "/", "-W", "-f"]).arg(self.config()).arg("-S");
        command.arg(self.bench.options.state_dir.join("run/master.sock"));
        command.stdout(log.try_clone()?).stderr(log);
        self.running = Some(command.spawn()?);
        Ok(())
    }

    /// What runs, when the adapter says so; otherwise what HAProxy itself said.
    async fn found(&mut self) -> Result<Capabilities> {
        let words = self.bench.options.state_dir.join("run/words");
        self.bench.capabilities().await.map_err(|error| {
            format!("{error}; {}", std::fs::read_to_string(words).unwrap_or_default()).into()
        })
    }

    async fn kill(&mut self, worker: WorkerId) -> Result {
        let pid = self.bench.pid().await.ok_or("no worker")?;
        if let Some(mut running) = self.running.take() {
            running.kill()?;
            running.wait()?;
        }
        // Up to 2.6 a worker may outlive its master.
        let _ = self.bench.ports.processes.signal(pid, Signal::Kill);
        self.bench.event(|e| (*e == Event::WorkerLost(worker)).then_some(())).await
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let id = running.id().to_string();
            let _ = std::process::Command::new("kill").args(["-TERM", &id]).status();
            let _ = running.wait();
        }
    }
}

/// Up to 3.0 a master that refused files stays in their folder, which is removed.
#[test]
fn after_files_that_were_refused_others_are_loaded() -> Result {
    on_each(|_, binary| async move {
        let (mut attached, found) = Attached::start(&binary).await?;
        let bench = &mut attached.bench;
        let ack = bench.reload(bench.image(&found, &[])).await?;
        assert_eq!(ack.outcomes, [Outcome::Done]);
        for turn in 0..2 {
            let refused = bench.reload(bench.broken_image(&found)).await?;
            assert!(matches!(refused.outcomes[0], Outcome::Refused(_)), "{refused:?}");
            let value = format!("value-{turn}");
            let entry = Contribution::Map(MapId::Policy, "k".into(), value.as_str().into());
            let ack = bench.reload(bench.image(&found, &[entry])).await?;
            assert_eq!(ack.outcomes, [Outcome::Done], "after a refusal, turn {turn}");
            let observed = bench.read_back(ack.worker.ok_or("no worker")?).await?;
            assert_eq!(map_of(&observed, MapId::Policy).get("k"), Some(&value.as_str()));
        }
        Ok(())
    })
}

/// Who starts an HAProxy of another version goes back to the bootstrap when it refuses the files
/// there are. Files for the one before must not come in between.
#[test]
fn files_for_the_one_before_are_not_given_to_another() -> Result {
    on_each(|version, own| async move {
        let Some(another) = binary(if version == "3.4" { "2.6" } else { "3.4" }) else {
            return Ok(());
        };
        let (mut attached, found) = Attached::start(&own).await?;
        let bench = &mut attached.bench;
        let image = bench.image(&found, &[]);
        let ack = bench.reload(image.clone()).await?;
        assert_eq!(ack.outcomes, [Outcome::Done]);
        attached.kill(ack.worker.ok_or("no worker")?).await?;

        // Away, and nobody went back: whoever starts one has the newest files.
        let ack = attached.bench.reload(image.clone()).await?;
        assert_eq!(ack.outcomes, [Outcome::Unknown]);
        assert!(attached.link()?.starts_with("gen-2"), "{:?}", attached.link()?);

        // As the container and the unit do it.
        let bootstrap = Path::new("bootstrap/haproxy.cfg");
        attached.bench.ports.files.point(&attached.config(), bootstrap)?;
        let ack = attached.bench.reload(image.clone()).await?;
        assert_eq!((&ack.outcomes[..], &*attached.link()?), (&[Outcome::Unknown][..], bootstrap));

        attached.run(&another).await?;
        let now = attached.found().await?;
        assert_ne!((&now.version, now.tier()), (&found.version, found.tier()));
        let ack = attached.bench.reload(attached.bench.image(&now, &[])).await?;
        assert_eq!(ack.outcomes, [Outcome::Done]);
        Ok(())
    })
}
