#!/usr/bin/env bash
#
# Tries the runtime image without a container engine: makes its root file system with runtime.sh, then runs
# tidegate in it as the image does: as 10001, without capabilities, everything but the state folder read-only.
#
#   [MIRROR=URL] check.sh TIDEGATE        TIDEGATE is the executable to put into the image
#
# Needs root, mmdebstrap and a Debian mirror. Ports 18080 to 18082 of loopback must be free in a new network namespace,
# which they are.
set -euo pipefail
binary=$(realpath "${1:?the executable of tidegate}")
here=$(cd "$(dirname "$0")" && pwd -P)
command -v mmdebstrap >/dev/null || { echo "check.sh: mmdebstrap is missing" >&2; exit 3; }
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT

version=$(sed -n 's/^ARG HAPROXY_VERSION=//p' "$here/Dockerfile")
mmdebstrap --quiet --variant=minbase --include=ca-certificates trixie "$root" ${MIRROR:+"$MIRROR"}
cp "$here/runtime.sh" "$root/runtime.sh"
[ ! -e /etc/apt/apt.conf.d ] || cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
cp /etc/resolv.conf "$root/etc/resolv.conf"
HAPROXY_VERSION=$version MIRROR=${MIRROR:-} chroot "$root" /bin/sh /runtime.sh >"$root/build.log" 2>&1 ||
    { tail -20 "$root/build.log" >&2; exit 1; }
install -m 0755 "$binary" "$root/usr/local/bin/tidegate"
mkdir -p "$root/manifests"
cp "$here"/../examples/manifests/*.yaml "$root/manifests/"

# In the image: nothing to write to but the state folder, nothing to gain, nobody to be.
cat >"$root/inside.sh" <<'INSIDE'
set -eu
fail() { echo "check.sh: $*" >&2; tail -20 /var/lib/tidegate/log >&2 || true; exit 1; }
[ "$(id -u):$(id -g)" = 10001:10001 ] || fail "runs as $(id)"
grep -q '^CapEff:\s*0000000000000000$' /proc/self/status || fail "has capabilities"
! (: >/usr/local/bin/x) 2>/dev/null || fail "the root can be written to"
! (: >/tmp/x) 2>/dev/null || fail "/tmp can be written to"
cd /var/lib/tidegate
/usr/bin/tini -- /usr/local/bin/tidegate run --manifests /manifests --http-port 18080 --https-port 18081 \
    --admin-bind 127.0.0.1:18082 --drain-delay 200ms --stop-within 1s >log 2>&1 &
tini=$!
ask() { (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$2" "$3" >&3 && head -1 <&3) 2>/dev/null; }
for _ in $(seq 200); do case "$(ask 18082 /readyz x)" in *200*) break ;; esac; sleep 0.1; done
case "$(ask 18082 /readyz x)" in *200*) ;; *) fail "is not ready" ;; esac
case "$(ask 18080 / nobody.example)" in *404*) ;; *) fail "HAProxy does not answer: $(ask 18080 / nobody.example)" ;; esac
[ "$(stat -c %a run/worker.sock)" = 600 ] || fail "the worker's socket is open to others"
kill -TERM $tini
wait $tini || fail "ended with $?"
[ -z "$(ls /proc | grep -E '^[0-9]+$' | while read -r p; do [ "$(cat "/proc/$p/comm" 2>/dev/null)" = haproxy ] && echo "$p"; done)" ] ||
    fail "HAProxy is left behind"
echo "check.sh: ready as 10001, read-only, without capabilities; HAProxy $(haproxy -v | sed -n '1s/.*version \([^ ]*\).*/\1/p'); clean end"
INSIDE
unshare --mount --pid --fork --net --mount-proc bash -euc '
    ip link set lo up
    mount --bind "$0" "$0"
    mount --bind "$0/var/lib/tidegate" "$0/var/lib/tidegate"
    mount -t tmpfs -o size=64m,mode=0700,uid=10001,gid=10001 tmpfs "$0/var/lib/tidegate"
    mount -t proc proc "$0/proc"
    mount --bind /dev "$0/dev"
    mount -o remount,bind,ro "$0"
    exec chroot --userspec=10001:10001 --groups= "$0" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        TIDEGATE_STATE_DIR=/var/lib/tidegate TIDEGATE_HAPROXY=/usr/sbin/haproxy \
        setpriv --no-new-privs /bin/bash /inside.sh
' "$root"
