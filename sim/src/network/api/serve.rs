//! Connections to the API server: requests one after the other, and watches for as long as they
//! last.
//!
//! Inputs: the network, the store, what goes wrong. Outputs: answers, watch events, bookmarks. A
//! watch begins with the whole state if that is asked for, gets each change once and in order, and
//! ends with an error when what it asks for is forgotten. Faults: no answer, refusals, connections
//! cut at any byte, answers of writes lost.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, sleep_until};
use turmoil::net::TcpListener;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::http::{self, Answer, Request};
use super::verbs::{self, Place};
use super::watch;
use crate::network::replica::ReplicaId;
use crate::network::world::{Here, Shared, World, lock};

/// Port of the API server.
pub const PORT: u16 = 6443;

/// Time between bookmarks, in seconds; the real one sends them about once a minute.
const BOOKMARK_S: u64 = 55;

/// Runs the API server.
///
/// # Errors
/// Those of the network.
pub async fn run(world: Shared) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, from) = listener.accept().await?;
        let who = lock(&world).who(from.ip());
        let here = Here { world: world.clone(), id: who };
        tokio::task::spawn_local(async move {
            let (mut read, mut write) = stream.into_split();
            // Whoever asked is gone, or a fault cut it.
            let _ = connection(&here, &mut read, &mut write).await;
        });
    }
}

/// A connection of a replica.
async fn connection(
    here: &Here,
    read: &mut OwnedReadHalf,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let world = &here.world;
    let mut left = Vec::new();
    loop {
        let epoch = lock(world).api.epoch;
        let Some(request) = http::request(read, &mut left).await? else { return Ok(()) };
        let place = Place::of(&request.path);
        if let Some(place) = place.as_ref().filter(|_| request.method != "GET") {
            lock(world).asked_to_write(here.id, place);
        }
        silence(world, place.as_ref()).await;
        if lock(world).api.epoch != epoch {
            return Ok(());
        }
        let Some(place) = place else {
            write.write_all(&Answer::refused(404, "NotFound", "no such path").bytes()).await?;
            continue;
        };
        let refused = refusal(&mut lock(world), &place);
        if let Some(refused) = refused {
            write.write_all(&refused.bytes()).await?;
            continue;
        }
        if request.parameter("watch") == Some("true") {
            // Not within the match, which would hold the lock for as long as the watch lasts.
            let begun = {
                let world = lock(world);
                watch::begin(world.api.store(), world.api.streaming, &place, &request)
            };
            match begun {
                Ok((first, revision)) => {
                    return follow(here, read, write, &place, &request, first, revision).await;
                }
                Err(refused) => write.write_all(&refused.bytes()).await?,
            }
            continue;
        }
        let (bytes, end) = whole(&mut lock(world), here.id, &place, &request);
        write.write_all(&bytes).await?;
        if end {
            return Ok(());
        }
    }
}

/// Nothing is said while the fault lasts, about everything or about a place.
async fn silence(world: &Shared, place: Option<&Place>) {
    let plural = place.map_or("", |place| place.resource.plural);
    loop {
        let left = {
            let world = lock(world);
            world.api.silent_about(plural).saturating_sub(world.now_ms())
        };
        if left == 0 {
            return;
        }
        sleep(Duration::from_millis(left)).await;
    }
}

fn refusal(world: &mut World, place: &Place) -> Option<Answer> {
    let now = world.now_ms();
    let api = &world.api;
    if now < api.throttled_until_ms {
        world.sometimes("the API server asked to be left alone");
        let refused = Answer::refused(429, "TooManyRequests", "try again later");
        return Some(Answer { retry_after: Some(1), ..refused });
    }
    if now < api.unwell_until_ms {
        world.sometimes("the API server was unwell");
        return Some(Answer::refused(500, "InternalError", "etcdserver: request timed out"));
    }
    if now < api.denied_until_ms && api.denied == Some(place.resource.plural) {
        world.sometimes("a kind was denied");
        return Some(Answer::refused(403, "Forbidden", "forbidden"));
    }
    None
}

/// A whole answer, and whether the connection ends with it.
fn whole(world: &mut World, from: ReplicaId, place: &Place, request: &Request) -> (Vec<u8>, bool) {
    let page_max = world.api.page_max;
    let before = world.api.store().revision;
    let wrote = request.method != "GET";
    if let Some(refused) = refused_status(world, place, request) {
        return (refused.bytes(), false);
    }
    if let Some(refused) = refused_once(world, request) {
        return (refused.bytes(), false);
    }
    let answer = verbs::answer(world.api.store_mut(), place, request, page_max);
    if request.parameter("continue").is_some() {
        world.sometimes("a list had several pages");
    }
    let whole = answer.code == 200 && answer.body.pointer("/metadata/continue").is_none();
    if !wrote && place.name.is_none() && whole {
        world.listed(from, place);
    }
    if world.api.store().revision != before {
        world.wrote(from, place);
        world.api.changed.notify_waiters();
    }
    let mut bytes = answer.bytes();
    if wrote && world.api.lose_writes > 0 {
        world.api.lose_writes -= 1;
        world.sometimes("a write was done and its answer lost");
        return (Vec::new(), true);
    }
    if !wrote && place.name.is_none() && world.api.cut_lists > 0 {
        world.api.cut_lists -= 1;
        world.sometimes("a list was cut");
        bytes.truncate(bytes.len() * 2 / 3);
        return (bytes, true);
    }
    (bytes, false)
}

/// The status of one object is refused each time, as an admission webhook would.
fn refused_status(world: &mut World, place: &Place, request: &Request) -> Option<Answer> {
    let is_write = request.method != "GET" && place.status;
    let is_it = is_write && world.api.refused_status.as_ref() == Some(&place.key());
    is_it.then(|| {
        world.sometimes("a status was refused for good");
        Answer::refused(403, "Forbidden", "admission webhook denied the request")
    })
}

/// What is refused a few times: further pages of lists, and writes.
fn refused_once(world: &mut World, request: &Request) -> Option<Answer> {
    let api = &mut world.api;
    if request.method != "GET" && api.conflicts > 0 {
        api.conflicts -= 1;
        world.sometimes("a write met another one");
        return Some(Answer::refused(409, "Conflict", "the object has been modified"));
    }
    if request.parameter("continue").is_some() && api.expire_pages > 0 {
        api.expire_pages -= 1;
        world.sometimes("a list was forgotten between two pages");
        let words = "The provided continue parameter is too old to display a consistent list";
        return Some(Answer::refused(410, "Expired", words));
    }
    None
}

async fn follow(
    here: &Here,
    read: &mut OwnedReadHalf,
    write: &mut OwnedWriteHalf,
    place: &Place,
    request: &Request,
    first: Vec<u8>,
    mut at: u64,
) -> io::Result<()> {
    let world = &here.world;
    let seconds = request.parameter("timeoutSeconds").and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(300));
    let mut mark = Instant::now() + Duration::from_secs(BOOKMARK_S);
    let (changed, epoch, errors) = {
        let mut world = lock(world);
        if !first.is_empty() {
            world.listed(here.id, place);
        }
        (world.api.changed.clone(), world.api.epoch, world.api.watch_errors)
    };
    http::begin(write).await?;
    let mut due = first;
    loop {
        let notified = changed.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        silence(world, Some(place)).await;
        let more = {
            let mut world = lock(world);
            if world.api.epoch == epoch {
                let told = watch::next(world.api.store(), place, request, &mut at);
                Some(told.map(|lines| twice(&mut world, lines)))
            } else {
                None
            }
        };
        match more {
            // Cut in the middle of an event.
            None => {
                due.extend(b"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"na");
                let bytes = http::chunk(&due);
                return write.write_all(bytes.get(..bytes.len() - 3).unwrap_or_default()).await;
            }
            Some(Err(gone)) => {
                lock(world).sometimes("a watch asked for what was forgotten");
                due.extend(gone);
                write.write_all(&http::chunk(&due)).await?;
                return write.write_all(&http::chunk(b"")).await;
            }
            Some(Ok(lines)) => due.extend(lines),
        }
        if lock(world).api.watch_errors != errors {
            lock(world).sometimes("a watch ended with an error of the server");
            due.extend(watch::failed());
            write.write_all(&http::chunk(&due)).await?;
            return write.write_all(&http::chunk(b"")).await;
        }
        if !due.is_empty() {
            write.write_all(&http::chunk(&std::mem::take(&mut due))).await?;
        }
        let mut byte = [0];
        tokio::select! {
            biased;
            _ = read.read(&mut byte) => return Ok(()),
            () = &mut notified => {}
            () = sleep_until(end) => return write.write_all(&http::chunk(b"")).await,
            () = sleep_until(mark) => {
                mark = Instant::now() + Duration::from_secs(BOOKMARK_S);
                let world = lock(world);
                if world.now_ms() < world.api.no_marks_until_ms {
                    continue;
                }
                // A bookmark says that nothing before it is missing.
                let store = world.api.store();
                due.extend(watch::next(store, place, request, &mut at).unwrap_or_default());
                let revision = world.api.store().revision;
                if at <= revision {
                    at = revision;
                    due.extend(watch::bookmark(place, verbs::is_slim(request), at, false));
                }
            }
        }
    }
}

/// Some lines come twice while the fault lasts.
fn twice(world: &mut World, lines: Vec<u8>) -> Vec<u8> {
    if world.api.twice == 0 || lines.is_empty() {
        return lines;
    }
    world.sometimes("an event came twice");
    watch::doubled(&lines, &mut world.api.twice)
}
