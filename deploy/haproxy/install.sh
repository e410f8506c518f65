#!/usr/bin/env bash
#
# Put several HAProxy branches side by side on a Debian machine, without disturbing it.
#
#   install.sh [--to DIR] [--force] [VERSION...]
#
#   VERSION   one or more of 2.6 3.0 3.2 3.4 (default: all four)
#   --to DIR  target folder (default ${TIDEGATE_HAPROXY_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/haproxy})
#   --force   fetch again even when a working binary is there (takes the newest of the branch)
#
# Result: DIR/<branch>/haproxy, with its own libraries below DIR/<branch>/sysroot.
#
# How it works, and the traps it avoids:
#  * Binaries are the distribution's own builds. No HAProxy package is ever *installed*: the .debs are downloaded and
#    unpacked, and so are the libraries they need (libc included), into a private sysroot per branch.
#  * The binary is patched (patchelf) to use the sysroot's loader and libraries. Running it through
#    "ld.so --library-path" instead would break the master's re-exec of itself (/proc/self/exe would be ld.so).
#    DT_RPATH (--force-rpath) rather than DT_RUNPATH, since only the former also serves the libraries' own dependencies.
#  * Newer suites are only known to a *private* apt root in a temporary folder. /etc/apt, /var/lib/apt and
#    /var/cache/apt stay as they are. Mirror and keyring are those of the host's own sources.
#  * An index may list a version whose file the pool no longer (or not yet) has: the candidates of a branch are tried
#    from the newest to the oldest.
#  * No network at all is used when every wanted binary is already there and runs.

set -euo pipefail

ALL_BRANCHES="2.6 3.0 3.2 3.4"
# Below this the dynamic-backend commands of 3.4 may crash (races of "del backend" with the show commands).
MIN_34="3.4.7"

say()  { printf '%s\n' "install.sh: $*" >&2; }
die()  { printf '%s\n' "install.sh: ERROR: $*" >&2; exit 1; }

# Suites where a branch may be found, in order of preference. One private apt root per family, so that libraries
# are always taken from the same family as the binary.
families_of() {
    case "$1" in
        2.6) echo "bookworm" ;;
        3.0) echo "trixie sid" ;;
        3.2) echo "sid trixie" ;;
        3.4) echo "sid" ;;
        *)   die "unknown version '$1' (known: $ALL_BRANCHES)" ;;
    esac
}

# ---- arguments ----------------------------------------------------------------------------------------------------

to="" force=0 branches=""
while [ $# -gt 0 ]; do
    case "$1" in
        --to)      [ $# -ge 2 ] || die "--to needs a folder"; to=$2; shift ;;
        --to=*)    to=${1#--to=} ;;
        --force)   force=1 ;;
        -h|--help) sed -n '3,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*)        die "unknown option '$1'" ;;
        *)         families_of "$1" >/dev/null; branches="$branches $1" ;;
    esac
    shift
done
branches=${branches:-$ALL_BRANCHES}
if [ -z "$to" ]; then
    to=${TIDEGATE_HAPROXY_DIR:-${XDG_CACHE_HOME:-${HOME:?HOME is not set, use --to}/.cache}/tidegate/haproxy}
fi
mkdir -p "$to"
to=$(cd "$to" && pwd -P)     # absolute: it is written into the binaries

# ---- one run at a time --------------------------------------------------------------------------------------------

command -v flock >/dev/null || die "flock (util-linux) is missing"
exec 9>"$to/.lock"
if ! flock -n 9; then
    say "another run is busy in $to, waiting"
    flock -w 900 9 || die "gave up waiting for the lock $to/.lock"
fi

# ---- helpers ------------------------------------------------------------------------------------------------------

# Version number printed by a binary, or nothing when it does not run.
binary_version() {
    [ -x "$1" ] || return 0
    "$1" -v 2>/dev/null | sed -n '1s/^HA-\{0,1\}Proxy version \([0-9][0-9.]*\).*/\1/p' || true
}

# True when the branch is there and runs.
installed() {
    local v; v=$(binary_version "$to/$1/haproxy")
    case "$v" in "$1".*) return 0 ;; *) return 1 ;; esac
}

work=""
cleanup() { [ -z "$work" ] || rm -rf "$work"; rm -rf "$to"/.stage.*; }
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Print "KIND URI KEYRING" for the host's own Debian sources; KIND is main or security. Both formats, deb822 (*.sources) and
# one-line (*.list). Only stanzas for a Debian release count: third party repositories must not be taken for the mirror.
host_sources() {
    local f
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -e "$f" ] || continue
        # A deb822 stanza ends at an empty line; comments may stand anywhere.
        sed -e '/^#/d' "$f" | awk '
            function flush(   i, n, u, s, kind) {
                if (types ~ /(^| )deb( |$)/ && enabled != "no" && comps ~ /(^| )main( |$)/) {
                    kind = (suites ~ /-security/) ? "security" : "main"
                    n = split(uris, u, " ")
                    if (suites ~ /(bookworm|trixie|forky|sid|stable|testing|unstable)/)
                        for (i = 1; i <= n; i++) print kind, u[i], (key ~ /^\// ? key : "-")
                }
                types = uris = suites = comps = key = enabled = ""
            }
            /^[[:space:]]*$/ { flush(); next }
            tolower($1) == "types:"      { $1 = ""; types = $0 }
            tolower($1) == "uris:"       { $1 = ""; uris = $0 }
            tolower($1) == "suites:"     { $1 = ""; suites = $0 }
            tolower($1) == "components:" { $1 = ""; comps = $0 }
            tolower($1) == "enabled:"    { enabled = $2 }
            tolower($1) == "signed-by:"  { key = $2 }
            END { flush() }'
    done
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$f" ] || continue
        awk '$1 == "deb" {
            key = "-"; i = 2
            if ($2 ~ /^\[/) {
                for (; i <= NF; i++) {
                    o = $i; gsub(/[][]/, "", o)
                    if (o ~ /^signed-by=/) key = substr(o, 11)
                    if ($i ~ /\]$/) { i++; break }
                }
            }
            if ($(i+1) !~ /^(bookworm|trixie|forky|sid|stable|testing|unstable)/) next
            for (c = i + 2; c <= NF; c++)
                if ($c == "main") { print ($(i+1) ~ /-security/ ? "security" : "main"), $i, key; break }
        }' "$f"
    done
}

# Create the private apt root of a family once; later calls are free.
apt_root() {
    local family=$1 root=$work/apt-$1 kind uri key keyring seen=""
    [ -e "$root/ready" ] && return 0
    mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial" "$root/sources.d" "$root/empty.d"
    : >"$root/status"         # an empty dpkg status: what the host has installed is irrelevant here
    : >"$root/none"
    while read -r kind uri key; do
        case "$seen" in *" $kind|$uri "*) continue ;; esac
        seen="$seen $kind|$uri "
        # The archive keyring proper knows all releases; the one named by the host's sources is the second choice.
        keyring=/usr/share/keyrings/debian-archive-keyring.gpg
        [ -r "$keyring" ] || keyring=$key
        printf 'Types: deb\nURIs: %s\n' "$uri"
        case "$family/$kind" in
            sid/main)      printf 'Suites: sid experimental\n' ;;
            */main)        printf 'Suites: %s\n' "$family" ;;
            sid/security)  printf 'Enabled: no\nSuites: sid\n' ;;
            */security)    printf 'Suites: %s-security\n' "$family" ;;
        esac
        printf 'Components: main\n'
        [ "$keyring" = "-" ] || printf 'Signed-By: %s\n' "$keyring"
        printf '\n'
    done < <(host_sources) >"$root/sources.d/private.sources"
    [ -s "$root/sources.d/private.sources" ] || die "no Debian mirror found in the host's /etc/apt sources"
    # The host's apt.conf.d, proxies and auth.conf stay in force; only the places below are replaced.
    cat >"$root/apt.conf" <<CONF
Dir::Etc::sourcelist "$root/none";
Dir::Etc::sourceparts "$root/sources.d";
Dir::Etc::preferences "$root/none";
Dir::Etc::preferencesparts "$root/empty.d";
Dir::State "$root/state";
Dir::State::status "$root/status";
Dir::Cache "$root/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
APT::Sandbox::User "root";
CONF
    say "reading the package index of $family"
    if ! papt "$family" apt-get -qq -o Acquire::Retries=3 update >"$root/update.log" 2>&1; then
        sed 's/^/    /' "$root/update.log" >&2
        say "cannot read the package index of $family"
        return 1
    fi
    : >"$root/ready"
}

# An apt tool inside the private root of a family: papt FAMILY TOOL ARGUMENT...
# The host's apt.conf.d is read after our file. Container images often switch apt's binary cache off there, which makes every
# call parse the whole index again (seconds for sid): only the command line has the last word.
papt() {
    local family=$1 tool=$2; shift 2
    APT_CONFIG=$work/apt-$family/apt.conf "$tool" \
        -o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=srcpkgcache.bin "$@"
}

# All versions of a branch in a family, newest first.
candidates() {
    papt "$1" apt-cache madison haproxy 2>/dev/null | awk -F'|' '{ gsub(/ /, "", $2); print $2 }' |
        awk -v b="$2." 'index($0, b) == 1 && !seen[$0]++' |
        while read -r v; do printf '%s\n' "$v"; done | sort -rV
}

# Names of the library packages (lib*) in a Depends field read from stdin; the first of alternatives is taken.
lib_names() { tr ',' '\n' | sed -e 's/|.*//' -e 's/(.*//' -e 's/:any//' -e 's/[[:space:]]//g' | grep '^lib' || true; }

# Unpack all libraries which the haproxy .deb needs, transitively, into a sysroot.
unpack_libraries() {
    local family=$1 deb=$2 sysroot=$3 todo="" done_=" " p f pool=$work/pool-$1
    mkdir -p "$pool"
    todo=$(dpkg-deb -f "$deb" Pre-Depends Depends | sed 's/^\(Pre-\)\{0,1\}Depends://' | lib_names)
    while [ -n "$todo" ]; do
        local next=""
        for p in $todo; do
            case "$done_" in *" $p "*) continue ;; esac
            done_="$done_$p "
            f=$(find "$pool" -name "${p}_*.deb" -print -quit)
            if [ -z "$f" ]; then
                (cd "$pool" && papt "$family" apt-get -qq download "$p") >>"$work/download.log" 2>&1 || {
                    say "cannot download $p from $family"; tail -n 3 "$work/download.log" >&2; return 1; }
                f=$(find "$pool" -name "${p}_*.deb" -print -quit)
            fi
            dpkg-deb -x "$f" "$sysroot"
            next="$next $(dpkg-deb -f "$f" Pre-Depends Depends | sed 's/^\(Pre-\)\{0,1\}Depends://' | lib_names)"
        done
        todo=$(printf '%s' "$next" | tr -d ' \n')
        [ -z "$todo" ] || todo=$next
    done
}

# Build DIR/.stage.<branch> from one version, and move it to DIR/<branch>.
install_version() {
    local branch=$1 family=$2 version=$3 stage=$to/.stage.$1 final=$to/$1 deb interp loader rpath d
    rm -rf "$stage" "$work/deb"; mkdir -p "$stage/sysroot" "$work/deb"
    (cd "$work/deb" && papt "$family" apt-get -qq download "haproxy=$version") >>"$work/download.log" 2>&1 || {
        say "haproxy $version is in the index of $family but cannot be downloaded"; return 1; }
    deb=$(find "$work/deb" -name 'haproxy_*.deb' -print -quit)
    unpack_libraries "$family" "$deb" "$stage/sysroot" || return 1
    dpkg-deb -x "$deb" "$work/deb/x"
    cp "$work/deb/x/usr/sbin/haproxy" "$stage/haproxy"
    # The loader as a regular file: /lib64/ld-linux* in the package is a symlink which may be absolute, hence lead
    # to the host's loader; which would then meet the sysroot's newer libc.
    interp=$(patchelf --print-interpreter "$stage/haproxy")
    loader=$(find "$stage/sysroot" -name "${interp##*/}" -type f -print -quit)
    [ -n "$loader" ] || { say "no ${interp##*/} in the libraries of $version"; return 1; }
    # Every folder with libraries, lib and usr/lib alike (older suites are not merged).
    rpath=""
    while read -r d; do rpath="$rpath:$final/sysroot/$d"; done < <(
        cd "$stage/sysroot" && find . -name 'lib*.so*' -printf '%h\n' | sort -u |
            grep -E '^\./(usr/)?lib(64|/[^/]+)?$' | sed 's|^\./||')
    # What is not needed at run time: documentation, locales, character set tables.
    rm -rf "$stage/sysroot/usr/share" "$stage/sysroot/etc" "$stage/sysroot/usr/bin" "$stage/sysroot/usr/sbin"
    find "$stage/sysroot" -type d \( -name gconv -o -name perl5 \) -prune -exec rm -rf {} +
    patchelf --set-interpreter "$final/sysroot/${loader#"$stage/sysroot/"}" \
             --set-rpath "${rpath#:}" --force-rpath "$stage/haproxy"
    printf '%s %s\n' "$version" "$family" >"$stage/source"
    # The paths inside are those of the final place, so it can only be tried there; the old one is kept until it runs.
    rm -rf "$to/.old.$branch"
    [ ! -e "$final" ] || mv "$final" "$to/.old.$branch"
    mv "$stage" "$final"
    if installed "$branch"; then
        rm -rf "$to/.old.$branch"
        return 0
    fi
    say "haproxy $version does not run:"; "$final/haproxy" -v 2>&1 | sed 's/^/    /' >&2 || true
    rm -rf "$final"
    [ ! -e "$to/.old.$branch" ] || mv "$to/.old.$branch" "$final"
    return 1
}

# Fallback: the host's own binary when it is of that branch. It runs with the host's libraries, unpatched.
install_from_host() {
    local branch=$1 v
    v=$(binary_version /usr/sbin/haproxy)
    case "$v" in "$branch".*) ;; *) return 1 ;; esac
    rm -rf "${to:?}/$branch"; mkdir -p "$to/$branch"
    cp /usr/sbin/haproxy "$to/$branch/haproxy"
    printf '%s host\n' "$v" >"$to/$branch/source"
    installed "$branch"
}

# patchelf is the only thing ever installed on the host.
need_patchelf() {
    command -v patchelf >/dev/null && return 0
    [ "$(id -u)" = 0 ] || die "patchelf is missing and can only be installed as root: run 'apt-get install patchelf'"
    say "installing patchelf"
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install patchelf >"$work/patchelf.log" 2>&1 || {
        # Empty indexes in a fresh container: read the host's own ones, then once more.
        apt-get -qq update >>"$work/patchelf.log" 2>&1 || true
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install patchelf >>"$work/patchelf.log" 2>&1
    } || { cat "$work/patchelf.log" >&2; die "cannot install patchelf"; }
}

# ---- main ---------------------------------------------------------------------------------------------------------

install_branch() {
    local branch=$1 family version
    for family in $(families_of "$branch"); do
        apt_root "$family" || continue
        for version in $(candidates "$family" "$branch"); do
            say "fetching haproxy $version from $family"
            install_version "$branch" "$family" "$version" && return 0
        done
    done
    install_from_host "$branch" && return 0
    return 1
}

failed=""
for branch in $branches; do
    if [ "$force" = 0 ] && installed "$branch"; then continue; fi
    if [ -z "$work" ]; then
        for tool in apt-get apt-cache dpkg-deb awk; do
            command -v "$tool" >/dev/null || die "$tool is missing: this script needs a Debian machine"
        done
        work=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-haproxy.XXXXXX")
        need_patchelf
    fi
    install_branch "$branch" || failed="$failed $branch"
done

for branch in $branches; do
    installed "$branch" || continue
    v=$(binary_version "$to/$branch/haproxy")
    if [ "$branch" = 3.4 ] && [ "$(printf '%s\n%s\n' "$MIN_34" "$v" | sort -V | head -n 1)" != "$MIN_34" ]; then
        {
            echo "***********************************************************************************"
            echo "*** WARNING: HAProxy $v is older than $MIN_34: its run-time backends are not safe."
            echo "*** Tests of the 3.4 tier may crash it. Try '$0 --force 3.4' when a newer one is out."
            echo "***********************************************************************************"
        } >&2
    fi
    printf '%s %s: %s\n' "$branch" "$to/$branch/haproxy" "$("$to/$branch/haproxy" -v | head -n 1)"
done

[ -z "$failed" ] || die "could not be had:$failed (see the messages above)"
