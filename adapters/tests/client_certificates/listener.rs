//! Options of the HTTPS listener: each change reloads.

use super::*;

pub fn options(stage: &Stage) {
    let none: &[(&str, &str)] = &[];
    stage.put("listener", &[], &[("listener", none)]);
    stage.wait("listener.test", None, 200);
    let offered = |tls12: bool, name: &str| {
        let mut config = (*showing(None, tls12, false)).clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let connection = Connection::tls(stage.rig.https, name, &std::sync::Arc::new(config));
        connection.map(|connection| connection.protocol)
    };
    assert_eq!(offered(false, "listener.test").unwrap(), Some(b"h2".to_vec()));
    assert!(offered(false, "stranger.test").is_ok());
    assert!(offered(true, "listener.test").is_ok());
    let keys =
        [("tls-alpn", "http/1.1"), ("client-strict-sni", "true"), ("tls-min-version", "TLSv1.3")];
    stage.rig.put("config", &[config_map(&keys)]);
    eventually("the listener has its options", || {
        let protocol = offered(false, "listener.test").map_err(|error| error.to_string())?;
        ensure(protocol == Some(b"http/1.1".to_vec()), || format!("{protocol:?}"))?;
        ensure(offered(false, "stranger.test").is_err(), || "any name will do".to_owned())?;
        ensure(offered(true, "listener.test").is_err(), || "TLS 1.2 will do".to_owned())
    });
    let reasons = stage.rig.reload_reasons().join(" ");
    for word in ["tls-alpn", "strict-sni", "tls-min"] {
        assert!(reasons.contains(word), "{word}: {reasons}");
    }
    stage.rig.put("config", &[config_map(&[("tls-alpn", "h4"), ("client-strict-sni", "maybe")])]);
    stage.rig.wait_problem(&["BadValue", "data.tls-alpn"]);
    stage.rig.wait_problem(&["BadValue", "data.client-strict-sni"]);
    eventually("the defaults hold again", || {
        let protocol = offered(false, "stranger.test").map_err(|error| error.to_string())?;
        ensure(protocol == Some(b"h2".to_vec()), || format!("{protocol:?}"))
    });
    stage.rig.put("config", &[config_map(&[])]);
}
