#!/bin/sh
# Builds tidegate for an architecture, on any. Run by the Dockerfile.
#
#   build.sh TARGETARCH OUTPUT       TARGETARCH is amd64 or arm64, as BuildKit names them
set -eu
arch=$1 output=$2
case $arch in
    amd64) triple=x86_64-unknown-linux-gnu gcc=x86-64-linux-gnu ;;
    arm64) triple=aarch64-unknown-linux-gnu gcc=aarch64-linux-gnu ;;
    *) echo "build.sh: unknown architecture $arch" >&2; exit 2 ;;
esac
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
    apt-get -q update
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "gcc-$gcc" "libc6-dev-$arch-cross"
    rustup target add "$triple"
    name=$(echo "$triple" | tr 'a-z-' 'A-Z_')
    linker=$(echo "$triple" | sed 's/-unknown//')-gcc
    export "CARGO_TARGET_${name}_LINKER=$linker" "CC_$(echo "$triple" | tr - _)=$linker"
fi
cargo build --release --locked --package tidegate --target "$triple"
install -D "target/$triple/release/tidegate" "$output"
