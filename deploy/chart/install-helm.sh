#!/usr/bin/env bash
#
# Build helm from its Go modules, into a folder of its own, for the chart's tests and for render.sh.
#
#   install-helm.sh [--to DIR] [--force]
#
#   --to DIR  target folder (default ${TIDEGATE_HELM_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/helm})
#   --force   build even when it is there
#
# Result: DIR/helm. Needs Go; no network when the binary is there and of this version.

set -euo pipefail

VERSION=v3.21.4
# The Kubernetes that `helm template` and `helm lint` assume; without it the built binary assumes 1.20.
KUBE_MAJOR=1 KUBE_MINOR=36

say() { printf '%s\n' "install-helm.sh: $*" >&2; }

to="" force=0
while [ $# -gt 0 ]; do
    case "$1" in
        --to)      to=${2:?--to needs a folder}; shift ;;
        --force)   force=1 ;;
        -h|--help) sed -n '3,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *)         say "unknown option '$1'"; exit 2 ;;
    esac
    shift
done
to=${to:-${TIDEGATE_HELM_DIR:-${XDG_CACHE_HOME:-${HOME:?HOME is not set, use --to}/.cache}/tidegate/helm}}
mkdir -p "$to"
exec 9>"$to/.lock"
flock -w 900 9

if [ "$force" = 0 ] && [ "$("$to/helm" version --template '{{.Version}}' 2>/dev/null)" = "$VERSION" ]; then
    exit 0
fi
command -v go >/dev/null || { say "Go is missing: install Go 1.26 or later, or put helm $VERSION at $to/helm"; exit 3; }
say "building helm $VERSION (three minutes on two cores)"
internal=helm.sh/helm/v3/internal/version chartutil=helm.sh/helm/v3/pkg/chartutil lint=helm.sh/helm/v3/pkg/lint/rules
GOBIN=$to GOFLAGS="" go install -trimpath -ldflags "-s -w -X $internal.version=$VERSION \
    -X $chartutil.k8sVersionMajor=$KUBE_MAJOR -X $chartutil.k8sVersionMinor=$KUBE_MINOR \
    -X $lint.k8sVersionMajor=$KUBE_MAJOR -X $lint.k8sVersionMinor=$KUBE_MINOR" \
    "helm.sh/helm/v3/cmd/helm@$VERSION"
say "$("$to/helm" version --short)"
