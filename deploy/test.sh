#!/usr/bin/env bash
# Runs every test. Installs what the tests need and the machine lacks: the HAProxy versions they
# run against (into a folder of their own; see deploy/haproxy/install.sh).
#
#   deploy/test.sh
#
# TIDEGATE_CASES scales the property tests (12 makes more than 100,000 cases);
# TIDEGATE_HAPROXY_DIR says where HAProxy is or goes.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || { echo "deploy/test.sh: cargo is missing: install Rust 1.90 or later" >&2; exit 3; }
# HAProxy takes a descriptor per connection; the soft limit of a login shell is small.
ulimit -n "$(ulimit -Hn)" || true
deploy/haproxy/install.sh
cargo test --workspace --locked
# The tests of the tests: each planted mistake must be caught by the property that promises it away.
cargo test --locked -p tidegate-proptests --features sabotage --test sabotage
