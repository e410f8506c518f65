//! What the quick reader reads, the full reader reads the same: samples and mutations of them.

use super::*;
use serde_json::Value;
use std::marker::PhantomData;

const SAMPLES: [&str; 6] = [
    "apiVersion: v1\nkind: Service\nmetadata:\n  name: web # a comment\n  labels: {app: web, \
     tier: \"front\"}\nspec:\n  ports:\n  - name: http\n    port: 80\n  - {name: x, port: 81}\n",
    "---\n# top\na:\n  - b\n  - - c\n    - d\n  -\n    e: f\n  - g:\n    - h\n    i: ~\nj:\nk: \
     null\n",
    "addresses: [\"10.0.0.1\", 10.0.0.2]\nempty: []\nnone: {}\nversion: 1.27\nip: \
     10.0.0.1\ntime: 30s\nneg: -5\nquoted: 'it'\nesc: \"a\\\"b\\n\"\n",
    "tls.crt: |\n  -----BEGIN-----\n  abc\n\n  def\n  -----END-----\nnext: |-\n    x\n     y\n\
     last: true\n",
    "on: off\n\"quoted key\": v\n'single': 1_000\nuid: 8d3f2c1a-9e11-4b\nhex: 0x1F\ndate: \
     2024-01-31T12:00:00Z\nurl: http://x/y\nfold: >\n  a\n  b\nanchor: &a b\nalias: *a\n",
    "- plain text\n  over lines\n- a: b\n  c: d e f\n- \"x\"\n- -1\n- *x\n- !t y\n- @z\n",
];

/// A fixed sequence of numbers (a linear congruence), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides.max(1)
    }
}

fn mutate(text: &str, dice: &mut Dice) -> String {
    const PIECES: [&str; 22] = [
        " ", "  ", "\n", ":", ": ", "-", "- ", "#", " #", "\"", "'", "[", "]", "{", "}", ",", "|",
        "1", ".", "e", "a: b\n", "\n  ",
    ];
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(chars.len());
        match dice.roll(3) {
            0 => drop(chars.splice(at..at, PIECES[dice.roll(PIECES.len())].chars())),
            1 => drop(chars.drain(at..(at + 1 + dice.roll(3)).min(chars.len()))),
            _ => {
                let mut lines: Vec<String> =
                    chars.iter().collect::<String>().lines().map(str::to_owned).collect();
                let (a, b) = (dice.roll(lines.len()), dice.roll(lines.len()));
                if a < lines.len() && b < lines.len() {
                    lines.swap(a, b);
                }
                chars = (lines.join("\n") + "\n").chars().collect();
            }
        }
        if chars.is_empty() {
            break;
        }
    }
    chars.into_iter().collect()
}

/// Guarantee of this module: what it reads, the full reader reads the same.
#[test]
fn what_is_read_quickly_is_read_the_same_by_the_full_reader() {
    let (mut read, mut given_up, mut dice) = (0, 0, Dice(42));
    for round in 0..20_000 {
        let sample = SAMPLES[round % SAMPLES.len()];
        let text =
            if round < SAMPLES.len() { sample.to_owned() } else { mutate(sample, &mut dice) };
        match from_str(&text, PhantomData::<Value>) {
            Ok(value) => {
                read += 1;
                match serde_saphyr::from_str::<Value>(&text) {
                    Ok(full) => assert_eq!(value, full, "round {round}:\n{text}"),
                    Err(error) => panic!("round {round}: {error}\n{text}\n{value:?}"),
                }
            }
            Err(GiveUp) => given_up += 1,
        }
    }
    assert!(read > 2_000 && given_up > 2_000, "read {read}, given up {given_up}");
    for sample in &SAMPLES[..4] {
        assert!(from_str(sample, PhantomData::<Value>).is_ok(), "{sample}");
    }
}
