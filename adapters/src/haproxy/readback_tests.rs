//! Answers of real HAProxies, shortened.

use super::*;

#[test]
fn the_process_is_known_by_pid_and_start() {
    let text = "Name: HAProxy\nVersion: 3.4.7-1\nPid: 16130\nUptime_sec: 43\nnode: vm\n\
                description: 00112233\nStopping: 0\nStart_time_sec: 1795373497\n";
    let info = parse_info(text);
    let expected = Info {
        identity: Identity { pid: 16130, start_s: 1_795_373_497, version: "3.4.7-1".into() },
        description: "00112233".into(),
        stopping: false,
    };
    assert_eq!(info, Some(expected));
    assert_eq!(parse_info("Unknown command."), None);
}

#[test]
fn map_values_are_kept_as_they_are() {
    let text = "0x7f90a4555540 #x y\n0x7f90a4555700 q \"a\" 'b  c;d\\e\n";
    let entries = parse_map(text);
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1], ("q".into(), "\"a\" 'b  c;d\\e".into()));
    assert!(parse_map("Unknown map identifier. Please use #<id> or <file>.").is_empty());
}

const HEADER: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state \
    srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result \
    srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn \
    srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";

fn parse_servers(answer: &str) -> Option<Servers> {
    let mut state = ServersState::default();
    answer.lines().for_each(|line| state.line(line));
    state.finish()
}

#[test]
fn servers_are_ready_unless_maintained_or_drained() {
    let text = format!(
        "{HEADER}3 b 1 s1 127.0.0.1 0 5 1 1 97 1 0 0 8 0 0 0 - 1 - 0 0 - - 0\n\
         3 b 2 s2 fd00::1 2 4 1 1 1 1 0 0 8 0 0 0 - 81 - 0 0 - - 0\n\
         3 b 3 s3 10.1.1.1 2 12 1 1 0 1 0 0 8 0 0 0 - 81 - 0 0 - - 0\n\
         3 b 4 10.0.0.9:80 10.0.0.9 2 0 1 1 0 1 0 0 8 0 0 0 - 80 - 0 0 - - 0\n\
         4 tidegate-x 1 a 10.0.0.9 2 0 1 1 0 1 0 0 8 0 0 0 - 80 - 0 0 - - 0\n"
    );
    let servers = parse_servers(&text).unwrap_or_default();
    assert_eq!(servers.len(), 1);
    let seen: Vec<_> = servers["b"]
        .iter()
        .map(|s| (s.slot, s.address.map(|a| a.to_string()).unwrap_or_default(), s.ready))
        .collect();
    assert_eq!(
        seen,
        [
            (1, String::new(), false),
            (2, "[fd00::1]:81".to_owned(), true),
            (3, "10.1.1.1:81".to_owned(), false),
            (0, "10.0.0.9:80".to_owned(), true),
        ]
    );
    assert_eq!(parse_servers("Unknown command."), None);
}

#[test]
fn files_in_a_transaction_and_empty_ones_do_not_count() {
    let text = "# transaction\n*certs/x.pem\n# filename\ncerts/default.pem\ncerts/x.pem\n";
    assert_eq!(parse_certificates(text), ["certs/default.pem".into(), "certs/x.pem".into()]);
    let text = "# filename\n@system-ca - 145 certificate(s)\nca/x.pem - 1 certificate(s)\n\
                ca/y.pem - 0 certificate(s)\n";
    assert_eq!(parse_authorities(text), ["ca/x.pem".into()]);
}

#[test]
fn crt_list_lines_are_read_with_and_without_options() {
    let text = "# certs/list.txt\ncerts/default.pem\ncerts/x.pem a.example *.b.example\n\
                certs/y.pem [alpn h2\0 verify none] c.example\n";
    let lines = parse_crt_list(text);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0], ("certs/default.pem".into(), vec![]));
    assert_eq!(lines[1].1, ["a.example".into(), "*.b.example".into()]);
    assert_eq!(lines[2], ("certs/y.pem".into(), vec!["c.example".into()]));
    assert!(parse_crt_list("didn't find the specified filename").is_empty());
}
