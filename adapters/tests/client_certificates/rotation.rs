//! Authorities that change under load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// How often the authorities change, and how many clients ask at a time.
const ROTATIONS: usize = 24;
const CLIENTS: usize = 2;
/// Least time between two changes.
const PACE: Duration = Duration::from_millis(60);

/// Two authorities take turns in being first and alone; a client whose authority always stays must
/// never notice: no handshake fails, no request is refused, on new connections and on one that stays.
pub fn under_load(stage: &Stage) {
    let (old, new) = (Authority::new(), Authority::new());
    let stays = old.client("stays");
    let comes = new.client("comes");
    let keys: &[(&str, &str)] = &[("client-ca", "turning-ca")];
    let host = "turning.test";
    let tls = stage.servers.issue(&[host]).secret("turning-tls");
    let route = ingress("turning").all(host, "app").tls(&[host], "turning-tls");
    let route: Value = route.with(keys[0].0, keys[0].1).into();
    stage.rig.put("turning", &[tls, route]);
    let put = |pem: &str| stage.rig.put("turning-ca", &[secret("turning-ca", &[("ca.crt", pem)])]);
    put(&old.pem);
    stage.wait(host, Some(&stays), 200);
    let reloads = stage.rig.reload_count();
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let failures = Mutex::new(Vec::new());
    let port = stage.rig.https;
    let config = showing(Some(&stays), false, false);
    let ask = |connection: &mut Connection| {
        let answer = connection.ask(&Request::get(host, "/"));
        asked.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => failures.lock().unwrap().push(answer.line),
            Err(error) => failures.lock().unwrap().push(error.to_string()),
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match Connection::tls(port, host, &config) {
                        Ok(mut connection) => ask(&mut connection),
                        Err(error) => failures.lock().unwrap().push(format!("handshake: {error}")),
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut connection = Connection::tls(port, host, &config).unwrap();
            while !stop.load(Ordering::Relaxed) {
                ask(&mut connection);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let comes_in = |status: u16| {
            let begin = Instant::now();
            stage.wait(host, Some(&comes), status);
            std::thread::sleep(PACE.saturating_sub(begin.elapsed()));
        };
        for round in 0..ROTATIONS {
            if round % 2 == 0 {
                put(&format!("{}{}", old.pem, new.pem));
                comes_in(200);
            } else {
                put(&old.pem);
                comes_in(495);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let failures = failures.into_inner().unwrap();
    let asked = asked.into_inner();
    println!(
        "HAProxy {}: {ROTATIONS} rotations, {asked} requests, {} failures, {} reloads",
        stage.rig.version,
        failures.len(),
        stage.rig.reload_count() - reloads
    );
    assert!(failures.is_empty(), "{} of {asked}: {:?}", failures.len(), &failures[..1]);
    assert!(asked > 50, "{asked} requests are no load");
    assert_eq!(stage.rig.reload_count(), reloads, "{:?}", stage.rig.reload_reasons());
    eventually("authorities that nobody names are gone", || {
        let files = stage.rig.worker("show ssl ca-file").map_err(|error| error.to_string())?;
        let lists = stage.rig.worker("show ssl crt-list certs/list.txt");
        let lists = lists.map_err(|error| error.to_string())?;
        let used = files.lines().filter_map(|line| line.split(' ').next());
        let used: Vec<_> = used.filter(|file| file.starts_with("ca/")).collect();
        let idle: Vec<_> = used.iter().filter(|file| !lists.contains(**file)).collect();
        ensure(idle.is_empty(), || format!("{idle:?}"))
    });
    stage.rig.remove("turning-ca");
    stage.wait(host, Some(&stays), 503);
    stage.rig.remove("turning");
}
