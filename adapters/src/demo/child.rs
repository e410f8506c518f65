//! The controller of the demo: `tidegate run` as a process of its own, so that it can be killed.
//!
//! Inputs: where everything is. Outputs: what it tells at its admin address. The demo is not part
//! of what a simulator runs, so it uses the operating system's processes directly.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::client::Connection;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Places {
    /// Temporary folder with everything in it.
    pub root: PathBuf,
    /// HAProxy's executable.
    pub haproxy: PathBuf,
    /// Port for plain HTTP.
    pub http: u16,
    /// Port for HTTPS.
    pub https: u16,
    /// Port of the admin address.
    pub admin: u16,
}

impl Places {
    /// The folder of manifests.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The folder of the journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The controller's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("tidegate.log")
    }
}

/// A running controller. Killed when dropped.
pub struct Controller {
    child: Child,
    admin: u16,
}

impl Controller {
    /// Starts `tidegate run`.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start(places: &Places) -> anyhow::Result<Controller> {
        let Places { root: _, haproxy, http, https, admin } = places;
        let log = File::options().create(true).append(true).open(places.log())?;
        let port = |port: &u16| port.to_string();
        let child = Command::new(std::env::current_exe()?)
            .arg("run")
            .args(["--manifests".as_ref(), places.manifests().as_os_str()])
            .args(["--state-dir".as_ref(), places.state().as_os_str()])
            .args(["--journal-dir".as_ref(), places.journal().as_os_str()])
            .args(["--haproxy".as_ref(), haproxy.as_os_str()])
            .args(["--bind", "127.0.0.1", "--stats-port", "0", "--stop-within", "1s"])
            .args(["--http-port", &port(http), "--https-port", &port(https)])
            .args(["--admin-bind", &format!("127.0.0.1:{admin}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start tidegate run")?;
        Ok(Controller { child, admin: *admin })
    }

    /// Waits until `/readyz` says yes. Returns the time since `begin`.
    ///
    /// # Errors
    /// When the process ends or is not ready within `patience`.
    pub fn wait_ready(&mut self, begin: Instant, patience: Duration) -> anyhow::Result<Duration> {
        let mut last = String::from("no answer");
        while begin.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("tidegate run ended: {status}");
            }
            match self.ask("/readyz") {
                Ok((200, _)) => return Ok(begin.elapsed()),
                Ok((_, body)) => last = body,
                Err(_) => {}
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        anyhow::bail!("tidegate is not ready after {patience:?}: {}", last.trim())
    }

    /// Kills it as a crash would.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop, HAProxy included, and waits for the end.
    ///
    /// # Errors
    /// When it does not end within `patience`.
    pub fn stop(mut self, patience: Duration) -> anyhow::Result<()> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("tidegate did not stop within {patience:?}")
    }

    /// Status and body of an admin page.
    ///
    /// # Errors
    /// Those of the network.
    pub fn ask(&self, path: &str) -> std::io::Result<(u16, String)> {
        let answer = Connection::plain(self.admin)?.ask("localhost", path)?;
        Ok((answer.status, answer.body))
    }

    /// The numbers of a metric, by the text of its labels.
    ///
    /// # Errors
    /// Those of the network.
    pub fn metric(&self, name: &str) -> anyhow::Result<BTreeMap<String, f64>> {
        let (_, text) = self.ask("/metrics")?;
        Ok(samples(&text, name))
    }

    /// Waits until `/problems` has one with these words. Returns it and the time since `begin`.
    ///
    /// # Errors
    /// When there is none within `patience`.
    pub fn wait_problem(
        &self,
        words: &str,
        begin: Instant,
        patience: Duration,
    ) -> anyhow::Result<(serde_json::Value, Duration)> {
        while begin.elapsed() < patience {
            if let Ok((200, body)) = self.ask("/problems")
                && let Ok(problems) = serde_json::from_str::<Vec<serde_json::Value>>(&body)
                && let Some(problem) = problems.into_iter().find(|p| p.to_string().contains(words))
            {
                return Ok((problem, begin.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        anyhow::bail!("no problem about '{words}' within {patience:?}")
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // After `kill` and `stop` there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The samples of one metric in a scrape: labels and value.
#[must_use]
pub fn samples(text: &str, name: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        if !labels.is_empty() && !labels.starts_with('{') {
            return None;
        }
        Some((labels.trim_matches(['{', '}']).to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(sample).collect()
}

/// Ends an HAProxy that outlived its controller, by its master's process id.
pub fn end_orphan(state: &Path) {
    let script = "show proc\n";
    let answer = std::os::unix::net::UnixStream::connect(state.join("run/master.sock"));
    let Ok(mut stream) = answer else { return };
    let mut text = String::new();
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    if std::io::Write::write_all(&mut stream, script.as_bytes()).is_err() {
        return;
    }
    let _ = std::io::Read::read_to_string(&mut stream, &mut text);
    let master = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let pid = words.next()?.parse::<i32>().ok()?;
        (words.next()? == "master").then_some(pid)
    });
    if let Some(pid) = master.and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_told_apart_by_name() {
        let text =
            "# HELP a_total x\na_total{reason=\"x\",outcome=\"done\"} 2\na_total_b 7\na_b 3\n";
        let found = samples(text, "a_total");
        assert_eq!(found.get("reason=\"x\",outcome=\"done\""), Some(&2.0));
        assert_eq!(found.len(), 1);
        assert_eq!(samples(text, "a_b").get(""), Some(&3.0));
    }
}
