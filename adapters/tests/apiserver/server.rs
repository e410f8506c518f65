//! An API server that answers by script, over real TCP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Asked {
    /// Whether it is a watch of this resource.
    pub fn watches(&self, plural: &str) -> bool {
        self.path.ends_with(plural) && self.query.contains_key("watch")
    }

    /// Whether it is a streaming list.
    pub fn streams(&self, plural: &str) -> bool {
        self.watches(plural) && self.query.contains_key("sendInitialEvents")
    }

    /// Whether it is a page of a list.
    pub fn lists(&self, plural: &str) -> bool {
        self.path.ends_with(plural) && self.method == "GET" && !self.query.contains_key("watch")
    }

    /// Whether it asks which store it is.
    pub fn asks_for_the_store(&self) -> bool {
        self.path == "/api/v1/namespaces" && self.query.contains_key("fieldSelector")
    }

    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// What is done within an answer.
pub enum Piece {
    Bytes(Vec<u8>),
    Wait(Duration),
    /// Nothing more, and the connection stays.
    Hang,
    /// The connection is closed at once.
    Cut,
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub pieces: Vec<Piece>,
}

pub fn answer(status: u16, body: &Value) -> Reply {
    let pieces = vec![Piece::Bytes(body.to_string().into_bytes())];
    Reply { status, headers: Vec::new(), pieces }
}

pub fn refused(status: u16, message: &str) -> Reply {
    let body = json!({"kind": "Status", "code": status, "message": message, "reason": "Test"});
    answer(status, &body)
}

/// A watch that sends these events and then stays open without a word.
pub fn events(events: &[Value]) -> Reply {
    let mut pieces: Vec<_> = events.iter().map(line).collect();
    pieces.push(Piece::Hang);
    Reply { status: 200, headers: Vec::new(), pieces }
}

pub fn line(event: &Value) -> Piece {
    Piece::Bytes(format!("{event}\n").into_bytes())
}

pub fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

pub fn bookmark(version: u64, complete: bool) -> Value {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if complete {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    event("BOOKMARK", json!({"metadata": metadata}))
}

pub fn page(items: &[Value], version: u64, next: &str) -> Reply {
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    answer(200, &json!({"kind": "List", "metadata": metadata, "items": items}))
}

/// Which store it is, and how far.
pub fn store(uid: &str, revision: u64) -> Reply {
    page(&[json!({"metadata": {"name": "kube-system", "uid": uid}})], revision, "")
}

pub fn slice(name: &str, version: u64, address: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "test", "uid": format!("uid-{name}"),
            "resourceVersion": version.to_string(),
            "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address]}]})
}

type Script = Box<dyn FnMut(&Asked) -> Option<Reply> + Send>;

/// A running server.
pub struct Server {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers by a script; what it does not answer is empty: lists without objects, watches
    /// without events, `kube-system` with a UID.
    pub async fn start(script: impl FnMut(&Asked) -> Option<Reply> + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let log = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(connection(stream, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Server { port, asked, task }
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many of the requests so far pass a test.
    pub fn count(&self, test: impl Fn(&Asked) -> bool) -> usize {
        self.asked().iter().filter(|asked| test(asked)).count()
    }
}

async fn connection(stream: TcpStream, script: Arc<Mutex<Script>>, log: Arc<Mutex<Vec<Asked>>>) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(asked) = request(&mut read).await {
        log.lock().unwrap().push(asked.clone());
        let scripted = (script.lock().unwrap())(&asked);
        let reply = scripted.unwrap_or_else(|| default(&asked));
        if !respond(&mut write, reply).await {
            return;
        }
    }
}

fn default(asked: &Asked) -> Reply {
    if asked.asks_for_the_store() {
        store("store-1", 1_000_000)
    } else if asked.query.contains_key("sendInitialEvents") {
        events(&[bookmark(1, true)])
    } else if asked.query.contains_key("watch") {
        events(&[])
    } else {
        page(&[], 1, "")
    }
}

async fn request(read: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> Option<Asked> {
    let mut text = String::new();
    read.read_line(&mut text).await.ok().filter(|count| *count > 0)?;
    let mut words = text.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        read.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    Some(Asked {
        method,
        path: path.to_owned(),
        query: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}

/// Whether the connection goes on.
async fn respond(write: &mut OwnedWriteHalf, reply: Reply) -> bool {
    let mut head = format!("HTTP/1.1 {} Test\r\ntransfer-encoding: chunked\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("content-type: application/json\r\n\r\n");
    if write.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    for piece in reply.pieces {
        match piece {
            Piece::Bytes(bytes) => {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend_from_slice(&bytes);
                chunk.extend_from_slice(b"\r\n");
                if write.write_all(&chunk).await.is_err() {
                    return false;
                }
            }
            Piece::Wait(time) => tokio::time::sleep(time).await,
            Piece::Hang => std::future::pending().await,
            Piece::Cut => return false,
        }
    }
    write.write_all(b"0\r\n\r\n").await.is_ok()
}
