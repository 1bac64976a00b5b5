{{/* Names and labels. A service without a name of its own is called like the release. */}}

{{- define "outboard.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "outboard.app" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 32 | trimSuffix "-" -}}
{{- end -}}

{{/* 32 characters, so that "-<service of 21>-headless" fits into the 63 of a Service. */}}
{{- define "outboard.fullname" -}}
{{- $app := include "outboard.app" . -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = contains $app .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $app) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- fail (printf "fullnameOverride: %s begins with a digit, which no Service may; set a name that begins with a letter" $full) -}}
{{- end -}}
{{- $full | trunc 32 | trimSuffix "-" -}}
{{- end -}}

{{- define "outboard.name" -}}
{{- $full := include "outboard.fullname" .root -}}
{{- .name | empty | ternary $full (printf "%s-%s" $full .name) -}}
{{- end -}}

{{- define "outboard.headless" -}}
{{- include "outboard.name" . }}-headless
{{- end -}}

{{- define "outboard.address" -}}
{{- printf "%s.%s.svc.%s" (include "outboard.headless" .) .root.Release.Namespace .root.Values.clusterDomain -}}
{{- end -}}

{{- define "outboard.account" -}}
{{- with .service.serviceAccount -}}
{{- .create | ternary (.name | default (include "outboard.name" $)) (.name | default "default") -}}
{{- end -}}
{{- end -}}

{{- define "outboard.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "outboard.selector" -}}
app.kubernetes.io/name: {{ include "outboard.app" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name | default "service" | quote }}
{{- end -}}

{{- define "outboard.releaseLabels" -}}
app.kubernetes.io/name: {{ include "outboard.app" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ include "outboard.chart" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "outboard.labels" -}}
{{ include "outboard.releaseLabels" .root }}
app.kubernetes.io/component: {{ .name | default "service" | quote }}
{{- with .service.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata of an object: `context` of a service, its `name`, further `labels` and `annotations`. */}}
{{- define "outboard.metadata" -}}
{{- $annotations := merge dict (.annotations | default dict) .context.root.Values.commonAnnotations -}}
metadata:
  name: {{ .name | quote }}
  namespace: {{ .namespace | default .context.root.Release.Namespace | quote }}
  labels:
    {{- include "outboard.labels" .context | nindent 4 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
