//! The demo itself: the whole product at work on a real HAProxy, with every answer checked.

use std::process::Command;

use tidegate::cli::places;

#[test]
fn demo_loses_no_request_and_reloads_nothing() {
    let Some(haproxy) = places::newest_fetched(Some("3.4")) else {
        println!("not run: HAProxy 3.4 is missing; deploy/haproxy/install.sh 3.4 fetches it");
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["--output", "json", "demo", "--quick", "--haproxy"])
        .arg(haproxy)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["requests"]["failed"], 0, "{text}");
    assert_eq!(found["reloads"], 0, "{text}");
}
