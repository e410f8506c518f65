//! HAProxy's sockets on the simulated network, and the time that its processes take.
//!
//! Inputs: connections, orders to start. Outputs: bytes. The runtime socket and the master's have a
//! port each, as there are no Unix sockets on this network. Faults: a socket that does not answer,
//! answers that are lost or cut. Not here: what a command does.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};

use super::lines::{Asked, Reader};
use super::process::Site;
use super::{Version, command};
use crate::network::world::Here;

/// Port of the runtime socket.
pub const WORKER_PORT: u16 = 1;
/// Port of the master's.
pub const MASTER_PORT: u16 = 2;

/// Time from the start of a master to the first connection, in milliseconds.
const START_MS: u64 = 40;
/// Time that a reload takes.
const RELOAD_MS: u64 = 150;
/// A new worker takes connections so long before the master says so.
const SAID_MS: u64 = 20;

/// A master that was started: its process.
#[derive(Debug)]
pub struct Started(pub u32);

/// Runs HAProxy's side of a replica.
///
/// # Errors
/// Those of the network.
pub async fn run(
    here: Here,
    mut starts: mpsc::UnboundedReceiver<Started>,
) -> Result<(), Box<dyn std::error::Error>> {
    let workers = TcpListener::bind(("0.0.0.0", WORKER_PORT)).await?;
    let masters = TcpListener::bind(("0.0.0.0", MASTER_PORT)).await?;
    loop {
        tokio::select! {
            biased;
            started = starts.recv() => {
                let Some(Started(pid)) = started else { return Ok(()) };
                tokio::task::spawn_local(start(here.clone(), pid));
            }
            connection = workers.accept() => {
                let (stream, _) = connection?;
                tokio::task::spawn_local(worker(here.clone(), stream));
            }
            connection = masters.accept() => {
                let (stream, _) = connection?;
                tokio::task::spawn_local(master(here.clone(), stream));
            }
        }
    }
}

/// A master's first load.
async fn start(here: Here, pid: u32) {
    let slow = here.with(|replica| std::mem::take(&mut replica.armed.slow_files_ms));
    sleep(Duration::from_millis(START_MS + slow)).await;
    let (mut world, id) = (here.lock(), here.id);
    let (now_s, now_ms) = (world.unix_s(id), world.now_ms());
    let replica = world.at(id);
    if replica.site.master.as_ref().is_none_or(|master| master.pid != pid) {
        return;
    }
    let refused = replica.armed.refuses();
    let loaded = replica.site.load(now_s, refused);
    replica.started(now_ms, loaded.is_ok());
    match loaded {
        Ok(worker) => {
            if let Some(master) = &mut replica.site.master {
                master.busy = false;
            }
            world.note_at(id, "workers", || format!("worker {worker} serves, started"));
            world.look(id);
        }
        Err(words) => {
            replica.site.say("ALERT", &words);
            world.note_at(id, "workers", || format!("HAProxy does not start: {words}"));
            world.refused_files(id, &words);
            world.at(id).site.die();
        }
    }
}

async fn worker(here: Here, mut stream: TcpStream) {
    let accepted = here.with(|replica| {
        let pid = replica.site.serving()?.pid;
        let worker = replica.site.worker(pid)?;
        worker.connections += 1;
        Some((pid, worker.gone.clone()))
    });
    // Nobody listens any more: the connection is closed.
    let Some((pid, gone)) = accepted else { return };
    tokio::select! {
        biased;
        () = gone.notified() => {}
        _ = converse(&here, pid, &mut stream) => {}
    }
    here.with(|replica| replica.site.disconnected(pid));
}

async fn converse(here: &Here, pid: u32, stream: &mut TcpStream) -> io::Result<()> {
    let version = here.with(|replica| replica.site.version);
    let mut reader = Reader::default();
    let mut prompt = false;
    let mut losing: Option<u32> = None;
    loop {
        let mut bytes = [0; 16 * 1024];
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        hang(here).await;
        let mut answer = Vec::new();
        let mut count_asked = 0;
        for line in reader.push(bytes.get(..count).unwrap_or_default()) {
            for asked in &line {
                count_asked += 1;
                if losing.is_none() && !command::only_looks(asked) {
                    losing = here.with(|replica| replica.armed.lose_commands.take());
                    if losing.is_some() {
                        here.strikes("lose-commands");
                    }
                }
                if losing == Some(0) {
                    // What was begun is done, what comes after is not, and nobody hears of it.
                    here.lock().sometimes("answers of the runtime socket were lost");
                    return Ok(());
                }
                if !command::only_looks(asked) {
                    losing = losing.map(|left| left - 1);
                }
                answer.extend(one(here, version, pid, asked, &mut prompt));
            }
            if prompt {
                answer.extend_from_slice(b"\n> ");
            } else {
                answer.push(b'\n');
                stream.write_all(&answer).await?;
                return Ok(());
            }
        }
        if losing.is_some() {
            continue;
        }
        // A command takes 21 µs; beyond some dozens it counts.
        sleep(Duration::from_millis(count_asked / 40)).await;
        let cut = !answer.is_empty()
            && here.with(|replica| std::mem::take(&mut replica.armed.cut_answer));
        if cut {
            here.lock().sometimes("an answer of the runtime socket was cut");
            here.strikes("cut-answer");
            answer.truncate(answer.len() / 2);
            stream.write_all(&answer).await?;
            return Ok(());
        }
        stream.write_all(&answer).await?;
    }
}

fn one(here: &Here, version: Version, pid: u32, asked: &Asked, prompt: &mut bool) -> Vec<u8> {
    if asked.words.len() == 1 && asked.words.first().is_some_and(|word| word == "prompt") {
        *prompt = !*prompt;
        return Vec::new();
    }
    let mut answer = Vec::new();
    if *prompt && version <= Version::V30 {
        answer.extend(b"+ ".repeat(asked.payload_lines));
    }
    answer.extend(command::run(&mut here.lock(), here.id, pid, asked).into_bytes());
    answer
}

/// Does not answer while the fault lasts.
async fn hang(here: &Here) {
    loop {
        let left = {
            let world = here.lock();
            world.of(here.id).armed.hang_until_ms.saturating_sub(world.now_ms())
        };
        if left == 0 {
            return;
        }
        sleep(Duration::from_millis(left)).await;
    }
}

async fn master(here: Here, mut stream: TcpStream) {
    // What cannot be sent any more was asked by somebody who is gone.
    let _ = ask_master(&here, &mut stream).await;
}

async fn ask_master(here: &Here, stream: &mut TcpStream) -> io::Result<()> {
    let mut reader = Reader::default();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        let lines = reader.push(bytes.get(..count).unwrap_or_default());
        let Some(line) = lines.into_iter().next() else { continue };
        let words: Vec<String> = line.into_iter().flat_map(|asked| asked.words).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if !master_speaks(here).await {
            return Ok(());
        }
        let answer = match &words[..] {
            ["show", "proc"] => here.with(|replica| family(&replica.site)),
            ["reload"] => reload(here, stream).await?,
            _ => Some("Unknown command.\n\n".to_owned()),
        };
        let Some(answer) = answer else { return Ok(()) };
        return stream.write_all(answer.as_bytes()).await;
    }
}

/// Waits while the master says nothing; whether it is still there then.
async fn master_speaks(here: &Here) -> bool {
    let pid = |here: &Here| here.with(|replica| replica.site.master.as_ref().map(|m| m.pid));
    let first = pid(here);
    loop {
        let left = {
            let world = here.lock();
            world.of(here.id).armed.mute_until_ms.saturating_sub(world.now_ms())
        };
        if left == 0 || pid(here) != first {
            return first.is_some() && pid(here) == first;
        }
        here.lock().sometimes("the master said nothing");
        sleep(Duration::from_millis(left.min(100))).await;
    }
}

/// Somebody else makes HAProxy load its files again, unless it just does.
pub fn reloaded_by_others(here: &Here) {
    let master = here.with(|replica| {
        let master = replica.site.master.as_ref().filter(|master| !master.busy);
        master.map(|master| master.pid)
    });
    let Some(pid) = master else { return };
    if load_again(here, pid).is_some() {
        here.lock().sometimes("somebody else made HAProxy reload");
    }
}

fn family(site: &Site) -> Option<String> {
    let master = site.master.as_ref()?;
    let version = site.version.full();
    let failed = match master.failed {
        0 => String::new(),
        count => format!(" [failed: {count}]"),
    };
    let mut text = format!(
        "#<PID>          <type>          <reloads>       <uptime>        <version>\n\
         {:<15} master          {}{failed:<14} 0d00h00m01s     {version}\n# workers\n",
        master.pid, master.reloads
    );
    let row = |pid: u32, reloads| {
        format!("{pid:<15} worker          {reloads:<15} 0d00h00m01s     {version}\n")
    };
    text.extend(site.workers.iter().filter(|w| !w.stopping).map(|w| row(w.pid, 0)));
    text.push_str("# old workers\n");
    text.extend(site.workers.iter().filter(|w| w.stopping).map(|w| row(w.pid, 1)));
    Some(text + "# programs\n\n")
}

/// `None` for no answer.
async fn reload(here: &Here, stream: &mut TcpStream) -> io::Result<Option<String>> {
    let asked = here.with(|replica| {
        let slow = std::mem::take(&mut replica.armed.slow_files_ms);
        let lost = std::mem::take(&mut replica.armed.lose_reload);
        let master = replica.site.master.as_mut()?;
        master.busy = true;
        Some((master.pid, replica.site.version, slow, lost))
    });
    let Some((pid, version, slow, lost)) = asked else { return Ok(None) };
    {
        let mut world = here.lock();
        world.out.reloads += 1;
        world.asked_to_reload(here.id);
    }
    if version == Version::V26 || lost {
        // 2.6 says nothing, and its master re-executes itself.
        stream.shutdown().await?;
    }
    sleep(Duration::from_millis(RELOAD_MS + slow)).await;
    let Some(loaded) = load_again(here, pid) else { return Ok(None) };
    let now_ms = here.lock().now_ms();
    here.with(|replica| replica.loaded(now_ms, loaded.is_ok()));
    sleep(Duration::from_millis(SAID_MS)).await;
    if version == Version::V26 || lost {
        return Ok(None);
    }
    Ok(Some(match loaded {
        Ok(()) => "Success=1\n--\n[NOTICE]   (1) : New worker forked\n[NOTICE]   (1) : Loading \
                  success.\n\n"
            .to_owned(),
        Err(log) => format!("Success=0\n--\n{log}\n"),
    }))
}

/// The master `pid` loads the files anew; HAProxy's words when that fails, and nothing when it is gone.
fn load_again(here: &Here, pid: u32) -> Option<Result<(), String>> {
    let (mut world, id) = (here.lock(), here.id);
    let now_s = world.unix_s(id);
    let replica = world.at(id);
    replica.site.master.as_ref().filter(|master| master.pid == pid)?;
    let refused = replica.armed.refuses();
    let loaded = replica.site.load(now_s, refused);
    if let Some(master) = &mut replica.site.master {
        master.busy = false;
        master.reloads += 1;
        master.failed = if loaded.is_ok() { 0 } else { master.failed + 1 };
    }
    world.reloaded(id);
    Some(match loaded {
        Ok(worker) => {
            world.note_at(id, "workers", || format!("worker {worker} serves, reloaded"));
            world.look(id);
            Ok(())
        }
        Err(words) => {
            world.refused_files(id, &words);
            Err(world.of(id).site.say("ALERT", &words))
        }
    })
}

/// Where a path of the state folder leads on this network.
#[must_use]
pub fn port_of(path: &Path) -> Option<u16> {
    match path.file_name()?.to_str()? {
        "worker.sock" => Some(WORKER_PORT),
        "master.sock" => Some(MASTER_PORT),
        _ => None,
    }
}
