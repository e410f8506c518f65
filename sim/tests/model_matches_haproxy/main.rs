//! The model of HAProxy against the real thing: generated commands and configurations on both,
//! compared after every command (outcome, servers, maps, certificates, crt-list) and by requests.
//!
//! `TIDEGATE_COMMANDS` is the number of commands for each version (default 10,000; 100,000 takes
//! minutes), `TIDEGATE_SEED` picks others. The binaries are those of `deploy/haproxy/install.sh`.

mod bench;
mod commands;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Instant;

use bench::{Bench, Failed};
use commands::Pool;
use tidegate_core::action::{ActionBody, RuntimeCommand};
use tidegate_core::event::{Observed, Outcome, WorkerId};
use tidegate_sim::dice::Dice;
use tidegate_sim::model::haproxy::{Admin, Answer, Haproxy, Reply};
use tidegate_sim::model::load;

/// Commands between two reloads.
const COMMANDS_PER_RELOAD: u64 = 250;

#[test]
fn on_2_6() {
    matches("2.6");
}

#[test]
fn on_3_0() {
    matches("3.0");
}

#[test]
fn on_3_2() {
    matches("3.2");
}

#[test]
fn on_3_4() {
    matches("3.4");
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn matches(version: &'static str) {
    let commands = number("TIDEGATE_COMMANDS", 10_000);
    let seed = number("TIDEGATE_SEED", 1);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    let begin = Instant::now();
    let outcome = runtime.block_on(async {
        let bench = Bench::start(version).await?;
        let mut run = Run::start(bench, seed).await?;
        let told = run.commands(commands).await;
        let Run { bench, tally, .. } = run;
        bench.end().await?;
        told.map(|()| tally)
    });
    match outcome {
        Ok(tally) => {
            // Not by `eprintln!`, which the test harness swallows.
            let _ = writeln!(
                std::io::stderr(),
                "model against HAProxy {version}: {commands} commands, 0 disagreements; \
                 {tally}, {:.1?}",
                begin.elapsed()
            );
        }
        Err(why) => panic!("HAProxy {version}, seed {seed}: {why}"),
    }
}

/// What was compared.
#[derive(Default)]
struct Tally {
    done: u64,
    refused: u64,
    needless: u64,
    requests: u64,
    reloads: u64,
    refused_reloads: u64,
    kinds: BTreeSet<(String, &'static str)>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { done, refused, needless, requests, reloads, refused_reloads, kinds } = self;
        write!(
            f,
            "{done} done, {refused} refused, {needless} needless, {requests} requests, {reloads} \
             reloads, {refused_reloads} refused reloads, {} kinds of command and answer",
            kinds.len()
        )
    }
}

/// One worker and its model, side by side.
struct Run {
    bench: Bench,
    pool: Pool,
    dice: Dice,
    worker: WorkerId,
    model: Haproxy,
    tally: Tally,
    /// The last commands, for a report.
    last: Vec<String>,
}

impl Run {
    async fn start(mut bench: Bench, seed: u64) -> Result<Run, Failed> {
        let capabilities = bench.capabilities().await?;
        let pool = Pool::new(&capabilities, &bench)?;
        let mut dice = Dice::new(seed, &capabilities.version);
        let image = pool.image(&mut dice, &bench);
        let model = load::start(&image, &capabilities)?;
        let ack = bench.act(ActionBody::Reload { image: image.into(), reasons: vec![] }).await?;
        let worker = ack.worker.ok_or_else(|| format!("no first start: {:?}", ack.outcomes))?;
        let tally = Tally::default();
        let mut run = Run { bench, pool, dice, worker, model, tally, last: vec![] };
        run.compare().await?;
        Ok(run)
    }

    async fn commands(&mut self, count: u64) -> Result<(), Failed> {
        for number in 0..count {
            let command = self.pool.command(&mut self.dice, &self.model);
            self.last.push(format!("{command:?}"));
            if self.last.len() > 12 {
                self.last.remove(0);
            }
            self.one(command).await.map_err(|why| {
                format!("command {number}: {why}\nlast commands:\n{}", self.last.join("\n"))
            })?;
            if number % COMMANDS_PER_RELOAD == COMMANDS_PER_RELOAD - 1 {
                self.reload().await.map_err(|why| format!("reload: {why}"))?;
            }
        }
        Ok(())
    }

    async fn one(&mut self, command: RuntimeCommand) -> Result<(), Failed> {
        let allowed = self.model.allowed(&command);
        let commands = vec![command.clone()];
        let action = ActionBody::Runtime { worker: self.worker, commands };
        let ack = self.bench.act(action).await?;
        let [outcome] = ack.outcomes.as_slice() else {
            return Err(format!("outcomes {:?}", ack.outcomes).into());
        };
        let fits = |reply: &Reply| match (reply, outcome) {
            // Whoever wanted it gone or there has what he wanted.
            (Reply::Done | Reply::Needless(_), Outcome::Done) => true,
            (Reply::Refused(_), Outcome::Refused(_)) => true,
            (_, Outcome::Done | Outcome::Refused(_) | Outcome::Unknown) => false,
        };
        let kinds: Vec<&Reply> = allowed.iter().map(|(reply, _)| reply).collect();
        let words = format!("{command:?}: HAProxy {outcome:?}, the model allows {kinds:?}");
        let Some((reply, next)) = allowed.into_iter().find(|(reply, _)| fits(reply)) else {
            return Err(words.into());
        };
        let class = match reply {
            Reply::Done => {
                self.tally.done += 1;
                "done"
            }
            Reply::Needless(_) => {
                self.tally.needless += 1;
                "needless"
            }
            Reply::Refused(_) => {
                self.tally.refused += 1;
                "refused"
            }
        };
        let name = words.split([' ', ':']).next().unwrap_or_default().to_owned();
        self.tally.kinds.insert((name, class));
        self.model = next;
        self.compare().await?;
        self.request().await
    }

    /// Everything that can be read back.
    async fn compare(&mut self) -> Result<(), Failed> {
        let has = normal(self.bench.read_back(self.worker).await?);
        let says = normal(self.model.observed());
        if has == says {
            return Ok(());
        }
        let Observed { skeleton, maps, backends, certificates, authorities, crt_list, saved: _ } =
            &says;
        let mut differences = Vec::new();
        let mut tell = |what: &str, has: String, says: String| {
            if has != says {
                differences.push(format!("{what}: HAProxy has {has}, the model {says}"));
            }
        };
        tell("skeleton", format!("{:?}", has.skeleton), format!("{skeleton:?}"));
        for ((id, has), (_, says)) in has.maps.iter().zip(maps) {
            tell(id.file(), format!("{has:?}"), format!("{says:?}"));
        }
        for (has, says) in has.backends.iter().zip(backends) {
            tell("backend", format!("{has:?}"), format!("{says:?}"));
        }
        tell("backends", has.backends.len().to_string(), backends.len().to_string());
        tell("certificates", format!("{:?}", has.certificates), format!("{certificates:?}"));
        tell("authorities", format!("{:?}", has.authorities), format!("{authorities:?}"));
        tell("crt-list", format!("{:?}", has.crt_list), format!("{crt_list:?}"));
        Err(differences.join("\n").into())
    }

    /// A request: who answers must be among those whom the model says.
    async fn request(&mut self) -> Result<(), Failed> {
        let (host, path) = self.pool.request(&mut self.dice);
        let says = self.model.route(&host, &path);
        if self.may_fail(&says) {
            return Ok(());
        }
        let (status, body) = self.bench.request(&host, &path).await?;
        self.tally.requests += 1;
        let fits = match &says {
            Answer::Servers(servers) => {
                status == 200 && body.trim().parse().is_ok_and(|from| servers.contains(&from))
            }
            Answer::NotFound => status == 404,
            Answer::Unavailable => status == 503,
        };
        if fits {
            return Ok(());
        }
        Err(format!("{host}{path}: HAProxy {status} {body:?}, the model {says:?}").into())
    }

    /// A slot without address that is ready takes its share of requests, and they fail; so do
    /// those that speak TLS to a pod which does not.
    fn may_fail(&self, says: &Answer) -> bool {
        let fails = |s: &tidegate_sim::model::haproxy::Server| {
            let tls = s.keywords.iter().any(|word| word == "ssl");
            s.admin == Admin::Ready && (s.address.is_none() || tls)
        };
        let mut servers = self.model.backends.values().flat_map(|b| &b.servers);
        !matches!(says, Answer::NotFound) && servers.any(fails)
    }

    /// Another configuration; one in four is refused, and changes nothing.
    async fn reload(&mut self) -> Result<(), Failed> {
        if self.dice.percent(25) {
            let image = self.bench.broken_image();
            let action = ActionBody::Reload { image: image.into(), reasons: vec![] };
            let ack = self.bench.act(action).await?;
            if !matches!(ack.outcomes.as_slice(), [Outcome::Refused(_)]) {
                return Err(format!("a broken configuration: {:?}", ack.outcomes).into());
            }
            self.tally.refused_reloads += 1;
            return self.compare().await;
        }
        let image = self.pool.image(&mut self.dice, &self.bench);
        self.model = load::start(&image, &self.bench.abilities)?;
        let action = ActionBody::Reload { image: image.into(), reasons: vec![] };
        let ack = self.bench.act(action).await?;
        self.worker = ack.worker.ok_or_else(|| format!("refused: {:?}", ack.outcomes))?;
        self.tally.reloads += 1;
        self.compare().await
    }
}

/// Without order where HAProxy's says nothing.
fn normal(mut observed: Observed) -> Observed {
    observed.saved = None;
    observed.backends.sort_by(|a, b| a.name.cmp(&b.name));
    for backend in &mut observed.backends {
        // 3.4 puts a new server first, older ones put it last.
        backend.servers.sort_by_key(|server| (server.slot, server.address, server.ready));
    }
    observed.crt_list.retain(|(file, _)| &**file != Haproxy::DEFAULT_CERTIFICATE);
    for (_, hosts) in &mut observed.crt_list {
        hosts.sort();
    }
    observed.crt_list.sort();
    observed.certificates.sort();
    observed.authorities.sort();
    observed
}
