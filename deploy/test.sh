#!/usr/bin/env bash
# Runs every test. Installs what the tests need and the machine lacks: the HAProxy versions they
# run against, and the kube-apiserver and etcd of the cluster tests, which are built from source
# (each into a folder of its own; see deploy/haproxy/install.sh and deploy/kube/build.sh). The
# cluster tests make network namespaces and need root; the build needs Go.
#
#   deploy/test.sh
#
# TIDEGATE_CASES scales the property tests (4 makes more than 100,000 cases);
# TIDEGATE_HAPROXY_DIR and TIDEGATE_KUBE_DIR say where HAProxy and kube-apiserver are or go.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || { echo "deploy/test.sh: cargo is missing: install Rust 1.90 or later" >&2; exit 3; }
# HAProxy takes a descriptor per connection; the soft limit of a login shell is small.
ulimit -n "$(ulimit -Hn)" || true
deploy/haproxy/install.sh
deploy/kube/build.sh
if ! command -v systemd-analyze >/dev/null; then
    # Reads the units in deploy/systemd; nothing of it is started.
    { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; } ||
        { echo "deploy/test.sh: systemd-analyze is missing: install systemd" >&2; exit 3; }
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install systemd; } >/dev/null
fi
if ! command -v ip >/dev/null; then
    # For the network namespaces of the cluster tests.
    { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; } ||
        { echo "deploy/test.sh: ip is missing: install iproute2" >&2; exit 3; }
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install iproute2 >/dev/null ||
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
              install iproute2 >/dev/null; }
fi
deploy/chart/install-helm.sh
# The tests of a folder, as cargo calls them; the planted mistakes need a feature, and come last.
tests_in() {
    local file
    for file in "$@"; do
        case $file in */main.rs) file=${file%/main.rs} ;; esac
        file=${file##*/}
        case $file in
            sabotage.rs | planted*.rs) ;;
            attach.rs | families | http3) ;; # `unhurried`, below
            *) printf -- '--test=%s\n' "${file%.rs}" ;;
        esac
    done
}
# The tests of the tests: each planted mistake must be caught by the property that promises it away.
# With the workspace's own features, so that no dependency is built once more.
planted=(cargo test --workspace --locked --features tidegate-proptests/sabotage,tidegate-sim/sabotage
    --test sabotage --test planted --test planted_schedules --test planted_small --test planted_network)
# These only compute; the others wait most of the time, for HAProxy, an API server or a bound, and
# leave the processors to them. `model_matches_haproxy` does both.
mapfile -t computing < <(tests_in proptests/tests/*.rs sim/tests/*.rs)
# These wait most of all, on each version of HAProxy for as long: all versions at once.
unhurried=(--test=attach --test=families --test=http3)
mapfile -t waiting < <(tests_in adapters/tests/*.rs adapters/tests/*/main.rs core/tests/*.rs sim/tests/*/main.rs)
cargo test --workspace --locked --no-run
log=$(mktemp)
{
    nice -n 19 cargo test --workspace --locked "${computing[@]}"
    # Built while the others run. What goes wrong here goes wrong again below, and is seen there.
    nice -n 19 "${planted[@]}" --no-run || true
} >"$log" 2>&1 &
beside=$!
trap 'kill $beside 2>/dev/null || true; rm -f "$log"' EXIT
cargo test --workspace --locked --lib --bins "${waiting[@]}"
cargo test --workspace --locked "${unhurried[@]}" -- --test-threads=4
cargo test --workspace --locked --doc
failed=0
wait "$beside" || failed=$?
cat "$log"
[ "$failed" = 0 ] || { echo "deploy/test.sh: a test failed, see above" >&2; exit "$failed"; }
TIDEGATE_CASES=1 "${planted[@]}"
