//! A line of HAProxy's configuration as its words, by the rules of its lexer (configuration manual,
//! section 2.2): blanks separate, `\` escapes, quotes group, `#` begins a comment.
//!
//! What the lexer would expand, or what would end the line elsewhere than here, is refused, so that
//! what is checked is what HAProxy reads.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::annotations::Refusal;
use crate::annotations::value::quoted;

/// Bytes of a line; HAProxy's own limit is 2,048.
const LINE_MAX: usize = 1_800;
/// Words of a line; HAProxy's own limit is 64.
const WORDS_MAX: usize = 60;

/// Splits a line.
///
/// # Errors
/// What cannot be read, or would be read as something else.
pub(super) fn split(line: &str) -> Result<Vec<String>, Refusal> {
    if line.len() > LINE_MAX {
        return Err(Refusal::new(format!("it has more than {LINE_MAX} bytes"), "shorten it"));
    }
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Refusal::new("it has control characters", "remove them"));
    }
    let (mut words, mut word, mut open) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    let mut quote: Option<char> = None;
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('#', None) => break,
            (' ' | '\t', None) => {
                if open {
                    words.push(core::mem::take(&mut word));
                    open = false;
                }
                continue;
            }
            ('\'' | '"', None) => quote = Some(c),
            (_, Some(end)) if c == end => quote = None,
            ('\\', None | Some('"')) => match chars.next() {
                None => {
                    return Err(Refusal::new(
                        "it ends with a backslash",
                        "write the whole directive in one line",
                    ));
                }
                Some('x') => {
                    return Err(Refusal::new(
                        "it has an escape by number (\\x)",
                        "write the character itself",
                    ));
                }
                Some(escaped) => word.push(escaped),
            },
            _ => word.push(c),
        }
        if c == '$' && chars.peek().is_some_and(|c| c.is_ascii_alphanumeric() || "_{".contains(*c))
        {
            return Err(Refusal::new(
                "it refers to an environment variable ($)",
                "write the value itself",
            ));
        }
        open = true;
    }
    if quote.is_some() {
        return Err(Refusal::new("a quote is not closed", "close it in the same line"));
    }
    if open {
        words.push(word);
    }
    if words.len() > WORDS_MAX {
        let what = format!("it has more than {WORDS_MAX} words");
        return Err(Refusal::new(what, "write several lines"));
    }
    if let Some(first) = words.first() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
        if !first.bytes().all(plain) || !line.trim_start_matches([' ', '\t']).starts_with(&**first)
        {
            return Err(Refusal::new(
                format!("{} is no directive", quoted(first)),
                "begin with the name of a directive",
            ));
        }
    }
    Ok(words)
}
