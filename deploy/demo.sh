#!/usr/bin/env bash
#
# Show tidegate at work: install what is missing, build, run the demo.
#
#   demo.sh [OPTION...]     options of `tidegate demo`: --quick, --stay, --keep, --output json
#
# Needs a Debian machine and cargo. HAProxy goes into a folder of the user's cache; nothing on the
# machine is replaced.

set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || {
    echo "demo.sh: cargo is missing; https://rustup.rs installs it" >&2
    exit 3
}
if [ -z "${TIDEGATE_HAPROXY:-}" ]; then
    deploy/haproxy/install.sh 3.4
fi
cargo build --release --package tidegate
exec "${CARGO_TARGET_DIR:-target}/release/tidegate" demo "$@"
