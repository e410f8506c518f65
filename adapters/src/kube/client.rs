//! Requests to the API server: kube's authentication and TLS on our own stack.
//!
//! Inputs: what to ask ([`Ask`]). Outputs: bodies with bounded silence, or a [`Failure`]. HTTP/1.1
//! on purpose: each watch has a connection of its own, so that nothing another request does (a
//! stalled stream, a long list) can hold it up. When the server cannot be reached or does not know
//! us, credentials and certificates are read anew. Not here: what is asked, and when again; only
//! [`Client::call`] tries again by itself, when nothing can have happened.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt as _;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};

use super::backoff::Backoff;
use super::dial::Dial;
use super::failure::Failure;
use super::meters::Meters;
use super::server::Server;
use crate::ports::Net;

/// Longest body of an answer to a call, and of a refusal, in bytes. Secrets have 1 MiB at most.
const BODY_MAX: usize = 8 << 20;

/// Tries of a call that cannot have happened.
const TRIES: u32 = 4;

/// Longest time that a call waits because the API server says so; longer is left to the caller.
const OBEYED_MAX: Duration = Duration::from_secs(10);

/// Time between two readings of credentials.
const REFRESH: Duration = Duration::from_secs(1);

type Stack = BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, BoxError>;

/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A TCP connection.
    pub connect: Duration,
    /// The head of an answer, connecting included.
    pub head: Duration,
    /// Silence within a streaming list, after which the server is taken not to know such lists.
    pub stream: Duration,
    /// Silence within a body. Bookmarks come about once a minute.
    pub body: Duration,
}

impl Patience {
    /// The documented times.
    pub const DOCUMENTED: Patience = Patience {
        connect: Duration::from_secs(5),
        head: Duration::from_secs(30),
        stream: Duration::from_secs(10),
        body: Duration::from_secs(75),
    };
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Verb of the API, for metrics: `get`, `list`, `watch`, `create`, `patch`, `update`.
    pub verb: &'static str,
    method: Method,
    path: String,
    accept: &'static str,
    body: Option<(&'static str, Bytes)>,
}

/// The plain form of objects.
const JSON: &str = "application/json";

impl Ask {
    /// A `GET`; the path may have a query.
    #[must_use]
    pub fn get(verb: &'static str, path: String) -> Ask {
        Ask { verb, method: Method::GET, path, accept: JSON, body: None }
    }

    /// Wants the answer in another form.
    #[must_use]
    pub fn accepting(self, accept: &'static str) -> Ask {
        Ask { accept, ..self }
    }

    /// A write with a JSON body.
    #[must_use]
    pub fn write(
        verb: &'static str,
        method: Method,
        path: String,
        form: &'static str,
        body: &serde_json::Value,
    ) -> Ask {
        let body = Some((form, Bytes::from(body.to_string())));
        Ask { verb, method, path, accept: JSON, body }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(ACCEPT, self.accept)
            .header(http::header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        if let Some((form, _)) = &self.body {
            request = request.header(CONTENT_TYPE, *form);
        }
        let body = self.body.as_ref().map(|(_, body)| body.clone()).unwrap_or_default();
        request.body(Full::new(body)).map_err(|error| Failure::Garbled(error.to_string()))
    }
}

/// A client of one API server, shared by all tasks.
pub struct Client {
    server: Server,
    net: Arc<dyn Net>,
    patience: Patience,
    stack: Mutex<Stack>,
    refreshed: tokio::sync::Mutex<Instant>,
    meters: Meters,
}

impl Client {
    /// Reads the configuration. Does not connect.
    ///
    /// # Errors
    /// When the configuration is missing or cannot be used.
    pub async fn new(
        server: Server,
        net: Arc<dyn Net>,
        patience: Patience,
        meters: Meters,
    ) -> anyhow::Result<Client> {
        let stack = Mutex::new(stack(&server, &net, patience).await?);
        let refreshed = tokio::sync::Mutex::new(Instant::now());
        Ok(Client { server, net, patience, stack, refreshed, meters })
    }

    /// The limits in time.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Sends a request once and waits for the head of a good answer.
    ///
    /// # Errors
    /// Anything else.
    pub async fn open(&self, ask: &Ask) -> Result<Body, Failure> {
        let started = Instant::now();
        let opened = self.head(ask).await;
        let code = opened.as_ref().map_or_else(Failure::label, |_| "ok");
        self.meters.requested(ask.verb, code, started.elapsed());
        if let Err(failure) = &opened
            && (matches!(failure, Failure::Unreachable(_)) || failure.code() == Some(401))
        {
            self.refresh().await;
        }
        opened
    }

    async fn head(&self, ask: &Ask) -> Result<Body, Failure> {
        let request = ask.request()?;
        let stack = self.stack.lock().clone();
        let answer = timeout(self.patience.head, stack.oneshot(request)).await;
        let answer = answer.map_err(|_| Failure::Silent)?.map_err(|error| unsent(&*error))?;
        let code = answer.status().as_u16();
        let header = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let header = header.and_then(|value| value.trim().parse().ok());
        let mut body = Body { incoming: answer.into_body(), patience: self.patience.body };
        if (200..300).contains(&code) {
            return Ok(body);
        }
        // A refusal without a readable reason is a refusal all the same.
        body.patience = self.patience.connect;
        let text = body.whole().await.unwrap_or_default();
        Err(Failure::of_status(code, header, &text))
    }

    /// Sends a request and waits for the whole answer. Tries again while nothing can have happened
    /// and the API server does not ask for a long pause.
    ///
    /// # Errors
    /// The last failure.
    pub async fn call(&self, ask: &Ask, backoff: &mut Backoff) -> Result<Bytes, Failure> {
        let mut tries = 1;
        loop {
            let failure = match self.once(ask).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => failure,
            };
            let wait = match (&failure, failure.retry_after()) {
                (Failure::Unreachable(_), _) => backoff.next(Duration::from_secs(1)),
                (Failure::Status { code: 429 | 503, .. }, Some(wait)) if wait <= OBEYED_MAX => {
                    wait + backoff.jitter(wait / 4)
                }
                (Failure::Status { code: 401, .. }, _) => REFRESH,
                _ => return Err(failure),
            };
            if tries >= TRIES {
                return Err(failure);
            }
            tries += 1;
            self.meters.retried(ask.verb);
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, ask: &Ask) -> Result<Bytes, Failure> {
        let mut body = self.open(ask).await?;
        body.patience = self.patience.head;
        body.whole().await
    }

    /// Reads credentials and certificates anew, at most once a second.
    async fn refresh(&self) {
        if matches!(self.server, Server::Given(_)) {
            return;
        }
        // Whoever comes while another reads finds it done.
        let Ok(mut refreshed) = self.refreshed.try_lock() else { return };
        if refreshed.elapsed() < REFRESH {
            return;
        }
        *refreshed = Instant::now();
        match stack(&self.server, &self.net, self.patience).await {
            Ok(stack) => *self.stack.lock() = stack,
            Err(error) => tracing::warn!(error = format!("{error:#}"), "credentials are not read"),
        }
    }
}

async fn stack(server: &Server, net: &Arc<dyn Net>, patience: Patience) -> anyhow::Result<Stack> {
    let config = server.config().await?;
    let dial = Dial { net: Arc::clone(net), patience: patience.connect };
    let tls = config.rustls_https_connector_with_connector(dial)?;
    let http = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .build(tls);
    let auth = config.auth_layer()?;
    let stack = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .option_layer(auth)
        .map_err(BoxError::from)
        .service(http);
    Ok(BoxCloneSyncService::new(stack))
}

/// What became of a request that had no answer.
fn unsent(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    match error.downcast_ref::<legacy::Error>() {
        Some(error) if !error.is_connect() => Failure::Broken(text),
        // Also what the authentication layer says: nothing was sent.
        Some(_) | None => Failure::Unreachable(text),
    }
}

/// The body of a good answer.
pub struct Body {
    incoming: Incoming,
    patience: Duration,
}

impl Body {
    /// Takes another limit of silence.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the body is cut or nothing comes for too long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = timeout(self.patience, self.incoming.frame()).await;
            match frame.map_err(|_| Failure::Silent)? {
                None => return Ok(None),
                Some(Err(error)) => return Err(Failure::Broken(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    async fn whole(&mut self) -> Result<Bytes, Failure> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
            if whole.len() > BODY_MAX {
                return Err(Failure::Garbled(format!("longer than {BODY_MAX} bytes")));
            }
        }
        Ok(whole.into())
    }
}
