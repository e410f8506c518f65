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
# The tests of the tests: each planted mistake must be caught by the property that promises it away.
# With the workspace's own features, so that no dependency is built once more.
planted=(cargo test --workspace --locked --features tidegate-proptests/sabotage,tidegate-sim/sabotage
    --test sabotage --test planted --test planted_schedules --test planted_network)
cargo test --workspace --locked --no-run
# Those are built while the others run, which wait most of the time. Cargo's lock is free then; the
# pause lets cargo get that far. What goes wrong here goes wrong again below, and is seen there.
{ sleep 20; exec nice -n 19 "${planted[@]}" --no-run; } >/dev/null 2>&1 &
trap 'kill $! 2>/dev/null || true' EXIT
cargo test --workspace --locked
wait || true
TIDEGATE_CASES=1 "${planted[@]}"
