{{/*
The pod of `helm test`: `outboard doctor` asks the service under its own name, as a client does.

What it shows is `test.client`, the section `client` of the settings file, where files may be references too; the authority of
cert-manager's certificate is known.
*/}}

{{- define "outboard.testSelector" -}}
app.kubernetes.io/name: {{ include "outboard.app" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ printf "doctor.%s" (.name | default "service") | quote }}
{{- end -}}

{{- define "outboard.testClient" -}}
{{- $client := deepCopy .service.test.client -}}
{{- with .service.tls -}}
{{- if and .enabled .certManager.enabled (not $client.ca) -}}
{{- $_ := set $client "ca" (printf "secret:%s/ca.crt" (.secret | default (printf "%s-tls" (include "outboard.name" $)))) -}}
{{- end -}}
{{- end -}}
{{- $files := dict -}}
{{- range $field := list "ca" "certificate" "key" "token_file" -}}
{{- with get $client $field -}}
{{- $one := dict "path_file" . -}}
{{- include "outboard.placeFiles" (dict "node" $one "found" $files) -}}
{{- $_ := set $client $field $one.path_file -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "client" $client "files" $files) -}}
{{- end -}}

{{- define "outboard.testPod" -}}
{{- $service := .service -}}
{{- $files := (include "outboard.testClient" . | fromYaml).files -}}
restartPolicy: Never
serviceAccountName: {{ include "outboard.account" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml $service.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" }}
{{- with get $service $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
containers:
  - name: doctor
    image: {{ include "outboard.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args:
      - doctor
      - {{ printf "--endpoint=dns:///%s:%v" (include "outboard.address" .) $service.ports.grpc | quote }}
      - {{ $service.tls.enabled | ternary "--tls" "--insecure" }}
      - --settings=/etc/outboard/settings/client.yaml
    {{- with include "outboard.trusting" . }}
    env:
      {{- . | trim | nindent 6 }}
    {{- end }}
    securityContext:
      {{- toYaml $service.securityContext | nindent 6 }}
    resources:
      requests: {cpu: 100m, memory: 128Mi, ephemeral-storage: 16Mi}
      limits: {memory: 256Mi, ephemeral-storage: 64Mi}
    volumeMounts:
      - {name: settings, mountPath: /etc/outboard/settings, readOnly: true}
      - {name: temporary, mountPath: /tmp}
      - {name: temporary, mountPath: /var/lib/outboard}
      {{- if $files }}
      - {name: files, mountPath: {{ include "outboard.filesPath" . }}, readOnly: true}
      {{- end }}
      {{- if or $service.trust.secret $service.trust.configMap }}
      - {name: trust, mountPath: /etc/outboard/trust, readOnly: true}
      {{- end }}
volumes:
  - name: settings
    configMap: {name: {{ include "outboard.name" . | quote }}}
  - name: temporary
    emptyDir: {sizeLimit: 16Mi}
  {{- with $files }}
  - name: files
    {{- include "outboard.projected" . | nindent 4 }}
  {{- end }}
  {{- if or $service.trust.secret $service.trust.configMap }}
  - name: trust
    {{- include "outboard.authorities" $service.trust | nindent 4 }}
  {{- end }}
{{- end -}}
