{{/* The rules, by where they hold. */}}

{{/* Objects without namespace. */}}
{{- define "tidegate.rules.cluster" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [get, list, watch]
{{- if .Values.scope.namespaceLabels }}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end }}
{{- if or .Values.publish.nodes (eq .Values.reach "node-ports") }}
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
{{- end }}
{{- end -}}

{{/* Objects in the namespaces that are watched. */}}
{{- define "tidegate.rules.watched" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Objects in tidegate's own namespace. */}}
{{- define "tidegate.rules.own" -}}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "tidegate.fullname" . }}]
  verbs: [get, list, watch]
# Creation cannot be granted by name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "tidegate.lease" . }}]
  verbs: [get, update]
{{- end -}}
