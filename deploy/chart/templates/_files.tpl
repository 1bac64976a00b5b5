{{/*
Files that settings name, out of existing Secrets and ConfigMaps.

Wherever a setting is called `..._file`, it may say `secret:NAME/KEY` or `configMap:NAME/KEY` in place of a path, or
`token:AUDIENCE` for a token of the pod's service account. All of these are one projected volume, at /etc/outboard/files.
*/}}

{{- define "outboard.filesPath" -}}/etc/outboard/files{{- end -}}
{{- define "outboard.podPath" -}}/var/run/secrets/kubernetes.io/serviceaccount{{- end -}}

{{/* Where a reference is inside of that volume; empty where the text is no reference. */}}
{{- define "outboard.fileOf" -}}
{{- if hasPrefix "token:" . -}}
token/{{ trimPrefix "token:" . | replace "/" "-" | replace ":" "-" }}
{{- else if regexMatch "^(secret|configMap):[^/]+/[^/]+$" . -}}
{{ replace ":" "/" . }}
{{- else if regexMatch "^(secret|configMap):" . -}}
{{- fail (printf "%s: names no key; write secret:NAME/KEY or configMap:NAME/KEY" .) -}}
{{- end -}}
{{- end -}}

{{/* Put paths in place of references, below `node`, and note the references in `found`. */}}
{{- define "outboard.placeFiles" -}}
{{- $found := .found -}}
{{- $node := .node -}}
{{- range $key, $value := $node -}}
{{- if and (kindIs "slice" $value) (hasSuffix "_file" $key) -}}
{{- $paths := list -}}
{{- range $value -}}
{{- $one := dict "path_file" . -}}
{{- include "outboard.placeFiles" (dict "node" $one "found" $found) -}}
{{- $paths = append $paths $one.path_file -}}
{{- end -}}
{{- $_ := set $node $key $paths -}}
{{- else if and (kindIs "string" $value) (hasSuffix "_file" $key) -}}
{{- with include "outboard.fileOf" $value -}}
{{- $_ := set $found $value . -}}
{{- $_ := set $node $key (printf "%s/%s" (include "outboard.filesPath" $) .) -}}
{{- end -}}
{{- else if kindIs "map" $value -}}
{{- include "outboard.placeFiles" (dict "node" $value "found" $found) -}}
{{- else if kindIs "slice" $value -}}
{{- range $value -}}
{{- if kindIs "map" . -}}
{{- include "outboard.placeFiles" (dict "node" . "found" $found) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A projected volume of references: what they are by where they go. */}}
{{- define "outboard.projected" -}}
projected:
  defaultMode: 0440
  sources:
    {{- range $reference, $path := . }}
    {{- $kind := regexFind "^[a-zA-Z]+" $reference }}
    {{- $rest := trimPrefix (printf "%s:" $kind) $reference }}
    {{- if eq $kind "token" }}
    - serviceAccountToken: {audience: {{ $rest | quote }}, expirationSeconds: 3600, path: {{ $path | quote }}}
    {{- else }}
    - {{ $kind }}: {name: {{ dir $rest | quote }}, items: [{key: {{ base $rest | quote }}, path: {{ $path | quote }}}]}
    {{- end }}
    {{- end }}
{{- end -}}

{{/* Whether the service needs a token for Kubernetes' API: to read Secrets, to log in to Vault, or for keys of the issuer. */}}
{{- define "outboard.callsApi" -}}
{{- $service := .service -}}
{{- $reasons := $service.rbac.namespaces -}}
{{- range $service.secrets.stores -}}
{{- if and (eq .kind "kubernetes") (not (hasKey . "token_file")) -}}
{{- $reasons = append $reasons .kind -}}
{{- end -}}
{{- if and (eq .kind "vault") .kubernetes (not (hasKey (.kubernetes | default dict) "token_file")) -}}
{{- $reasons = append $reasons .kind -}}
{{- end -}}
{{- end -}}
{{- $issuers := $service.access.issuers | default dict -}}
{{- range $service.access.callers -}}
{{- $jwt := .jwt | default list -}}
{{- range kindIs "map" $jwt | ternary (list $jwt) $jwt -}}
{{- $issuer := get $issuers .issuer | default dict -}}
{{- if or (and (hasPrefix "https://kubernetes.default.svc" .issuer) (not $issuer.jwks_file)) $issuer.kubernetes -}}
{{- $reasons = append $reasons .issuer -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- empty $reasons | ternary "" "true" -}}
{{- end -}}
