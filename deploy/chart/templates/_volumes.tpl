{{/* What a pod mounts: its settings, two writable places, and existing Secrets and ConfigMaps. */}}

{{- define "outboard.volumes" -}}
{{- $service := .service -}}
- name: settings
  configMap: {name: {{ include "outboard.name" . | quote }}}
- name: temporary
  emptyDir: {{- toYaml $service.temporary | nindent 4 }}
- name: work
  {{- if $service.work.claim }}
  persistentVolumeClaim: {claimName: {{ $service.work.claim | quote }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ $service.work.sizeLimit }}}
  {{- end }}
{{- with $service.tls }}
{{- if .enabled }}
- name: tls
  secret: {secretName: {{ .secret | default (printf "%s-tls" (include "outboard.name" $)) | quote }}, defaultMode: 0440}
{{- end }}
{{- if and .enabled (or .clientCA.secret .clientCA.configMap) }}
- name: client-ca
  {{- include "outboard.authorities" .clientCA | nindent 2 }}
{{- end }}
{{- end }}
{{- if or $service.trust.secret $service.trust.configMap }}
- name: trust
  {{- include "outboard.authorities" $service.trust | nindent 2 }}
{{- end }}
{{- with (include "outboard.told" . | fromYaml).files }}
- name: files
  {{- include "outboard.projected" . | nindent 2 }}
{{- end }}
{{- if include "outboard.callsApi" . }}
- name: api
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {expirationSeconds: 3600, path: token}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- range $index, $files := $service.secretFiles }}
- name: secrets-{{ $index }}
  projected:
    defaultMode: 0440
    sources:
      {{- range $files.secrets }}
      - secret: {name: {{ . | quote }}}
      {{- end }}
{{- end }}
{{- end -}}

{{/* A key of a Secret or ConfigMap as `ca.crt`. */}}
{{- define "outboard.authorities" -}}
{{- if .secret -}}
secret: {secretName: {{ .secret | quote }}, defaultMode: 0440, items: [{key: {{ .key | quote }}, path: ca.crt}]}
{{- else -}}
configMap: {name: {{ .configMap | quote }}, items: [{key: {{ .key | quote }}, path: ca.crt}]}
{{- end -}}
{{- end -}}

{{- define "outboard.mounts" -}}
{{- $service := .service -}}
- {name: settings, mountPath: /etc/outboard/settings, readOnly: true}
- {name: temporary, mountPath: /tmp}
- {name: work, mountPath: /var/lib/outboard}
{{- if $service.tls.enabled }}
- {name: tls, mountPath: /etc/outboard/tls, readOnly: true}
{{- if or $service.tls.clientCA.secret $service.tls.clientCA.configMap }}
- {name: client-ca, mountPath: /etc/outboard/client-ca, readOnly: true}
{{- end }}
{{- end }}
{{- if or $service.trust.secret $service.trust.configMap }}
- {name: trust, mountPath: /etc/outboard/trust, readOnly: true}
{{- end }}
{{- if (include "outboard.told" . | fromYaml).files }}
- {name: files, mountPath: {{ include "outboard.filesPath" . }}, readOnly: true}
{{- end }}
{{- if include "outboard.callsApi" . }}
- {name: api, mountPath: {{ include "outboard.podPath" . }}, readOnly: true}
{{- end }}
{{- range $index, $files := $service.secretFiles }}
- {name: secrets-{{ $index }}, mountPath: {{ $files.path | quote }}, readOnly: true}
{{- end }}
{{- end -}}
