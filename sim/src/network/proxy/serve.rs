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
use super::{Version, command};
use crate::network::world::{Shared, lock};

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

/// Runs HAProxy's side.
///
/// # Errors
/// Those of the network.
pub async fn run(
    world: Shared,
    mut starts: mpsc::UnboundedReceiver<Started>,
) -> Result<(), Box<dyn std::error::Error>> {
    let workers = TcpListener::bind(("0.0.0.0", WORKER_PORT)).await?;
    let masters = TcpListener::bind(("0.0.0.0", MASTER_PORT)).await?;
    loop {
        tokio::select! {
            biased;
            started = starts.recv() => {
                let Some(Started(pid)) = started else { return Ok(()) };
                tokio::task::spawn_local(start(world.clone(), pid));
            }
            connection = workers.accept() => {
                let (stream, _) = connection?;
                tokio::task::spawn_local(worker(world.clone(), stream));
            }
            connection = masters.accept() => {
                let (stream, _) = connection?;
                tokio::task::spawn_local(master(world.clone(), stream));
            }
        }
    }
}

/// A master's first load.
async fn start(world: Shared, pid: u32) {
    let slow = std::mem::take(&mut lock(&world).armed.slow_files_ms);
    sleep(Duration::from_millis(START_MS + slow)).await;
    let mut world = lock(&world);
    if world.site.master.as_ref().is_none_or(|master| master.pid != pid) {
        return;
    }
    let (now_s, refused) = (world.unix_s(), std::mem::take(&mut world.armed.refuse_load));
    match world.site.load(now_s, refused) {
        Ok(worker) => {
            if let Some(master) = &mut world.site.master {
                master.busy = false;
            }
            world.note("workers", || format!("worker {worker} serves, started"));
            world.look();
        }
        Err(words) => {
            world.site.say("ALERT", &words);
            world.note("workers", || format!("HAProxy does not start: {words}"));
            world.refused_files(&words);
            world.site.die();
        }
    }
}

async fn worker(world: Shared, mut stream: TcpStream) {
    let (pid, gone) = {
        let mut world = lock(&world);
        // Nobody listens any more: the connection is closed.
        let Some(pid) = world.site.serving().map(|worker| worker.pid) else { return };
        let Some(worker) = world.site.worker(pid) else { return };
        worker.connections += 1;
        (pid, worker.gone.clone())
    };
    tokio::select! {
        biased;
        () = gone.notified() => {}
        _ = converse(&world, pid, &mut stream) => {}
    }
    lock(&world).site.disconnected(pid);
}

async fn converse(world: &Shared, pid: u32, stream: &mut TcpStream) -> io::Result<()> {
    let version = lock(world).site.version;
    let mut reader = Reader::default();
    let mut prompt = false;
    let mut losing: Option<u32> = None;
    loop {
        let mut bytes = [0; 16 * 1024];
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        hang(world).await;
        let mut answer = Vec::new();
        let mut count_asked = 0;
        for line in reader.push(bytes.get(..count).unwrap_or_default()) {
            for asked in &line {
                count_asked += 1;
                if losing.is_none() && !command::only_looks(asked) {
                    losing = lock(world).armed.take_lose_commands();
                    if losing.is_some() {
                        lock(world).strikes("lose-commands");
                    }
                }
                if losing == Some(0) {
                    // What was begun is done, what comes after is not, and nobody hears of it.
                    lock(world).sometimes("answers of the runtime socket were lost");
                    return Ok(());
                }
                if !command::only_looks(asked) {
                    losing = losing.map(|left| left - 1);
                }
                answer.extend(one(world, version, pid, asked, &mut prompt));
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
        let cut = !answer.is_empty() && std::mem::take(&mut lock(world).armed.cut_answer);
        if cut {
            lock(world).sometimes("an answer of the runtime socket was cut");
            lock(world).strikes("cut-answer");
            answer.truncate(answer.len() / 2);
            stream.write_all(&answer).await?;
            return Ok(());
        }
        stream.write_all(&answer).await?;
    }
}

fn one(world: &Shared, version: Version, pid: u32, asked: &Asked, prompt: &mut bool) -> Vec<u8> {
    if asked.words.len() == 1 && asked.words.first().is_some_and(|word| word == "prompt") {
        *prompt = !*prompt;
        return Vec::new();
    }
    let mut answer = Vec::new();
    if *prompt && version <= Version::V30 {
        answer.extend(b"+ ".repeat(asked.payload_lines));
    }
    answer.extend(command::run(&mut lock(world), pid, asked).into_bytes());
    answer
}

/// Does not answer while the fault lasts.
async fn hang(world: &Shared) {
    loop {
        let left = {
            let world = lock(world);
            world.armed.hang_until_ms.saturating_sub(world.now_ms())
        };
        if left == 0 {
            return;
        }
        sleep(Duration::from_millis(left)).await;
    }
}

async fn master(world: Shared, mut stream: TcpStream) {
    // What cannot be sent any more was asked by somebody who is gone.
    let _ = ask_master(&world, &mut stream).await;
}

async fn ask_master(world: &Shared, stream: &mut TcpStream) -> io::Result<()> {
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
        let answer = match &words[..] {
            ["show", "proc"] => family(world),
            ["reload"] => reload(world, stream).await?,
            _ => Some("Unknown command.\n\n".to_owned()),
        };
        let Some(answer) = answer else { return Ok(()) };
        return stream.write_all(answer.as_bytes()).await;
    }
}

fn family(world: &Shared) -> Option<String> {
    let world = lock(world);
    let master = world.site.master.as_ref()?;
    let version = world.site.version.full();
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
    text.extend(world.site.workers.iter().filter(|w| !w.stopping).map(|w| row(w.pid, 0)));
    text.push_str("# old workers\n");
    text.extend(world.site.workers.iter().filter(|w| w.stopping).map(|w| row(w.pid, 1)));
    Some(text + "# programs\n\n")
}

/// `None` for no answer.
async fn reload(world: &Shared, stream: &mut TcpStream) -> io::Result<Option<String>> {
    let (pid, version, slow, lost) = {
        let mut world = lock(world);
        let slow = std::mem::take(&mut world.armed.slow_files_ms);
        let lost = std::mem::take(&mut world.armed.lose_reload);
        let version = world.site.version;
        let Some(master) = &mut world.site.master else { return Ok(None) };
        master.busy = true;
        let pid = master.pid;
        world.out.reloads += 1;
        (pid, version, slow, lost)
    };
    if version == Version::V26 || lost {
        // 2.6 says nothing, and its master re-executes itself.
        stream.shutdown().await?;
    }
    sleep(Duration::from_millis(RELOAD_MS + slow)).await;
    let loaded = {
        let mut world = lock(world);
        if world.site.master.as_ref().is_none_or(|master| master.pid != pid) {
            return Ok(None);
        }
        let (now_s, refused) = (world.unix_s(), std::mem::take(&mut world.armed.refuse_load));
        let loaded = world.site.load(now_s, refused);
        let worker = loaded.as_ref().ok().copied();
        if let Some(master) = &mut world.site.master {
            master.busy = false;
            master.reloads += 1;
            master.failed = if loaded.is_ok() { 0 } else { master.failed + 1 };
        }
        world.reloaded();
        match (&loaded, worker) {
            (Ok(_), Some(worker)) => {
                world.note("workers", || format!("worker {worker} serves, reloaded"));
                world.look();
            }
            (Err(words), _) => {
                let words = words.clone();
                world.refused_files(&words);
            }
            (Ok(_), None) => {}
        }
        loaded.map_err(|words| world.site.say("ALERT", &words))
    };
    sleep(Duration::from_millis(SAID_MS)).await;
    if version == Version::V26 || lost {
        return Ok(None);
    }
    Ok(Some(match loaded {
        Ok(_) => "Success=1\n--\n[NOTICE]   (1) : New worker forked\n[NOTICE]   (1) : Loading \
                  success.\n\n"
            .to_owned(),
        Err(log) => format!("Success=0\n--\n{log}\n"),
    }))
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
