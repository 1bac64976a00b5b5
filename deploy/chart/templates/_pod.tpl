{{/* The pod of a service: one container of the image, unprivileged, on a read-only file system. */}}

{{- define "outboard.pod" -}}
{{- $service := .service -}}
serviceAccountName: {{ include "outboard.account" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
shareProcessNamespace: {{ $service.shareProcessNamespace }}
terminationGracePeriodSeconds: {{ include "outboard.grace" . }}
securityContext:
  {{- toYaml $service.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- range $field := list "priorityClassName" "runtimeClassName" "dnsPolicy" }}
{{- with get $service $field }}
{{ $field }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- range $field := list "dnsConfig" "hostAliases" "nodeSelector" "tolerations" "affinity" }}
{{- with get $service $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with $service.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml . | nindent 4 | trim }}
    {{- if not (hasKey . "labelSelector") }}
    labelSelector:
      matchLabels:
        {{- include "outboard.selector" $ | nindent 8 }}
    {{- end }}
    {{- if not (hasKey . "matchLabelKeys") }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end }}
{{- with $service.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: outboard
    {{- include "outboard.container" . | nindent 4 }}
  {{- with $service.containers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  {{- include "outboard.volumes" . | trim | nindent 2 }}
  {{- with $service.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "outboard.container" -}}
{{- $service := .service -}}
image: {{ include "outboard.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  - serve
  - --settings=/etc/outboard/settings/settings.yaml
  {{- with $service.platforms }}
  - --platforms={{ join "," . }}
  {{- end }}
  {{- range $service.agents }}
  - --agents={{ . }}
  {{- end }}
  - --log-level={{ $service.logLevel }}
  - --log-format=json
  {{- range $service.arguments }}
  - {{ . | quote }}
  {{- end }}
env:
  {{- include "outboard.environment" . | trim | nindent 2 }}
  {{- with $service.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $service.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- range $port := list "grpc" "metrics" "admin" "callbacks" }}
  {{- with get $service.ports $port }}
  - {name: {{ $port | quote }}, containerPort: {{ . }}, protocol: TCP}
  {{- end }}
  {{- end }}
{{- include "outboard.probes" . }}
{{- with $service.lifecycle.preStopSeconds }}
lifecycle:
  preStop:
    exec:
      command: [python, -c, "import time; time.sleep({{ . }})"]
{{- end }}
securityContext:
  {{- toYaml $service.securityContext | nindent 2 }}
resources:
  {{- toYaml $service.resources | nindent 2 }}
volumeMounts:
  {{- include "outboard.mounts" . | trim | nindent 2 }}
  {{- with $service.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "outboard.environment" -}}
- {name: OUTBOARD_HOME, value: /var/lib/outboard}
- {name: TMPDIR, value: /tmp}
{{- with .service.serviceKeys }}
{{- if .secret }}
- name: OUTBOARD_SERVICE_KEYS
  valueFrom:
    secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- with .service.tracing.headers }}
{{- if .secret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- include "outboard.trusting" . }}
{{- end -}}

{{- define "outboard.trusting" -}}
{{- if or .service.trust.secret .service.trust.configMap }}
{{- range $variable := list "SSL_CERT_FILE" "REQUESTS_CA_BUNDLE" "AWS_CA_BUNDLE" "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" }}
- {name: {{ $variable | quote }}, value: /etc/outboard/trust/ca.crt}
{{- end }}
{{- end }}
{{- end -}}

{{/* Kubelet speaks no TLS with gRPC: where there is an admin port, it asks there. */}}
{{- define "outboard.probes" -}}
{{- $ports := .service.ports -}}
{{- $paths := dict "startup" "/startupz" "readiness" "/readyz" "liveness" "/healthz" -}}
{{- range $probe := list "startup" "readiness" "liveness" }}
{{ $probe }}Probe:
  {{- if $ports.admin }}
  httpGet: {path: {{ get $paths $probe }}, port: admin, scheme: HTTP}
  {{- else }}
  grpc: {port: {{ $ports.grpc }}}
  {{- end }}
  {{- toYaml (get $.service.probes $probe) | nindent 2 }}
{{- end }}
{{- end -}}
