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
{{- if not (lt (int $service.minReadySeconds) (int $service.progressDeadlineSeconds)) -}}
{{- fail (printf "%s.minReadySeconds: %v is not less than progressDeadlineSeconds, %v" $where $service.minReadySeconds $service.progressDeadlineSeconds) -}}
{{- end -}}
{{- if and $service.adminToken.secret (not $service.ports.admin) -}}
{{- fail (printf "%s.adminToken.secret: needs ports.admin" $where) -}}
{{- end -}}
{{- include "outboard.checkAccess" (dict "where" $where "service" $service) -}}
{{- include "outboard.checkStores" (dict "where" $where "service" $service) -}}
{{- include "outboard.checkSettings" (dict "where" (printf "%s.settings" $where) "settings" $service.settings) -}}
{{- end -}}

{{/* Who may call: rules need sealed handles, certificates somebody who looks at them, the test pod an identity. */}}
{{- define "outboard.checkAccess" -}}
{{- $service := .service -}}
{{- $access := $service.access -}}
{{- $binding := list -}}
{{- $certified := list -}}
{{- range $name, $caller := merge (dict "anonymous" ($access.anonymous | default dict)) ($access.callers | default dict) -}}
{{- range list "task_types" "projects" "domains" "namespaces" "output_prefixes" -}}
{{- if get $caller . -}}{{- $binding = append $binding $name -}}{{- end -}}
{{- end -}}
{{- if $caller.certificate -}}{{- $certified = append $certified $name -}}{{- end -}}
{{- end -}}
{{- if and $binding (not $service.serviceKeys.secret) (not $service.envFrom) (not $service.env) -}}
{{- fail (printf "%s.access: rules of %s bind jobs, whose handles must be sealed for that; set serviceKeys.secret" .where (first $binding)) -}}
{{- end -}}
{{- $asks := or $service.tls.clientCA.secret $service.tls.clientCA.configMap -}}
{{- if and $certified (not $asks) (not (hasKey $access "proxy")) -}}
{{- fail (printf "%s.access.callers.%s.certificate: nobody looks at certificates; set tls.clientCA, or access.proxy behind a mesh" .where (first $certified)) -}}
{{- end -}}
{{- if and $service.test.enabled $asks (not $service.test.client.certificate) -}}
{{- fail (printf "%s.test.client: clients must show a certificate; give certificate and key, or set test.enabled to false" .where) -}}
{{- end -}}
{{- $isKnown := or $service.test.client.certificate $service.test.client.token_file (eq (toString $access.metadata) "anyone") -}}
{{- if and $service.test.enabled $access.callers (not (hasKey $access "anonymous")) (not $isKnown) (ne (toString $access.enforce) "false") -}}
{{- fail (printf "%s.test.client: only callers may list agents; give token_file or certificate, or set test.enabled to false" .where) -}}
{{- end -}}
{{- end -}}

{{/* Where secrets are: what is read over Kubernetes' API needs rights. */}}
{{- define "outboard.checkStores" -}}
{{- $where := .where -}}
{{- $service := .service -}}
{{- range $index, $store := $service.secrets.stores -}}
{{- if and (eq $store.kind "kubernetes") (not (hasKey $store "token_file")) (not $service.rbac.namespaces) -}}
{{- fail (printf "%s.rbac.namespaces: secrets.stores reads Secrets over Kubernetes' API; name the namespaces where it may" $where) -}}
{{- end -}}
{{- if and (eq $store.kind "kubernetes") $store.namespace (not (contains "{" (toString $store.namespace))) (not (hasKey $store "token_file")) (not (has $store.namespace $service.rbac.namespaces)) -}}
{{- fail (printf "%s.rbac.namespaces: %s is missing, where secrets.stores looks; name it" $where $store.namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Settings that are values of the chart have one place, and keys never stand in a ConfigMap. */}}
{{- define "outboard.checkSettings" -}}
{{- $owned := dict "host" "listen" "port" "ports.grpc" "metrics_port" "ports.metrics" "admin_port" "ports.admin" "callbacks_port" "ports.callbacks" "linger_s" "lifecycle.lingerSeconds" "drain_s" "lifecycle.drainSeconds" "tls" "tls" "access" "access" "admin_token_file" "adminToken" -}}
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
{{- range $section := list "secrets" "tracing" -}}
{{- if hasKey $host $section -}}
{{- fail (printf "%s.host.%s: set the value %s" $.where $section $section) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The settings file of a service, and the files that it names: what is given, and what the chart decides. */}}
{{- define "outboard.told" -}}
{{- $service := .service -}}
{{- $settings := deepCopy $service.settings -}}
{{- $host := $settings.host | default dict -}}
{{- if not (or (hasKey $host "replicas") (hasKey $host "replicas_dns")) -}}
{{- $_ := set $host "replicas_dns" (include "outboard.address" .) -}}
{{- end -}}
{{- with $service.installation -}}
{{- $_ := set $host "installation" . -}}
{{- end -}}
{{- $sections := dict "secrets" $service.secrets "tracing" (omit $service.tracing "headers") -}}
{{- range $section, $values := $sections -}}
{{- $given := dict -}}
{{- range $key, $value := $values -}}
{{- if or $value (kindIs "bool" $value) (kindIs "float64" $value) -}}
{{- $_ := set $given $key $value -}}
{{- end -}}
{{- end -}}
{{- with $given -}}
{{- $_ := set $host $section (deepCopy .) -}}
{{- end -}}
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
{{- with $service.access -}}
{{- $_ := set $own "access" (deepCopy .) -}}
{{- end -}}
{{- with $service.adminToken -}}
{{- if .secret -}}
{{- $_ := set $own "admin_token_file" (printf "secret:%s/%s" .secret .key) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $settings "service" (merge $own ($settings.service | default dict)) -}}
{{- $found := dict -}}
{{- include "outboard.placeFiles" (dict "node" $settings "found" $found) -}}
{{- toYaml (dict "settings" $settings "files" $found) -}}
{{- end -}}

{{- define "outboard.settings" -}}
{{- toYaml (include "outboard.told" . | fromYaml).settings -}}
{{- end -}}

{{/*
How long the end may take: `grace_s` of outboard.service.ending, which is linger, drain and 20 s, after which the process has
ended itself; and a sleep before all of that, if any.
*/}}
{{- define "outboard.grace" -}}
{{- with .service.lifecycle -}}
{{- add (ceil .preStopSeconds) (ceil (addf .lingerSeconds .drainSeconds)) 20 -}}
{{- end -}}
{{- end -}}
