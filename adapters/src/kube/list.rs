//! A complete list in pages, for servers without streaming lists.
//!
//! Inputs: a target, a sink. Outputs: items to the sink, and the version of the list. The first
//! page is a consistent read (never `resourceVersion=0`, which may be old); the others are pinned
//! to its version by the token. A page that fails, or a token that has expired (410), voids the
//! list: the caller begins anew.

use super::client::{Ask, Client};
use super::failure::Failure;
use super::frame::Items;
use super::resource::segment;
use super::target::{Sink, Target};
use crate::sabotage::{Mistake, is_planted};

/// Objects of one page.
const PAGE: usize = 500;

/// Pages of one list at most; a server that has more repeats itself.
const PAGES_MAX: usize = 10_000;

/// Reads all pages. Returns the version of the list, which is that of its first page.
///
/// # Errors
/// When a page fails; what the sink got then is void.
pub async fn pages<S: Sink>(
    client: &Client,
    target: &Target,
    sink: &mut S,
) -> Result<Box<str>, Failure> {
    sink.begin();
    let mut version: Option<Box<str>> = None;
    let mut token: Option<Box<str>> = None;
    for _ in 0..PAGES_MAX {
        let query = match &token {
            Some(token) => format!("limit={PAGE}&continue={}", segment(token)),
            None => format!("limit={PAGE}"),
        };
        let ask = Ask::get("list", target.path(&query)).accepting(sink.form(true));
        let mut body = client.open(&ask).await?;
        let mut items = Items::default();
        while let Some(chunk) = body.chunk().await? {
            items.push(&chunk, |item| sink.item(item))?;
        }
        let page = items.finish()?;
        let first = version.get_or_insert(page.version);
        match page.next.filter(|_| !is_planted(Mistake::FirstPageOnly)) {
            None => return Ok(first.clone()),
            Some(next) if token.as_ref() == Some(&next) => {
                return Err(Failure::Garbled("a list repeats its pages".to_owned()));
            }
            Some(next) => token = Some(next),
        }
    }
    Err(Failure::Garbled("a list without an end".to_owned()))
}
