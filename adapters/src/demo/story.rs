//! The story of the demo: one change after the other under the request loop, each timed from the
//! write of the file to the first right answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::child::{Controller, Places};
use super::client::{self, Load, Target, wait_for, wait_for_certificate};
use super::cluster::{self, Authority, Folder};
use super::pods::{Pod, Pods};
use super::report::Report;

/// Longest wait for a change to take effect.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between the removal of a pod from its EndpointSlice and its end.
const POD_GRACE: Duration = Duration::from_secs(1);
/// How long a removed pod is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// Host and path of the shop.
const SHOP: (&str, &str) = ("shop.localhost", "/");

/// How often each change is made.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Times to scale, add a host, renew a certificate.
    pub times: u16,
    /// Roll-outs of three pods.
    pub rollouts: u16,
    /// Time without a controller.
    pub orphaned: Duration,
}

impl Length {
    /// About 20 seconds.
    pub const QUICK: Length =
        Length { times: 3, rollouts: 1, orphaned: Duration::from_millis(800) };
    /// About a minute.
    pub const FULL: Length = Length { times: 10, rollouts: 3, orphaned: Duration::from_secs(3) };
}

/// The stage: everything that runs.
pub struct Stage {
    /// Where everything is.
    pub places: Places,
    /// What was found.
    pub report: Report,
    folder: Folder,
    authority: Authority,
    tls: Arc<ClientConfig>,
    pods: Pods,
    shop: Vec<Pod>,
    others: Vec<Pod>,
    controller: Option<Controller>,
    load: Option<Load>,
    interrupted: Arc<AtomicBool>,
    reloads_before: u64,
}

impl Stage {
    /// Writes the samples and starts their pods.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn set(
        places: Places,
        report: Report,
        mut pods: Pods,
        interrupted: Arc<AtomicBool>,
    ) -> anyhow::Result<Stage> {
        let folder = Folder::create(places.manifests())?;
        let authority = Authority::new()?;
        let tls = authority.client()?;
        let mut shop = Vec::new();
        for _ in 0..3 {
            shop.push(pods.start("shop")?);
        }
        let others = vec![pods.start("api")?];
        folder.put("class.yaml", cluster::CLASS)?;
        folder.put("shop.yaml", cluster::SHOP)?;
        folder.put("shop-tls.yaml", &authority.issue(SHOP.0, "shop-tls")?.secret)?;
        folder.put_endpoints("shop", &shop)?;
        folder.put_endpoints("api", &others)?;
        Ok(Stage {
            places,
            report,
            folder,
            authority,
            tls,
            pods,
            shop,
            others,
            controller: None,
            load: None,
            interrupted,
            reloads_before: 0,
        })
    }

    /// Plays the whole story.
    ///
    /// # Errors
    /// When a change does not take effect, or the user interrupts.
    pub fn play(&mut self, length: Length) -> anyhow::Result<()> {
        self.open()?;
        self.scale(length.times)?;
        self.new_hosts(length.times)?;
        self.new_certificates(length.times)?;
        for _ in 0..length.rollouts {
            self.rollout()?;
        }
        self.bad_manifest()?;
        self.bad_annotation()?;
        self.kill(length.orphaned)?;
        self.scale(1)
    }

    fn open(&mut self) -> anyhow::Result<()> {
        self.report.say("\nstart");
        let begin = Instant::now();
        self.controller = Some(Controller::start(&self.places)?);
        self.controller()?.wait_ready(begin, Duration::from_secs(30))?;
        let time = self.wait(SHOP, begin, |answer| answer.app == "shop")?;
        self.report.took("start", time, "HAProxy serves the samples");
        let target = |path: &str, app: &str| Target {
            host: SHOP.0.to_owned(),
            path: path.to_owned(),
            app: app.to_owned(),
        };
        let targets = vec![target("/", "shop"), target("/api/v1", "api")];
        let Places { http, https, .. } = self.places;
        self.load = Some(Load::start(4, http, https, &self.tls, targets));
        self.report.say("              4 connections send requests from now on, and one with TLS");
        self.rest(Duration::from_millis(500))
    }

    fn scale(&mut self, times: u16) -> anyhow::Result<()> {
        self.report.say("\nscale the shop up and down");
        for _ in 0..times {
            self.add_shop_pod("scale up")?;
            self.remove_shop_pod("scale down")?;
        }
        Ok(())
    }

    /// One more pod of the shop, at the end of the list.
    fn add_shop_pod(&mut self, change: &'static str) -> anyhow::Result<()> {
        let pod = self.pods.start("shop")?;
        let name = pod.name.clone();
        self.shop.push(pod);
        let begin = self.folder.put_endpoints("shop", &self.shop)?;
        let time = self.wait(SHOP, begin, |answer| answer.pod == name)?;
        self.report.took(change, time, &format!("{name} answers"));
        Ok(())
    }

    /// The oldest pod goes; it ends a second later.
    fn remove_shop_pod(&mut self, change: &'static str) -> anyhow::Result<()> {
        let pod = self.shop.remove(0);
        let begin = self.folder.put_endpoints("shop", &self.shop)?;
        let mut seen = begin;
        let looked = wait_for(self.places.http, SHOP, begin, LOOK, |answer| {
            if answer.pod == pod.name {
                seen = Instant::now();
            }
            false
        });
        // It never is right: what counts is when the pod was seen for the last time.
        drop(looked);
        let by_loop = self.load.as_ref().and_then(|load| load.last_seen(&pod.name));
        let time = by_loop.map_or(seen, |at| at.max(seen)).duration_since(begin);
        self.report.took(change, time, &format!("{} gets its last request", pod.name));
        if time > LOOK / 2 {
            let what = format!("{} still gets requests after its removal", pod.name);
            self.report.went_wrong(what);
        }
        std::thread::spawn(move || {
            std::thread::sleep(POD_GRACE);
            drop(pod);
        });
        self.check()
    }

    fn new_hosts(&mut self, times: u16) -> anyhow::Result<()> {
        self.report.say("\nnew applications, each with a host of its own");
        for number in 1..=times {
            let app = format!("blog{number}");
            let host = format!("{app}.localhost");
            let pod = self.pods.start(&app)?;
            self.others.push(pod);
            let text = format!(
                "{}---\n{}",
                cluster::BLOG.replace("blog", &app),
                cluster::endpoint_slice(&app, self.others.last().map_or(&[], std::slice::from_ref))
            );
            let mut wrong = None;
            let begin = self.folder.put(&format!("{app}.yaml"), &text)?;
            let time = self.wait((&host, "/"), begin, |answer| {
                if answer.status != 404 && answer.status != 200 {
                    wrong.get_or_insert(answer.status);
                }
                answer.app == app
            })?;
            self.report.took("new host", time, &format!("http://{host}/ answers"));
            if let Some(status) = wrong {
                self.report.went_wrong(format!("{host} answered {status} before it served"));
            }
            if let Some(load) = &self.load {
                load.add(Target { host, path: "/".to_owned(), app });
            }
            self.check()?;
        }
        Ok(())
    }

    fn new_certificates(&mut self, times: u16) -> anyhow::Result<()> {
        self.report.say("\nrenew the shop's certificate");
        for _ in 0..times {
            let issued = self.authority.issue(SHOP.0, "shop-tls")?;
            let begin = self.folder.put("shop-tls.yaml", &issued.secret)?;
            let https = self.places.https;
            let until = (begin, PATIENCE);
            let time = wait_for_certificate(https, SHOP.0, &self.tls, until, &issued.der)?;
            self.report.took("new certificate", time, "a TLS handshake presents the new one");
            self.check()?;
        }
        Ok(())
    }

    fn rollout(&mut self) -> anyhow::Result<()> {
        self.report.say("\nroll out a new version of the shop, pod by pod");
        for _ in 0..self.shop.len() {
            self.add_shop_pod("rollout: new pod")?;
            self.remove_shop_pod("rollout: old pod")?;
        }
        Ok(())
    }

    fn bad_manifest(&mut self) -> anyhow::Result<()> {
        self.report.say("\na file that is not YAML");
        let begin = self.folder.put("broken.yaml", cluster::BROKEN)?;
        let (problem, time) = self.controller()?.wait_problem("broken.yaml", begin, PATIENCE)?;
        self.report.took("bad manifest told", time, &words(&problem));
        self.still_serves("nobody else is touched")?;
        self.folder.remove("broken.yaml")?;
        self.rest(Duration::from_millis(100))
    }

    fn bad_annotation(&mut self) -> anyhow::Result<()> {
        self.report.say("\na mistyped annotation");
        let begin = self.folder.put("mistyped.yaml", cluster::MISTYPED)?;
        let (problem, time) = self.controller()?.wait_problem("timeout-servr", begin, PATIENCE)?;
        self.report.took("bad annotation told", time, &words(&problem));
        self.wait(("mistyped.localhost", "/"), begin, |answer| answer.app == "shop")?;
        self.still_serves("the rest of that Ingress is served")?;
        self.folder.remove("mistyped.yaml")?;
        self.rest(Duration::from_millis(100))
    }

    fn kill(&mut self, orphaned: Duration) -> anyhow::Result<()> {
        self.report.say("\nthe controller is killed (SIGKILL)");
        // Until then, what a crash would cost is a file not yet written, and read back later.
        self.rest(Duration::from_secs(1))?;
        self.reloads_before += self.count_reloads()?;
        let before = self.sent();
        if let Some(controller) = self.controller.take() {
            controller.kill()?;
        }
        self.rest(orphaned)?;
        let served = self.sent() - before;
        self.report.say(&format!("              {served} requests while there was none"));
        let begin = Instant::now();
        self.controller = Some(Controller::start(&self.places)?);
        let time = self.controller()?.wait_ready(begin, Duration::from_secs(30))?;
        self.report.took("adoption", time, "the new controller has taken over");
        self.rest(Duration::from_millis(1500))?;
        self.tell_adoption()
    }

    /// Says what the new controller did to the HAProxy it found.
    fn tell_adoption(&mut self) -> anyhow::Result<()> {
        let actions = self.controller()?.metric("tidegate_actions_total")?;
        let is = |labels: &str, action: &str| labels.contains(&format!("\"{action}\""));
        let changes: Vec<&String> = actions
            .keys()
            .filter(|labels| !is(labels, "read-back") && !is(labels, "save"))
            .collect();
        if changes.is_empty() {
            self.report.say("              it read back what runs and had nothing to change");
        } else {
            self.report.went_wrong(format!("the new controller changed HAProxy: {changes:?}"));
        }
        if actions.keys().any(|labels| is(labels, "save")) {
            self.report.say("              it wrote the files for HAProxy's next start again");
        }
        Ok(())
    }

    /// Counts what is left to count, and stops the loop and the controller.
    ///
    /// # Errors
    /// When the controller does not answer or does not stop.
    pub fn close(&mut self) -> anyhow::Result<()> {
        if let Some(load) = self.load.take() {
            self.report.counted = load.stop();
        }
        if self.controller.is_some() {
            self.reloads_before += self.count_reloads()?;
        }
        self.report.reloads = self.reloads_before;
        if let Some(controller) = self.controller.take() {
            controller.stop(PATIENCE)?;
        }
        Ok(())
    }

    /// Keeps everything running until the user interrupts.
    pub fn stay(&self) {
        let Places { root: _, haproxy: _, http, https, admin } = &self.places;
        self.report.say("\nStill serving. Edit the manifests and see; Ctrl-C ends it.");
        self.report.say(&format!("  manifests  {}", self.places.manifests().display()));
        self.report.say(&format!("  try        curl http://shop.localhost:{http}/"));
        self.report.say(&format!("             curl -k https://shop.localhost:{https}/api"));
        self.report.say(&format!("  metrics    http://127.0.0.1:{admin}/metrics"));
        self.report.say(&format!("  problems   http://127.0.0.1:{admin}/problems"));
        while !self.interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Reloads other than the first start, with their reasons put into the report.
    fn count_reloads(&mut self) -> anyhow::Result<u64> {
        let reloads = self.controller()?.metric("tidegate_reloads_total")?;
        let mut count = 0;
        for (labels, value) in reloads {
            if value > 0.0 && !labels.contains("\"first-start\"") {
                self.report.reload_reasons.push(format!("{labels} {value}"));
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a small count"
                )]
                let whole = value as u64;
                count += whole;
            }
        }
        Ok(count)
    }

    fn controller(&mut self) -> anyhow::Result<&mut Controller> {
        self.controller.as_mut().ok_or_else(|| anyhow::anyhow!("the controller does not run"))
    }

    fn wait(
        &self,
        target: (&str, &str),
        begin: Instant,
        is_right: impl FnMut(&client::Answer) -> bool,
    ) -> anyhow::Result<Duration> {
        self.check()?;
        wait_for(self.places.http, target, begin, PATIENCE, is_right)
    }

    fn sent(&self) -> u64 {
        self.load.as_ref().map_or(0, |load| load.counted().sent)
    }

    /// Watches the loop for a moment and says whether it suffered.
    fn still_serves(&mut self, what: &str) -> anyhow::Result<()> {
        let failed = |stage: &Stage| stage.load.as_ref().map_or(0, |load| load.counted().failed);
        let before = failed(self);
        self.rest(Duration::from_millis(300))?;
        if failed(self) == before {
            self.report.say(&format!("              {what}"));
        } else {
            self.report.went_wrong("requests failed meanwhile".to_owned());
        }
        Ok(())
    }

    fn rest(&self, time: Duration) -> anyhow::Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            self.check()?;
            std::thread::sleep(Duration::from_millis(20).min(time));
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}

/// A problem in one line.
fn words(problem: &serde_json::Value) -> String {
    let text = |key: &str| problem.get(key).and_then(serde_json::Value::as_str).unwrap_or("");
    format!("told: {}, {}: {}; {}", text("name"), text("field"), text("what"), text("fix"))
}
