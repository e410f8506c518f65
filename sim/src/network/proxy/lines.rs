//! Framing of HAProxy's CLI: lines, words, `;`, `\`, payloads.
//!
//! Inputs: bytes as they come. Outputs: commands of words, each with its payload. As measured:
//! `;` splits and `\` escapes, also within values; a last word `<<` begins a payload, which an
//! empty line ends and whose bytes are taken as they are.

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its words.
    pub words: Vec<String>,
    /// What came after `<<`.
    pub payload: Option<String>,
    /// Lines of the payload, its end included.
    pub payload_lines: usize,
}

/// What was read and is not yet a line.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Vec<u8>,
    open: Option<(Vec<String>, Vec<String>)>,
}

impl Reader {
    /// Takes bytes; gives the commands of each line that is now whole.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<Asked>> {
        self.partial.extend_from_slice(bytes);
        let mut asked = Vec::new();
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let rest = self.partial.split_off(end + 1);
            let line = std::mem::replace(&mut self.partial, rest);
            let line = String::from_utf8_lossy(line.get(..end).unwrap_or_default()).into_owned();
            asked.extend(self.line(line));
        }
        asked
    }

    fn line(&mut self, line: String) -> Option<Vec<Asked>> {
        if let Some((words, mut lines)) = self.open.take() {
            if !line.is_empty() {
                lines.push(line);
                self.open = Some((words, lines));
                return None;
            }
            let payload_lines = lines.len() + 1;
            return Some(vec![Asked { words, payload: Some(lines.join("\n")), payload_lines }]);
        }
        let mut commands = split(&line);
        if commands.last().and_then(|words| words.last()).is_some_and(|word| word == "<<") {
            let mut words = commands.pop().unwrap_or_default();
            words.pop();
            self.open = Some((words, Vec::new()));
            if commands.is_empty() {
                return None;
            }
        }
        let plain = |words| Asked { words, payload: None, payload_lines: 0 };
        Some(commands.into_iter().map(plain).collect())
    }
}

/// The commands of a line.
fn split(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            ' ' | '\t' => words.extend(word.take()),
            ';' => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    commands.push(words);
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_wherever_they_are_cut() {
        let text = "add map m <<\nk v;w \\\nx y\n\nset map m a\\ b c\\;d\na;b\n\n";
        for size in 1..text.len() {
            let mut reader = Reader::default();
            let mut all = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                all.extend(reader.push(piece));
            }
            let [bulk, set, two, empty] = &all[..] else { panic!("{all:?}") };
            assert_eq!(bulk[0].payload.as_deref(), Some("k v;w \\\nx y"));
            assert_eq!(bulk[0].words, ["add", "map", "m"]);
            assert_eq!(set[0].words, ["set", "map", "m", "a b", "c;d"]);
            assert_eq!(two.len(), 2);
            assert!(empty[0].words.is_empty());
        }
    }
}
