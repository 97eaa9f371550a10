{{/* Rules of egress, of (dict root to): `to` names services of networkPolicy, or pods of this release. */}}
{{- define "litemaas.egress" -}}
{{- $root := .root -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- $bundled := dict "postgres" (list $root.Values.postgres.bundled 5432 "postgres") "redis" (list $root.Values.valkey.bundled 6379 "valkey") "litellm" (list $root.Values.litellm.enabled 4000 "litellm") "gateway" (list true 4000 "gateway") -}}
- to: {{- toYaml $policy.dns.peers | nindent 4 }}
  ports:
    {{- range $policy.dns.ports }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- range .to }}
{{- $own := get $bundled . | default (list false) }}
{{- if first $own }}
- to:
    - podSelector:
        matchLabels: {{- include "litemaas.selector" (list $root (index $own 2)) | nindent 10 }}
  ports: [{port: {{ index $own 1 }}, protocol: TCP}]
{{- else }}
{{- $service := get $policy . }}
- ports:
    {{- range $service.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with $service.peers }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A rule of ingress, of (dict root port components peers everyone). */}}
{{- define "litemaas.ingress" -}}
- ports: [{port: {{ .port }}, protocol: TCP}]
  {{- if not .everyone }}
  from:
    {{- range .components }}
    - podSelector:
        matchLabels: {{- include "litemaas.selector" (list $.root .) | nindent 10 }}
    {{- end }}
    {{- with .peers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end }}

{{- define "litemaas.scrapes" -}}
{{- $root := index . 0 -}}
{{- $port := include "litemaas.metricsPort" . -}}
{{- if and $port $root.Values.networkPolicy.metricsFrom }}
{{- include "litemaas.ingress" (dict "root" $root "port" $port "peers" $root.Values.networkPolicy.metricsFrom) }}
{{- end }}
{{- end }}
