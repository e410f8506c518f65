//! HAProxy's own reading of its files, from the rules of its configuration manual (section 2.2)
//! and measured behaviour: what is a word, a line, a comment, an entry. Written without looking
//! at the renderer.

/// A line of a configuration with its words, quotes and escapes resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The words; never empty.
    pub words: Vec<String>,
}

/// A section with its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `global`, `defaults`, `frontend`, `backend`.
    pub kind: String,
    /// Words after the kind: name, `from`, defaults section.
    pub words: Vec<String>,
    /// The lines below.
    pub lines: Vec<Line>,
}

/// Most words of a line (`MAX_LINE_ARGS`).
const WORDS_MAX: usize = 64;

/// Longest line (`LINESIZE`).
const LINE_BYTES_MAX: usize = 2048;

const KINDS: [&str; 4] = ["global", "defaults", "frontend", "backend"];

/// Reads a configuration.
///
/// # Errors
/// What HAProxy would refuse, or what would not be read as it is written: an open quote, a NUL, a
/// carriage return, an expansion of the environment, too many words, a line outside a section.
pub fn config(text: &str) -> Result<Vec<Section>, String> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        let words = words(line).map_err(|why| format!("line {}: {why}: {line:?}", number + 1))?;
        let Some((first, rest)) = words.split_first() else { continue };
        if KINDS.contains(&first.as_str()) {
            sections.push(Section { kind: first.clone(), words: rest.to_vec(), lines: vec![] });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(Line { words });
        } else {
            return Err(format!("line {} is in no section: {line:?}", number + 1));
        }
    }
    Ok(sections)
}

/// What encloses the character that is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Weak,
    Strong,
}

/// The words of one line.
fn words(line: &str) -> Result<Vec<String>, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err("the line is too long".to_owned());
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = Quote::None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\0', _) => return Err("NUL".to_owned()),
            ('\r', _) => return Err("a carriage return ends the line early".to_owned()),
            ('"', Quote::None) => {
                quote = Quote::Weak;
                word.get_or_insert_default();
            }
            ('\'', Quote::None) => {
                quote = Quote::Strong;
                word.get_or_insert_default();
            }
            ('"', Quote::Weak) | ('\'', Quote::Strong) => quote = Quote::None,
            ('#', Quote::None) => break,
            (' ' | '\t', Quote::None) => words.extend(word.take()),
            ('\\', Quote::None | Quote::Weak) => {
                let escaped = escape(&mut chars, quote)?;
                word.get_or_insert_default().push_str(&escaped);
            }
            ('$', Quote::Weak) => return Err("the environment is expanded".to_owned()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote != Quote::None {
        return Err("a quote is open at the end of the line".to_owned());
    }
    words.extend(word);
    if words.len() > WORDS_MAX {
        return Err("more than 64 words".to_owned());
    }
    Ok(words)
}

fn escape(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    quote: Quote,
) -> Result<String, String> {
    let Some(c) = chars.next() else {
        return Err("a backslash at the end of the line".to_owned());
    };
    Ok(match (c, quote) {
        (' ' | '\\' | '#' | '"' | '\'', Quote::None) | ('\\' | '"' | '$', _) => c.to_string(),
        ('n', Quote::None) => "\n".to_owned(),
        ('r', Quote::None) => "\r".to_owned(),
        ('t', Quote::None) => "\t".to_owned(),
        (c, _) => format!("\\{c}"),
    })
}

/// Reads a map file: an entry per line, the key up to the first blank, the value up to the end of
/// the line without blanks around it. Lines that begin with `#` are comments.
#[must_use]
pub fn map(text: &str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    for line in text.split(['\n', '\r', '\0']) {
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let value = value.trim_matches([' ', '\t']);
        entries.push((key.to_owned(), value.to_owned()));
    }
    entries
}

/// A line of a crt-list.
pub struct CrtListLine {
    /// The certificate.
    pub file: String,
    /// Files of the options: authorities and what they revoked.
    pub named: Vec<String>,
    /// SNI filters.
    pub filters: Vec<String>,
}

/// Reads a crt-list.
///
/// # Errors
/// Other SSL options than those that ask clients for certificates, negations, and open quotes.
pub fn crt_list(text: &str) -> Result<Vec<CrtListLine>, String> {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let words = words(line)?;
        let Some((file, mut rest)) = words.split_first() else { continue };
        let mut named = Vec::new();
        if let Some(end) = rest.iter().position(|word| word.ends_with(']')) {
            let options = rest[..=end].join(" ");
            let inside = options.strip_prefix('[').and_then(|o| o.strip_suffix(']'));
            let inside: Vec<&str> = inside.unwrap_or("?").split(' ').collect();
            match inside.as_slice() {
                ["ca-file", ca, "verify", "optional"] => named.push((*ca).to_owned()),
                ["ca-file", ca, "crl-file", crl, "verify", "optional"] => {
                    named.extend([(*ca).to_owned(), (*crl).to_owned()]);
                }
                _ => return Err(format!("options: {line:?}")),
            }
            rest = &rest[end + 1..];
        }
        if rest.iter().any(|f| f.contains(['[', ']', '!'])) {
            return Err(format!("options or negations: {line:?}"));
        }
        lines.push(CrtListLine { file: file.clone(), named, filters: rest.to_vec() });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<String>, String> {
        words(line)
    }

    #[test]
    fn words_are_what_haproxy_reads() {
        assert_eq!(read("  a \"b c\" d\\ e # f").unwrap(), ["a", "b c", "d e"]);
        assert_eq!(read("a 'b\"${X}' \\#").unwrap(), ["a", "b\"${X}", "#"]);
        assert_eq!(read("a\"b\"c \"\"").unwrap(), ["abc", ""]);
        for bad in ["a \"b", "a\rb", "\"${HOME}\"", "a\\", "\0"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(read(&"x ".repeat(65)).is_err());
    }

    #[test]
    fn lines_of_a_crt_list_have_options_before_filters() {
        let lines = crt_list("a.pem\nb.pem [ca-file c.pem verify optional] x.org *.y.org\n");
        let lines = lines.unwrap();
        assert_eq!((&*lines[0].file, lines[0].filters.len()), ("a.pem", 0));
        assert_eq!((&lines[1].named[..], lines[1].filters.len()), (&["c.pem".to_owned()][..], 2));
        assert!(crt_list("b.pem [verify none] x.org").is_err());
    }

    #[test]
    fn map_lines_are_keys_and_values() {
        let text = "# no\nk v w \n\n  k2\tv\nk3\n";
        let entries = map(text);
        let plain: Vec<_> = entries.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(plain, [("k", "v w"), ("k2", "v"), ("k3", "")]);
    }
}
