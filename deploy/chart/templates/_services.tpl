{{/*
The services of a release, and what each is told.

A service is `defaults` with its own values laid over them: maps key by key, everything else (lists too) replaced, also by
false, 0 and "". Sprig's mergeOverwrite would keep the default for those.
*/}}

{{- define "outboard.overlay" -}}
{{- range $key, $value := .over -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $.base $key)) -}}
{{- include "outboard.overlay" (dict "base" (get $.base $key) "over" $value) -}}
{{- else -}}
{{- $_ := set $.base $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "outboard.services" -}}
{{- $services := dict -}}
{{- range $name, $own := .Values.services | default (dict "" dict) -}}
{{- $service := deepCopy $.Values.defaults -}}
{{- include "outboard.overlay" (dict "base" $service "over" ($own | default dict)) -}}
{{- include "outboard.check" (dict "name" $name "service" $service) -}}
{{- $_ := set $services $name $service -}}
{{- end -}}
{{- toYaml $services -}}
{{- end -}}

{{/* What no schema can say: values that contradict each other, each named with what to do. */}}
{{- define "outboard.check" -}}
{{- $where := .name | empty | ternary "defaults" (printf "services.%s" .name) -}}
{{- $service := .service -}}
{{- if hasSuffix "-headless" .name -}}
{{- fail (printf "%s: this name would be taken for the Service of another; choose one that does not end in -headless" $where) -}}
{{- end -}}
{{- with $service.tls -}}
{{- if and .enabled (not .secret) (not .certManager.enabled) -}}
{{- fail (printf "%s.tls: enabled without a certificate; set secret, or certManager.enabled" $where) -}}
{{- end -}}
{{- if and .enabled .certManager.enabled (not (get .certManager.issuerRef "name")) -}}
{{- fail (printf "%s.tls.certManager.issuerRef: name is missing; name the Issuer or ClusterIssuer" $where) -}}
{{- end -}}
{{- if and .enabled (not $service.ports.admin) -}}
{{- fail (printf "%s.ports.admin: 0 with tls.enabled; kubelet's gRPC probes speak no TLS, so give the admin port a number" $where) -}}
{{- end -}}
{{- if and (not .enabled) (or .clientCA.secret .clientCA.configMap) -}}
{{- fail (printf "%s.tls.clientCA: needs tls.enabled" $where) -}}
{{- end -}}
{{- if and .clientCA.secret .clientCA.configMap -}}
{{- fail (printf "%s.tls.clientCA: secret and configMap are both set; choose one" $where) -}}
{{- end -}}
{{- end -}}
{{- if and $service.trust.secret $service.trust.configMap -}}
{{- fail (printf "%s.trust: secret and configMap are both set; choose one" $where) -}}
{{- end -}}
{{- $numbers := dict -}}
{{- range $port, $number := $service.ports -}}
{{- if $number -}}
{{- if hasKey $numbers (toString $number) -}}
{{- fail (printf "%s.ports.%s: %v is also ports.%s; give each its own" $where $port $number (get $numbers (toString $number))) -}}
{{- end -}}
{{- $_ := set $numbers (toString $number) $port -}}
{{- end -}}
{{- end -}}
{{- if and (not (int $service.strategy.maxUnavailable)) (not (int $service.strategy.maxSurge)) (not (contains "%" (printf "%v%v" $service.strategy.maxUnavailable $service.strategy.maxSurge))) -}}
{{- fail (printf "%s.strategy: maxSurge and maxUnavailable are both 0; let one of them be more" $where) -}}
{{- end -}}
{{- with $service.autoscaling -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "%s.autoscaling.minReplicas: %v is more than maxReplicas, %v" $where .minReplicas .maxReplicas) -}}
{{- end -}}
{{- if and .enabled (not .cpuPercent) (not .inFlight.perPod) (not .metrics) -}}
{{- fail (printf "%s.autoscaling: enabled without a metric; set cpuPercent, inFlight.perPod or metrics" $where) -}}
{{- end -}}
{{- end -}}
{{- if and $service.identity.account (eq $service.identity.kind "none") -}}
{{- fail (printf "%s.identity.kind: none with an account; say gke, irsa, eks-pod-identity or azure" $where) -}}
{{- end -}}
{{- if and (has $service.identity.kind (list "gke" "irsa" "azure")) (not $service.identity.account) -}}
{{- fail (printf "%s.identity.account: is missing; name the cloud account of identity.kind %s" $where $service.identity.kind) -}}
{{- end -}}
{{- if and $service.serviceMonitor.enabled (not $service.ports.metrics) -}}
{{- fail (printf "%s.serviceMonitor.enabled: needs ports.metrics" $where) -}}
{{- end -}}
{{- include "outboard.checkSettings" (dict "where" (printf "%s.settings" $where) "settings" $service.settings) -}}
{{- end -}}

{{/* Settings that are values of the chart have one place, and keys never stand in a ConfigMap. */}}
{{- define "outboard.checkSettings" -}}
{{- $owned := dict "host" "listen" "port" "ports.grpc" "metrics_port" "ports.metrics" "admin_port" "ports.admin" "callbacks_port" "ports.callbacks" "linger_s" "lifecycle.lingerSeconds" "drain_s" "lifecycle.drainSeconds" "tls" "tls" -}}
{{- range $key, $_ := .settings.service | default dict -}}
{{- if hasKey $owned $key -}}
{{- fail (printf "%s.service.%s: is written by the chart; set the value %s" $.where $key (get $owned $key)) -}}
{{- end -}}
{{- end -}}
{{- $host := .settings.host | default dict -}}
{{- if hasKey $host "service_keys" -}}
{{- fail (printf "%s.host.service_keys: a ConfigMap is no place for keys; set serviceKeys.secret" .where) -}}
{{- end -}}
{{- if hasKey $host "installation" -}}
{{- fail (printf "%s.host.installation: set the value installation" .where) -}}
{{- end -}}
{{- if hasKey ($host.secrets | default dict) "overrides" -}}
{{- fail (printf "%s.host.secrets.overrides: a ConfigMap is no place for secrets; set secretFiles or envFrom" .where) -}}
{{- end -}}
{{- end -}}

{{/* The settings file of a service: what is given, and what the chart decides. */}}
{{- define "outboard.settings" -}}
{{- $service := .service -}}
{{- $settings := deepCopy $service.settings -}}
{{- $host := $settings.host | default dict -}}
{{- if not (or (hasKey $host "replicas") (hasKey $host "replicas_dns")) -}}
{{- $_ := set $host "replicas_dns" (include "outboard.address" .) -}}
{{- end -}}
{{- with $service.installation -}}
{{- $_ := set $host "installation" . -}}
{{- end -}}
{{- $_ := set $settings "host" $host -}}
{{- $own := dict "host" $service.listen "port" $service.ports.grpc "linger_s" $service.lifecycle.lingerSeconds "drain_s" $service.lifecycle.drainSeconds -}}
{{- range $port := list "metrics" "admin" "callbacks" -}}
{{- with get $service.ports $port -}}
{{- $_ := set $own (printf "%s_port" $port) . -}}
{{- end -}}
{{- end -}}
{{- with $service.tls -}}
{{- if .enabled -}}
{{- $tls := dict "certificate" "/etc/outboard/tls/tls.crt" "key" "/etc/outboard/tls/tls.key" -}}
{{- if or .clientCA.secret .clientCA.configMap -}}
{{- $_ := set $tls "client_ca" "/etc/outboard/client-ca/ca.crt" -}}
{{- end -}}
{{- if not .callbacks -}}
{{- $_ := set $tls "callbacks" false -}}
{{- end -}}
{{- $_ := set $own "tls" $tls -}}
{{- end -}}
{{- end -}}
{{- $_ := set $settings "service" (merge $own ($settings.service | default dict)) -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* A call that was taken before the end may go on for linger and drain; whatever is left then is killed. */}}
{{- define "outboard.grace" -}}
{{- with .service.lifecycle -}}
{{- add (ceil .preStopSeconds) (ceil .lingerSeconds) (ceil .drainSeconds) (ceil .marginSeconds) -}}
{{- end -}}
{{- end -}}
