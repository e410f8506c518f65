//! Lines as they go to the socket.

use tidegate_core::digest::Digest;

use super::*;

fn pem(content: &FileContent) -> Option<Arc<[u8]>> {
    match content {
        FileContent::Certificate(_) => Some(Arc::from(&b"-A-\r\n\r\n-K-\n\n"[..])),
        FileContent::DefaultCertificate(_) => Some(Arc::from(&b"-D-\n"[..])),
        FileContent::Authority(_) => None,
    }
}

fn text_of(commands: &[RuntimeCommand]) -> (String, Script) {
    let script = encode(commands, 0, Limits::SMALL, &pem);
    (String::from_utf8_lossy(&script.text).into_owned(), script)
}

fn add(key: &str, value: &str) -> RuntimeCommand {
    RuntimeCommand::AddMapEntry { map: MapId::Policy, key: key.into(), value: value.into() }
}

#[test]
fn words_are_escaped_so_that_nothing_ends_early() {
    let set = RuntimeCommand::SetMapEntry {
        map: MapId::Policy,
        key: "k".into(),
        value: r#"a b;c\d <<"#.into(),
    };
    let (text, script) = text_of(&[set]);
    assert_eq!(text, "set map maps/policy.map k a\\ b\\;c\\\\d\\ \\<\\<\n");
    assert_eq!(script.steps, [Step { first: 0, count: 1, part: Part::Whole }]);
}

#[test]
fn additions_to_one_map_share_a_payload() {
    let other = RuntimeCommand::DeleteMapEntry { map: MapId::Policy, key: "old".into() };
    let (text, script) = text_of(&[add("a", "1;"), add("b", "2 3"), other, add("c", "x y")]);
    assert_eq!(
        text,
        "add map maps/policy.map <<\na 1;\nb 2 3\n\ndel map maps/policy.map old\n\
         add map maps/policy.map c x\\ y\n"
    );
    let parts: Vec<_> = script.steps.iter().map(|s| (s.first, s.count, s.part)).collect();
    assert_eq!(parts, [(0, 2, Part::Bulk), (2, 1, Part::Whole), (3, 1, Part::Whole)]);
}

#[test]
fn payloads_stay_within_the_limit() {
    let commands: Vec<_> = (0..1000).map(|n| add(&format!("key{n}"), &"v".repeat(90))).collect();
    let script = encode(&commands, 0, Limits::SMALL, &pem);
    assert_eq!(script.steps.iter().map(|s| s.count).sum::<usize>(), 1000);
    let text = String::from_utf8_lossy(&script.text);
    let chunks: Vec<_> = text.split("\n\n").filter(|c| !c.is_empty()).collect();
    assert_eq!(chunks.len(), script.steps.len());
    assert!(chunks.iter().all(|chunk| chunk.len() < Limits::SMALL.payload));
    let large = encode(&commands, 0, Limits::LARGE, &pem);
    assert!(large.steps.len() < 3);
}

#[test]
fn a_file_of_certificates_takes_four_lines_without_blank_ones() {
    let digest = Digest::of(b"x");
    let install = RuntimeCommand::InstallCertificate { file: "certs/x.pem".into(), digest };
    let (text, script) = text_of(&[install]);
    assert_eq!(
        text,
        "new ssl cert certs/x.pem\nset ssl cert certs/x.pem <<\n-A-\n-K-\n\n\
         commit ssl cert certs/x.pem\nabort ssl cert certs/x.pem\n"
    );
    let parts: Vec<_> = script.steps.iter().map(|step| step.part).collect();
    assert_eq!(parts, [Part::New, Part::Set, Part::Commit, Part::Abort]);
}

#[test]
fn what_cannot_be_said_is_refused_and_leaves_the_others_alone() {
    let missing =
        RuntimeCommand::InstallAuthority { file: "ca/x.pem".into(), digest: Digest::of(b"y") };
    let commands = [
        add("k", "v"),
        add("two words", "v"),
        add("k", ""),
        add("k", "a\nshow info"),
        missing,
        RuntimeCommand::PublishBackend { backend: "b;quit".into() },
    ];
    let (text, script) = text_of(&commands);
    assert_eq!(text, "add map maps/policy.map k v\npublish backend b\\;quit\n");
    let refused: Vec<_> = script.refused.iter().map(|(command, _)| *command).collect();
    assert_eq!(refused, [1, 2, 3, 4]);
    assert_eq!(script.steps.iter().map(|s| s.first).collect::<Vec<_>>(), [0, 5]);
}

#[test]
fn server_keywords_are_taken_from_configuration_text() {
    let add = RuntimeCommand::AddServer {
        backend: "b".into(),
        server: "fd00::1:80".into(),
        address: ([0xfd00, 0, 0, 0, 0, 0, 0, 1], 80).into(),
        keywords: r#"ssl sni "str(a b)" verify none alpn 'h2,http/1.1' x\ y"#.into(),
    };
    let (text, _) = text_of(&[add]);
    assert_eq!(
        text,
        "add server b/fd00::1:80 [fd00::1]:80 ssl sni str(a\\ b) verify none alpn h2,http/1.1 \
         x\\ y\n"
    );
    assert!(config_words("a # b").is_err());
    assert!(config_words("a \"b").is_err());
    assert!(config_words("\"$HOME\"").is_err());
    assert_eq!(config_words("  a  '' b "), Ok(vec!["a".into(), String::new(), "b".into()]));
}
