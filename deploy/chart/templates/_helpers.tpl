{{/* Names, labels, images and the flags of `tidegate run`. */}}

{{- define "tidegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "tidegate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "tidegate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "tidegate.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: {{ include "tidegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidegate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "tidegate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.imageOf" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}

{{- define "tidegate.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- include "tidegate.imageOf" (dict "repository" .Values.image.repository "tag" $tag "digest" .Values.image.digest) -}}
{{- end -}}

{{/* Image of the sidecar: tidegate's own unless another is named. */}}
{{- define "tidegate.haproxyImage" -}}
{{- if .Values.haproxy.image.repository -}}
{{- if not (or .Values.haproxy.image.tag .Values.haproxy.image.digest) -}}
{{- fail "haproxy.image.repository needs a tag or a digest" -}}
{{- end -}}
{{- include "tidegate.imageOf" .Values.haproxy.image -}}
{{- else -}}
{{- include "tidegate.image" . -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.stateDir" -}}/var/lib/tidegate{{- end -}}

{{- define "tidegate.lease" -}}{{ include "tidegate.fullname" . }}-leader{{- end -}}

{{/* What does not fit together, said before anything is installed. */}}
{{- define "tidegate.validate" -}}
{{- if .Values.hostNetwork -}}
{{- range $name, $port := .Values.ports -}}
{{- if and (gt (int $port) 0) (lt (int $port) 1024) -}}
{{- fail (printf "ports.%s is %d: with hostNetwork ports must be 1024 or above, as tidegate runs without capabilities. Use hostPorts for 80 and 443" $name (int $port)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.hostPorts.enabled -}}
{{- fail "hostNetwork and hostPorts exclude each other" -}}
{{- end -}}
{{- end -}}
{{- if and (gt (int .Values.ports.quic) 0) (eq (int .Values.ports.https) 0) -}}
{{- fail "ports.quic needs ports.https: answers over HTTPS are what tells of HTTP/3" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (ne .Values.mode "Deployment") -}}
{{- fail "autoscaling needs mode Deployment" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas" -}}
{{- end -}}
{{- if and .Values.scope.namespaces .Values.scope.namespaceLabels -}}
{{- fail "scope.namespaces and scope.namespaceLabels exclude each other" -}}
{{- end -}}
{{- if and .Values.publish.nodes .Values.publish.addresses -}}
{{- fail "publish.nodes and publish.addresses exclude each other" -}}
{{- end -}}
{{- if and (eq .Values.mode "External") (or .Values.metrics.podMonitor.enabled .Values.metrics.serviceMonitor.enabled) -}}
{{- fail "with mode External there is nothing in the cluster to scrape" -}}
{{- end -}}
{{- if and .Values.metrics.podMonitor.enabled .Values.metrics.serviceMonitor.enabled -}}
{{- fail "metrics.podMonitor and metrics.serviceMonitor would scrape everything twice; enable one" -}}
{{- end -}}
{{- end -}}

{{/* The flags of `tidegate run`. */}}
{{- define "tidegate.flags" -}}
- --state-dir={{ include "tidegate.stateDir" . }}
- --cluster
{{- range .Values.scope.namespaces }}
- --namespace={{ . }}
{{- end }}
{{- range $key, $value := .Values.scope.namespaceLabels }}
- --namespace-selector={{ $key }}={{ $value }}
{{- end }}
{{- if not .Values.scope.ingressClasses }}
- --no-ingress-classes
{{- end }}
{{- if not .Values.scope.customResources }}
- --no-custom-resources
{{- end }}
- --absence-percent-max={{ int .Values.absence.percentMax }}
- --absence-count-max={{ int .Values.absence.countMax }}
- --absence-hold={{ .Values.absence.hold }}
{{- if ne .Values.reach "pods" }}
- --reach={{ .Values.reach }}
{{- end }}
- --controller-name={{ .Values.controllerName }}
- --ingress-class={{ .Values.ingressClass.name }}
{{- if .Values.watchClassless }}
- --watch-classless
{{- end }}
- --configmap={{ .Release.Namespace }}/{{ include "tidegate.fullname" . }}
{{- with .Values.errorFiles }}
- --configmap-errorfiles={{ $.Release.Namespace }}/{{ . }}
{{- end }}
{{- range .Values.patternFiles }}
- --configmap-patternfiles={{ $.Release.Namespace }}/{{ . }}
{{- end }}
{{- range .Values.snippetNamespaces }}
- --snippet-namespaces={{ . }}
{{- end }}
{{- if or .Values.tcp.ports .Values.tcp.services }}
- --configmap-tcp-services={{ .Release.Namespace }}/{{ include "tidegate.fullname" . }}-tcp
{{- end }}
{{- with .Values.tcp.ports }}
- --tcp-ports={{ . }}
{{- end }}
{{- with .Values.defaultCertificate }}
- --default-certificate={{ . }}
{{- end }}
{{- with .Values.defaultBackend }}
- --default-backend={{ . }}
{{- end }}
{{- if .Values.externalNames }}
- --external-names
{{- end }}
{{- if .Values.publish.nodes }}
- --publish-nodes
{{- else if .Values.publish.addresses }}
{{- range .Values.publish.addresses }}
- --publish-address={{ . }}
{{- end }}
{{- else if and .Values.publish.service .Values.service.enabled }}
- --publish-service={{ .Release.Namespace }}/{{ include "tidegate.fullname" . }}
{{- end }}
{{- if not .Values.events }}
- --no-events
{{- end }}
- --lease={{ .Release.Namespace }}/{{ include "tidegate.lease" . }}
- --identity=$(POD_NAME)
{{- $bind := printf "--bind=%s" (join "," .Values.bind) }}
- {{ if contains ":" $bind }}{{ quote $bind }}{{ else }}{{ $bind }}{{ end }}
- --http-port={{ int .Values.ports.http }}
- --https-port={{ int .Values.ports.https }}
{{- if gt (int .Values.ports.quic) 0 }}
- --quic-port={{ int .Values.ports.quic }}
{{- if .Values.hostPorts.enabled }}
- --quic-announce-port={{ int .Values.hostPorts.quic }}
{{- else if .Values.service.enabled }}
- --quic-announce-port={{ int .Values.service.quicPort }}
{{- end }}
{{- end }}
- --stats-port=0
- --admin-bind=0.0.0.0:{{ int .Values.ports.admin }}
- --threads={{ int .Values.haproxy.threads }}
- --maxconn={{ int .Values.haproxy.maxconn }}
- --hard-stop-after={{ .Values.haproxy.hardStopAfter }}
{{- with .Values.haproxy.accessLog }}
- --access-log={{ . }}
{{- end }}
{{- if eq .Values.topology "sidecar" }}
- --attach={{ include "tidegate.stateDir" . }}/run/worker.sock
- --master={{ include "tidegate.stateDir" . }}/run/master.sock
{{- if .Values.haproxy.image.repository }}
# Another image may have another version: what is checked ahead must be what runs, or nothing.
- --haproxy=/nonexistent
{{- end }}
{{- end }}
- --drain-delay={{ int .Values.drain.delaySeconds }}s
- --stop-within={{ int .Values.drain.stopWithinSeconds }}s
- --log-format={{ .Values.log.format }}
- --log={{ .Values.log.filter }}
{{- if .Values.journal.enabled }}
- --journal-dir=/var/lib/tidegate-journal
- --journal-max={{ .Values.journal.size }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}
