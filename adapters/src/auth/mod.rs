//! The verifier: answers HAProxy whether a name and a password are right.
//!
//! Inputs: requests on a Unix socket in the state folder, from the action in
//! `tidegate_core::render::auth`; lists of users from the vault. Outputs: one word each. HAProxy
//! remembers every yes, so this is asked once per user, list and start of HAProxy. Not here: which
//! route asks for what; a request names the list. See `docs/decisions/0010-basic-auth.md`.
//!
//! A request is `LIST:REALM:AUTHORIZATION`, ended by a line feed: the keyed digest of the list in
//! hex, anything, and the header as the client sent it.

pub(crate) mod crypt;
pub(crate) mod list;
mod md5;
mod memory;
mod meters;
mod queue;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tidegate_core::digest::Digest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::ports::{BoxIo, Endpoint, Listener, Net};
use crate::vault::Vault;
use memory::Memory;
pub use meters::Meters;
use queue::{Job, Queue};

/// Requests at once. Beyond, HAProxy's wait to be accepted.
const REQUESTS_MAX: usize = 1_024;
/// Longest request, in bytes: HAProxy takes no larger header.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Longest password, in bytes: what a hash costs grows with it.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// Longest wait for a request, and for its answer: as long as HAProxy waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The password is right.
    Yes,
    /// It is wrong, or there is no such user.
    No,
    /// Too many hashes wait.
    Busy,
    /// The list is not at hand: its Secret has not been read yet, or is gone.
    Unknown,
}

impl Answer {
    /// As HAProxy is told, and as a label.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Busy => "busy",
            Answer::Unknown => "unknown",
        }
    }
}

/// Answers by lists of users in a vault.
pub struct Verifier {
    vault: Arc<Vault>,
    memory: Arc<Mutex<Memory>>,
    queue: Queue,
    meters: Meters,
}

impl Verifier {
    /// A verifier that remembers nothing yet, with the threads that compute hashes.
    ///
    /// # Errors
    /// When there are no threads to be had.
    pub fn start(vault: Arc<Vault>, meters: Meters) -> io::Result<Verifier> {
        let memory: Arc<Mutex<Memory>> = Arc::default();
        let (remember, count) = (Arc::clone(&memory), meters.clone());
        let queue = Queue::start(Box::new(move |job: &Job, right, took| {
            remember.lock().put(job.key, right);
            if let Ok(kind) = crypt::kind_of(&job.hash) {
                count.computed(kind, took);
            }
        }))?;
        Ok(Verifier { vault, memory, queue, meters })
    }

    /// Listens on the socket of a state folder.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn listen(net: &dyn Net, state_dir: &Path) -> io::Result<Box<dyn Listener>> {
        net.listen(&Endpoint::Unix(state_dir.join(tidegate_core::render::auth::SOCKET))).await
    }

    /// Answers on a listener; does not end.
    ///
    /// # Errors
    /// None so far: what cannot be accepted is tried again.
    pub async fn serve(self: Arc<Self>, mut listener: Box<dyn Listener>) -> io::Result<()> {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(ended) = open.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a request for a password ended badly");
                },
                accepted = listener.accept(), if open.len() < REQUESTS_MAX => match accepted {
                    Ok(io) => {
                        let verifier = Arc::clone(&self);
                        open.spawn(async move { verifier.converse(io).await });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the socket for authentication cannot accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
    }

    async fn converse(&self, mut io: BoxIo) {
        // Whoever does not speak in time, or is gone, gets no answer: HAProxy then says 503.
        let Ok(Some(request)) = timeout(PATIENCE, request(&mut io)).await else { return };
        let Ok(answer) = timeout(PATIENCE, self.answer(&request)).await else { return };
        self.meters.answered(answer);
        self.meters.waiting(self.queue.len());
        let _ = timeout(PATIENCE, io.write_all(format!("{}\n", answer.word()).as_bytes())).await;
        let _ = timeout(PATIENCE, io.shutdown()).await;
    }

    /// The answer to a request without its line feed.
    pub async fn answer(&self, request: &[u8]) -> Answer {
        let Some((list, authorization)) = split(request) else { return Answer::No };
        let Some(text) = self.vault.users(&list) else { return Answer::Unknown };
        let Some((name, password)) = credentials(authorization) else { return Answer::No };
        let Some((hash, exists)) = list::find(&text, &name) else { return Answer::Unknown };
        let key = self.vault.digest(&[b"password\n", hash.as_bytes(), b"\n", &*password].concat());
        let known = self.memory.lock().get(&key);
        let fits = match known {
            Some(fits) => fits,
            None => {
                let job = Job { list, key, hash: hash.to_owned(), password };
                let Some(verdict) = self.queue.push(job) else { return Answer::Busy };
                self.meters.waiting(self.queue.len());
                let Ok(fits) = verdict.await else { return Answer::Busy };
                fits
            }
        };
        // Who does not exist has been measured by another's hash.
        if fits && exists { Answer::Yes } else { Answer::No }
    }
}

async fn request(io: &mut BoxIo) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut piece = [0; 1_024];
    loop {
        let count = io.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        request.extend_from_slice(piece.get(..count)?);
        if request.last() == Some(&b'\n') {
            request.pop();
            return Some(request);
        }
        if request.len() > REQUEST_BYTES_MAX {
            return None;
        }
    }
}

fn split(request: &[u8]) -> Option<(Digest, &[u8])> {
    let mut parts = request.splitn(3, |byte| *byte == b':');
    let list = std::str::from_utf8(parts.next()?).ok()?;
    let authorization = parts.nth(1)?;
    Some((Digest::from_hex(list)?, authorization))
}

/// Name and password of the header `Authorization` (RFC 7617, section 2). The one way to write
/// them is taken, so that nobody is remembered many times.
fn credentials(authorization: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, token) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut name = STANDARD.decode(token).ok()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon).split_off(1);
    (password.len() <= PASSWORD_BYTES_MAX).then_some((name, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1";

    fn request(list: Digest, name: &str, password: &str) -> Vec<u8> {
        let token = STANDARD.encode(format!("{name}:{password}"));
        format!("{}:UmVhbG0=:Basic {token}", list.hex()).into_bytes()
    }

    #[tokio::test]
    async fn only_the_right_password_is_a_yes() {
        let vault = Arc::new(Vault::new([7; 32]));
        let list = list::read(&[("anna", Ok(HASH.as_bytes().to_vec()))]).unwrap();
        let digest = vault.admit(list.text);
        let pem = vault.admit(b"-----BEGIN CERTIFICATE-----\n".to_vec());
        let verifier = Verifier::start(vault, Meters::default()).unwrap();
        for _ in 0..2 {
            for (request, answer) in [
                (request(digest, "anna", "secret"), Answer::Yes),
                (request(digest, "anna", "Secret"), Answer::No),
                (request(digest, "anna", ""), Answer::No),
                // The password of the one whose hash is computed for those who do not exist.
                (request(digest, "bob", "secret"), Answer::No),
                (request(digest, "", "secret"), Answer::No),
                (request(Digest([1; 16]), "anna", "secret"), Answer::Unknown),
                (request(pem, "anna", "secret"), Answer::Unknown),
                (b"".to_vec(), Answer::No),
                (format!("{}:x:Bearer abc", digest.hex()).into_bytes(), Answer::No),
                (format!("{}:x:Basic YW5uYQ==", digest.hex()).into_bytes(), Answer::No),
                // "anna:secret" with padding left out, and with a blank too many.
                (format!("{}:x:Basic YW5uYTpzZWNyZXQ", digest.hex()).into_bytes(), Answer::No),
                (format!("{}:x:Basic  YW5uYTpzZWNyZXQ=", digest.hex()).into_bytes(), Answer::No),
                (format!("{}:x:bASIC YW5uYTpzZWNyZXQ=", digest.hex()).into_bytes(), Answer::Yes),
            ] {
                assert_eq!(verifier.answer(&request).await, answer);
            }
        }
    }

    #[test]
    fn names_end_at_the_first_colon() {
        let token = STANDARD.encode("anna:a:b");
        let found = credentials(format!("Basic {token}").as_bytes());
        assert_eq!(found, Some((b"anna".to_vec(), b"a:b".to_vec())));
    }
}
