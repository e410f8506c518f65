//! Lists of users in Secrets.
//!
//! Inputs: the values of a Secret. Outputs: one text of `USER:HASH` lines for the vault, and what
//! in it cannot be used: where it stands and why, never a name or a hash. Two forms, also mixed:
//! lines under the key `auth`, as htpasswd writes them, and a key for each user with the hash as
//! value, as haproxytech reads them.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq as _;

use super::crypt;

/// First line of the text: bytes of other kinds are in the vault too.
const HEAD: &[u8] = b"users\n";
/// Key of the file of lines.
const FILE: &str = "auth";
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// What cannot be used and is told, at most.
const REFUSED_MAX: usize = 20;

/// A list that has a usable user.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct List {
    /// The text for the vault.
    pub(crate) text: Vec<u8>,
    /// Entries that cannot be used: where, and why.
    pub(crate) refused: Vec<(Box<str>, Box<str>)>,
}

/// Reads the values of a Secret, sorted by key.
///
/// # Errors
/// Why there is no user that can be used.
pub(crate) fn read(values: &[(&str, Result<Vec<u8>, Box<str>>)]) -> Result<List, Box<str>> {
    let mut users = Users::default();
    for (number, (key, value)) in values.iter().enumerate() {
        let place = format!("data, key {} by name", number + 1);
        let text = match value.as_deref().map(std::str::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                users.refuse(place, "its value is not text");
                continue;
            }
            Err(_) => {
                users.refuse(place, "its value is not base64");
                continue;
            }
        };
        // A user may be called `auth`; no hash has a colon.
        if *key == FILE && crypt::kind_of(text.trim()).is_err() {
            for (number, line) in text.lines().enumerate() {
                users.line(line.trim(), format!("data.auth, line {}", number + 1));
            }
        } else if !text.trim().is_empty() {
            users.add(key, text.trim(), place);
        }
    }
    users.finish(values.is_empty())
}

#[derive(Default)]
struct Users {
    hashes: BTreeMap<String, String>,
    refused: Vec<(Box<str>, Box<str>)>,
}

impl Users {
    fn refuse(&mut self, place: String, why: &str) {
        if self.refused.len() < REFUSED_MAX {
            self.refused.push((place.into(), why.into()));
        }
    }

    fn line(&mut self, line: &str, place: String) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        match line.split_once(':') {
            // What comes after a second colon is a remark.
            Some((name, rest)) => self.add(name, rest.split(':').next().unwrap_or(rest), place),
            None => self.refuse(place, "it has no colon between user and hash"),
        }
    }

    fn add(&mut self, name: &str, hash: &str, place: String) {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return self.refuse(place, "its name is empty, too long or has control characters");
        }
        if let Err(why) = crypt::kind_of(hash) {
            return self.refuse(place, why);
        }
        if self.hashes.contains_key(name) {
            return self.refuse(place, "the user stands there already; the first entry holds");
        }
        self.hashes.insert(name.to_owned(), hash.to_owned());
    }

    fn finish(self, empty: bool) -> Result<List, Box<str>> {
        let Users { hashes, refused } = self;
        if hashes.is_empty() {
            return Err(match refused.first() {
                Some((place, why)) => format!("it has no usable user ({place}: {why})").into(),
                None if empty => "it is empty".into(),
                None => "it has no user".into(),
            });
        }
        let mut text = HEAD.to_vec();
        for (name, hash) in hashes {
            text.extend_from_slice(format!("{name}:{hash}\n").as_bytes());
        }
        Ok(List { text, refused })
    }
}

/// The hash of a user in the text of a list, and whether there is such a user: where there is
/// none it is another's, so that the answer takes as long. `None` when the text is no list.
pub(crate) fn find<'a>(text: &'a [u8], name: &[u8]) -> Option<(&'a str, bool)> {
    let lines = text.strip_prefix(HEAD)?;
    let mut found = None;
    let mut other = None;
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (user, hash) = line.split_at(colon);
        let hash = std::str::from_utf8(hash.get(1..)?).ok()?;
        if bool::from(user.ct_eq(name)) {
            found = Some(hash);
        }
        other.get_or_insert(hash);
    }
    match found {
        Some(hash) => Some((hash, true)),
        None => other.map(|hash| (hash, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1";
    const OTHER: &str = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";

    fn of(values: &[(&str, &str)]) -> Result<List, Box<str>> {
        let values: Vec<_> =
            values.iter().map(|(key, value)| (*key, Ok(value.as_bytes().to_vec()))).collect();
        read(&values)
    }

    fn text(list: &List) -> String {
        String::from_utf8(list.text.clone()).unwrap()
    }

    #[test]
    fn both_forms_give_the_same_list() {
        let file = format!("# staff\r\nbob:{OTHER}\r\n\nanna:{HASH}:remark\r\n");
        let by_file = of(&[("auth", &file)]).unwrap();
        let by_key = of(&[("anna", &format!("{HASH}\n")), ("bob", OTHER), ("carl", "\n")]).unwrap();
        assert_eq!(text(&by_file), format!("users\nanna:{HASH}\nbob:{OTHER}\n"));
        assert!(by_file == by_key);
        assert!(by_file.refused.is_empty());
        let named_auth = of(&[("auth", HASH)]).unwrap();
        assert_eq!(find(&named_auth.text, b"auth"), Some((HASH, true)));
    }

    #[test]
    fn a_user_that_cannot_be_used_takes_nobody_along() {
        let file = format!("anna:{HASH}\nbob\n:{HASH}\ncarl:secret\nanna:{OTHER}\n");
        let list = of(&[("auth", &file), ("dora", "DES.hash.here")]).unwrap();
        assert_eq!(text(&list), format!("users\nanna:{HASH}\n"));
        let places: Vec<&str> = list.refused.iter().map(|(place, _)| &**place).collect();
        let lines = ["data.auth, line 2", "data.auth, line 3", "data.auth, line 4"];
        assert_eq!(places[..3], lines);
        assert_eq!(places[3..], ["data.auth, line 5", "data, key 2 by name"]);
        let told = format!("{:?}", list.refused);
        for name in ["anna", "bob", "carl", "dora", "secret", "abcdefgh"] {
            assert!(!told.contains(name), "{told}");
        }
    }

    #[test]
    fn no_usable_user_is_an_error() {
        for values in [
            &[][..],
            &[("auth", "")],
            &[("auth", "\n# nobody\n")],
            &[("auth", "anna")],
            &[("auth", "anna:plain")],
            &[("anna", "plain")],
            &[("anna", "")],
        ] {
            assert!(of(values).is_err(), "{values:?}");
        }
        assert!(read(&[("anna", Err("no base64".into()))]).is_err());
        assert!(read(&[("anna", Ok(vec![0xff, 0xfe]))]).is_err());
    }

    #[test]
    fn who_is_not_there_gets_anothers_hash() {
        let list = of(&[("anna", HASH), ("bob", OTHER)]).unwrap();
        assert_eq!(find(&list.text, b"bob"), Some((OTHER, true)));
        assert_eq!(find(&list.text, b"carl"), Some((HASH, false)));
        assert_eq!(find(&list.text, b""), Some((HASH, false)));
        assert_eq!(find(b"-----BEGIN CERTIFICATE-----\n", b"bob"), None);
    }
}
