#!/bin/sh
# Makes a Debian trixie the runtime image: HAProxy of a pinned version, tini, and a user without rights.
# Run by the Dockerfile and by check.sh.
#
#   HAPROXY_VERSION=3.4.7 [MIRROR=URL] runtime.sh
set -eu
: "${HAPROXY_VERSION:?}"
# Where this Debian gets its own packages, unless another is named. Comments may name others.
mirror=${MIRROR:-$(cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null |
    sed '/^#/d' | grep -Eo 'https?://[^ ]+' | head -1)}
[ -n "$mirror" ] || { echo "runtime.sh: no Debian mirror in /etc/apt: set MIRROR" >&2; exit 1; }

# HAProxy 3.4 is in experimental. Nothing else comes from there or from sid but the libraries it needs.
cat >/etc/apt/sources.list.d/sid.sources <<SOURCES
Types: deb
URIs: $mirror
Suites: sid experimental
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
cat >/etc/apt/preferences.d/sid <<PREFERENCES
Package: *
Pin: release n=sid
Pin-Priority: 100

Package: *
Pin: release a=experimental
Pin-Priority: 1
PREFERENCES
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
version=$(apt-cache madison haproxy | awk -F'|' -v v="$HAPROXY_VERSION" '{ gsub(/ /, "", $2) } index($2, v "-") == 1 { print $2; exit }')
if [ -z "$version" ]; then
    echo "runtime.sh: the mirror has no HAProxy $HAPROXY_VERSION: set HAPROXY_VERSION to what it has, or MIRROR to a snapshot" >&2
    apt-cache madison haproxy >&2
    exit 1
fi
apt-get -q -y --no-install-recommends install tini "haproxy=$version" -t sid
haproxy -v

# The configuration is tidegate's; nothing of the package's may be started by accident.
rm -rf /etc/haproxy /var/lib/haproxy
echo 'tidegate:x:10001:10001::/nonexistent:/usr/sbin/nologin' >>/etc/passwd
echo 'tidegate:x:10001:' >>/etc/group
mkdir -p /var/lib/tidegate /var/lib/tidegate-journal
chown 10001:10001 /var/lib/tidegate /var/lib/tidegate-journal
chmod 0700 /var/lib/tidegate /var/lib/tidegate-journal

rm -rf /etc/apt/sources.list.d/sid.sources /etc/apt/preferences.d/sid /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
