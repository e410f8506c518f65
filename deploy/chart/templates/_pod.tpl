{{/* The pod, for Deployment and DaemonSet alike. */}}

{{- define "tidegate.pod" -}}
metadata:
  labels:
    {{- include "tidegate.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: tidegate
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "tidegate.serviceAccount" . }}
  # The token is mounted where it is used, and nowhere else.
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  {{- end }}
  dnsPolicy: {{ default (ternary "ClusterFirstWithHostNet" "ClusterFirst" .Values.hostNetwork) .Values.dnsPolicy }}
  # drain.delaySeconds and drain.stopWithinSeconds, and time for a last word.
  terminationGracePeriodSeconds: {{ add (int .Values.drain.delaySeconds) (int .Values.drain.stopWithinSeconds) 15 }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .Values.topologySpread.enabled (eq .Values.mode "Deployment") }}
  topologySpreadConstraints:
    {{- range .Values.topologySpread.topologyKeys }}
    - topologyKey: {{ . }}
      maxSkew: {{ int $.Values.topologySpread.maxSkew }}
      whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "tidegate.selector" $ | nindent 10 }}
      {{- if eq $.Values.mode "Deployment" }}
      matchLabelKeys: [pod-template-hash]
      {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: tidegate
      image: {{ include "tidegate.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - run
        {{- include "tidegate.flags" . | nindent 8 }}
      env:
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - name: POD_NAMESPACE
          valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
        - name: NODE_NAME
          valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: admin, containerPort: {{ int .Values.ports.admin }}, protocol: TCP}
        {{- if eq .Values.topology "single" }}
        {{- include "tidegate.trafficPorts" . | nindent 8 }}
        {{- end }}
      # A start reads the whole cluster before it is ready; it lives long before that.
      startupProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: state, mountPath: {{ include "tidegate.stateDir" . }}}
        - {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
        {{- if .Values.journal.enabled }}
        - {name: journal, mountPath: /var/lib/tidegate-journal}
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- if eq .Values.topology "sidecar" }}
    - name: haproxy
      image: {{ include "tidegate.haproxyImage" . }}
      imagePullPolicy: {{ ternary .Values.haproxy.image.pullPolicy .Values.image.pullPolicy (ne .Values.haproxy.image.repository "") }}
      # tidegate writes the first files within a moment of its start. HAProxy is process 1 from then on.
      command:
        - /bin/sh
        - -c
        - |
          haproxy={{ .Values.haproxy.binary }} state={{ include "tidegate.stateDir" . }}
          trap 'exit 0' TERM USR1
          until [ -e $state/haproxy.cfg ]; do sleep 0.1; done
          # Files that this HAProxy refuses were made for another version: tidegate makes new ones.
          $haproxy -c -f $state/haproxy.cfg >/dev/null 2>&1 || ln -sfn bootstrap/haproxy.cfg $state/haproxy.cfg
          # Without `-C /` one up to 3.0 loads nothing any more once it has refused files that are gone now.
          exec $haproxy -C / -W -f $state/haproxy.cfg -S $state/run/master.sock,mode,600
      ports:
        {{- include "tidegate.trafficPorts" . | nindent 8 }}
      readinessProbe:
        tcpSocket: {port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      lifecycle:
        preStop:
          exec:
            # Serve until load balancers noticed, then finish what is open; SIGTERM follows and ends the rest.
            command:
              - /bin/sh
              - -c
              - sleep {{ int .Values.drain.delaySeconds }}; kill -USR1 1; sleep {{ int .Values.drain.stopWithinSeconds }}
      {{- with .Values.haproxy.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: state, mountPath: {{ include "tidegate.stateDir" . }}}
    {{- end }}
  volumes:
    - name: state
      emptyDir:
        {{- with .Values.state.medium }}
        medium: {{ . }}
        {{- end }}
        sizeLimit: {{ .Values.state.sizeLimit }}
    - name: token
      projected:
        sources:
          - serviceAccountToken: {path: token, expirationSeconds: 3607}
          - configMap:
              name: kube-root-ca.crt
              items: [{key: ca.crt, path: ca.crt}]
          - downwardAPI:
              items:
                - path: namespace
                  fieldRef: {fieldPath: metadata.namespace}
    {{- if .Values.journal.enabled }}
    - name: journal
      emptyDir:
        sizeLimit: {{ .Values.journal.volumeSizeLimit }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "tidegate.trafficPorts" -}}
- name: http
  containerPort: {{ int .Values.ports.http }}
  protocol: TCP
  {{- if .Values.hostPorts.enabled }}
  hostPort: {{ int .Values.hostPorts.http }}
  {{- end }}
{{- if gt (int .Values.ports.https) 0 }}
- name: https
  containerPort: {{ int .Values.ports.https }}
  protocol: TCP
  {{- if .Values.hostPorts.enabled }}
  hostPort: {{ int .Values.hostPorts.https }}
  {{- end }}
{{- end }}
{{- if gt (int .Values.ports.quic) 0 }}
- name: quic
  containerPort: {{ int .Values.ports.quic }}
  protocol: UDP
  {{- if .Values.hostPorts.enabled }}
  hostPort: {{ int .Values.hostPorts.quic }}
  {{- end }}
{{- end }}
{{- range $port, $service := .Values.tcp.services }}
- name: tcp-{{ $port }}
  containerPort: {{ $port }}
  protocol: TCP
  {{- if $.Values.hostPorts.enabled }}
  hostPort: {{ $port }}
  {{- end }}
{{- end }}
{{- end -}}
