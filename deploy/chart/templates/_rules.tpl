{{/* The rules, by where they hold. */}}

{{/* Objects without namespace. */}}
{{- define "tidegate.rules.cluster" -}}
# Tells a store that was replaced from one that goes on.
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [list]
{{- if .Values.scope.ingressClasses }}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [list, watch]
{{- end }}
{{- if .Values.scope.namespaceLabels }}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}
{{- if or .Values.publish.nodes (eq .Values.reach "node-ports") }}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end }}
{{- end -}}

{{/* Objects in the namespaces that are watched. */}}
{{- define "tidegate.rules.watched" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# Metadata is watched; only what is referred to is read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
{{- if .Values.scope.customResources }}
# Those of HAProxy Technologies' controller; watched while the API server has them.
- apiGroups: [ingress.v3.haproxy.org]
  resources: [backends, defaults, frontends, globals, tcps]
  verbs: [list, watch]
- apiGroups: [ingress.v1.haproxy.org]
  resources: [backends, defaults, globals, tcps]
  verbs: [list, watch]
{{- end }}
{{- if .Values.events }}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}
{{- end -}}

{{/* Objects in tidegate's own namespace. */}}
{{- define "tidegate.rules.own" -}}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "tidegate.fullname" . }}{{ with .Values.errorFiles }}, {{ . }}{{ end }}{{ range .Values.patternFiles }}, {{ . }}{{ end }}]
  verbs: [list, watch]
{{- if or .Values.tcp.ports .Values.tcp.services }}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "tidegate.fullname" . }}-tcp]
  verbs: [list, watch]
{{- end }}
{{- $published := and .Values.publish.service .Values.service.enabled (ne .Values.mode "External") (not .Values.publish.nodes) (not .Values.publish.addresses) }}
{{- if and $published .Values.scope.namespaces (not (has .Release.Namespace .Values.scope.namespaces)) }}
# Its addresses are published.
- apiGroups: [""]
  resources: [services]
  resourceNames: [{{ include "tidegate.fullname" . }}]
  verbs: [list, watch]
{{- end }}
{{- if and .Values.events .Values.scope.namespaces (not (has .Release.Namespace .Values.scope.namespaces)) }}
# Problems of a kind as a whole are told about the ConfigMap.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}
# Creation cannot be granted by name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "tidegate.lease" . }}]
  verbs: [get, update]
{{- end -}}
