#!/usr/bin/env bash
#
# Render the plain manifests from the chart, and put the monitoring files where the chart finds them.
#
#   render.sh [--to DIR]      default: deploy/manifests; a test renders elsewhere and compares
#
# Needs helm (install-helm.sh).
set -euo pipefail
chart=$(cd "$(dirname "$0")" && pwd -P)
to=$chart/../manifests
while [ $# -gt 0 ]; do
    case "$1" in
        --to) to=${2:?--to needs a folder}; shift ;;
        *)    printf '%s\n' "render.sh: unknown option '$1'" >&2; exit 2 ;;
    esac
    shift
done
helm=${TIDEGATE_HELM_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/helm}/helm
[ -x "$helm" ] || { printf '%s\n' "render.sh: no helm at $helm: run deploy/chart/install-helm.sh" >&2; exit 3; }
mkdir -p "$to"

if [ "$to" = "$chart/../manifests" ]; then
    cp "$chart/../monitoring/alerts.yaml" "$chart/../monitoring/dashboard.json" "$chart/files/"
fi

# NAME LEVEL WHAT: values are in ci/manifests/NAME.yaml. LEVEL is the pod security standard that the pods keep to.
render() {
    local name=$1 level=$2 what=$3
    {
        printf '# %s\n# Made from the chart by deploy/chart/render.sh with ci/manifests/%s.yaml; change those.\n' "$what" "$name"
        cat <<YAML
---
apiVersion: v1
kind: Namespace
metadata:
  name: tidegate
  labels:
    pod-security.kubernetes.io/enforce: $level
YAML
        # Nothing of helm stays in what is applied without it.
        "$helm" template tidegate "$chart" --namespace tidegate -f "$chart/ci/manifests/$name.yaml" |
            sed -e '/^# Source: /d' -e '/^ *helm\.sh\/chart: /d' -e '/^ *app\.kubernetes\.io\/managed-by: Helm$/d'
    } >"$to/$name.yaml"
}

render single restricted "Two pods, each one container in which tidegate starts HAProxy, behind a load balancer."
render sidecar restricted "Two pods, each with HAProxy in a container of its own, behind a load balancer."
render daemonset privileged "One pod on each node, HAProxy as a sidecar, at ports 80 and 443 of the nodes."
render external restricted "What a tidegate outside the cluster needs in it: an account with a token, rights, a class, a ConfigMap."
