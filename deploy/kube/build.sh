#!/usr/bin/env bash
#
# Build the kube-apiserver and the etcd that the cluster tests run against, from Go modules.
#
#   build.sh [--to DIR] [--force]
#
#   --to DIR  target folder (default ${TIDEGATE_KUBE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/kube})
#   --force   build again even when working binaries are there
#
# Result: DIR/<version of Kubernetes>/{kube-apiserver,etcd}, static binaries that need nothing else. The versions are those
# of apiserver/go.mod and etcd/go.mod next to this script; go.sum pins every byte of source.
#
# Cost on two cores: etcd 40 s, kube-apiserver 6 to 7 min and 2 GB of memory when nothing is cached (1.3 GB of module
# sources, 3 GB of build cache); 15 s when Go's build cache is warm; nothing when the binaries are there and run.

set -euo pipefail

say() { printf '%s\n' "build.sh: $*" >&2; }
die() { printf '%s\n' "build.sh: ERROR: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd -P)

to="" force=0
while [ $# -gt 0 ]; do
    case "$1" in
        --to)      [ $# -ge 2 ] || die "--to needs a folder"; to=$2; shift ;;
        --to=*)    to=${1#--to=} ;;
        --force)   force=1 ;;
        -h|--help) sed -n '3,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *)         die "unknown argument '$1'" ;;
    esac
    shift
done
if [ -z "$to" ]; then
    to=${TIDEGATE_KUBE_DIR:-${XDG_CACHE_HOME:-${HOME:?HOME is not set, use --to}/.cache}/tidegate/kube}
fi

# The version that a go.mod requires of a module.
required() { sed -n "s|^\(require \)\{0,1\}[[:space:]]*$2 v\([0-9.]*\).*|\2|p" "$1/go.mod" | head -n 1; }

kubernetes=$(required "$here/apiserver" k8s.io/kubernetes)
etcd=$(required "$here/etcd" go.etcd.io/etcd/server/v3)
[ -n "$kubernetes" ] && [ -n "$etcd" ] || die "cannot read the versions from go.mod"
go_wanted=$(sed -n 's/^go \([0-9.]*\)$/\1/p' "$here/apiserver/go.mod")
bin=$to/$kubernetes

has_apiserver() { [ "$("$bin/kube-apiserver" --version 2>/dev/null)" = "Kubernetes v$kubernetes" ]; }
has_etcd()      { [ "$("$bin/etcd" --version 2>/dev/null | sed -n '1s/^etcd Version: //p')" = "$etcd" ]; }

mkdir -p "$bin"
command -v flock >/dev/null || die "flock (util-linux) is missing"
exec 9>"$to/.lock"
if ! flock -n 9; then
    say "another build is busy in $to, waiting"
    flock -w 1800 9 || die "gave up waiting for the lock $to/.lock"
fi

need_go() {
    command -v go >/dev/null || die "Go is missing: install Go $go_wanted or later (https://go.dev/dl). The cluster tests \
need a real kube-apiserver, which is built from source; everything else works without Go"
    local have; have=$(go env GOVERSION | sed 's/^go//')
    [ "$(printf '%s\n%s\n' "$go_wanted" "$have" | sort -V | head -n 1)" = "$go_wanted" ] ||
        die "Go $have is too old: install Go $go_wanted or later (https://go.dev/dl)"
}

# build NAME MODULE-FOLDER PACKAGE LDFLAGS: a static binary, moved into place when it is whole.
build() {
    local name=$1 module=$2 package=$3 ldflags=$4 begin=$SECONDS
    need_go
    say "$name: fetching and compiling; the first time takes minutes"
    (cd "$here/$module" && CGO_ENABLED=0 go build -v -trimpath -buildvcs=false -ldflags "-s -w $ldflags" \
        -o "$bin/.$name.new" "$package") 2>&1 | awk -v name="$name" '
            /^go: downloading / {
                if (++fetched % 50 == 0) { print "build.sh: " name ": " fetched " modules fetched"; fflush() }
                next
            }
            /^[a-z0-9.]+(\/[A-Za-z0-9._~-]+)*$/ {
                if (++count % 200 == 0) { print "build.sh: " name ": " count " packages compiled"; fflush() }
                next
            }
            { print; fflush() }' >&2 || die "$name: the build failed (see above)"
    mv "$bin/.$name.new" "$bin/$name"
    say "$name: done in $((SECONDS - begin)) s"
}

if [ "$force" = 1 ] || ! has_etcd; then
    build etcd etcd go.etcd.io/etcd/server/v3 ""
fi
if [ "$force" = 1 ] || ! has_apiserver; then
    stamp=k8s.io/component-base/version
    minor=${kubernetes#*.}; minor=${minor%%.*}
    build kube-apiserver apiserver k8s.io/kubernetes/cmd/kube-apiserver "-X $stamp.gitVersion=v$kubernetes \
-X $stamp.gitMajor=${kubernetes%%.*} -X $stamp.gitMinor=$minor -X $stamp.gitTreeState=clean"
fi
has_etcd || die "$bin/etcd does not run, or is not $etcd"
has_apiserver || die "$bin/kube-apiserver does not run, or is not $kubernetes"
printf 'kube-apiserver %s, etcd %s: %s\n' "$kubernetes" "$etcd" "$bin"
