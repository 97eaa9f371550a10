{{/* All settings that are no secrets: what the chart knows, and over it what the values say. YAML. */}}
{{- define "litemaas.settings" -}}
{{- $name := include "litemaas.name" . -}}
{{- $known := dict "LITEMAAS_STATE_DIR" "/var/lib/litemaas" "LITEMAAS_METRICS_LISTEN" "0.0.0.0" -}}
{{- $_ := set $known "LITEMAAS_GATEWAY_INTERNAL_URL" (printf "http://%s-gateway:4000" $name) -}}
{{- if .Values.litellm.enabled }}{{ $_ := set $known "LITEMAAS_LITELLM_URLS" (printf "http://%s-litellm:4000" $name) }}{{ end -}}
{{- $all := mergeOverwrite $known .Values.settings -}}
{{- $_ := required "settings.LITEMAAS_LITELLM_URLS: name LiteLLM's addresses, or set litellm.enabled" $all.LITEMAAS_LITELLM_URLS -}}
{{- range $key, $value := $all }}
{{ $key }}: {{ include "litemaas.text" $value | quote }}
{{- end }}
{{- end }}

{{/* Of (dict root program): the environment of gateway, admin, migrate or litellm: each setting that it reads. */}}
{{- define "litemaas.env" -}}
{{- $root := .root -}}
{{- $program := .program -}}
{{- $settings := include "litemaas.settings" $root | fromYaml -}}
{{- range $key, $about := $root.Files.Get "files/settings.yaml" | fromYaml }}
{{- if has $program $about.programs }}
{{- if $about.secret }}
{{- include "litemaas.secretEnv" (dict "root" $root "key" $key "isNeeded" $about.required) }}
{{- else if hasKey $settings $key }}
- name: {{ $key }}
  value: {{ get $settings $key | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of (dict root key isNeeded): nothing, if it is neither needed nor named. */}}
{{- define "litemaas.secretEnv" -}}
{{- $values := .root.Values -}}
{{- $name := include "litemaas.name" .root -}}
{{- $named := get $values.secretSettings .key -}}
{{- if $named }}
- name: {{ .key }}
  valueFrom:
    secretKeyRef: {name: {{ $named.secret }}, key: {{ $named.key | default .key }}}
{{- else if and $values.postgres.bundled (eq .key "LITEMAAS_DATABASE_URL") }}
{{- include "litemaas.passwordEnv" (list .root "POSTGRES_APP_PASSWORD" .key) }}
- name: {{ .key }}
  value: postgresql://litemaas_app:$(POSTGRES_APP_PASSWORD)@{{ $name }}-postgres:5432/litemaas
{{- else if and $values.postgres.bundled (eq .key "LITEMAAS_OWNER_DATABASE_URL") }}
{{- include "litemaas.passwordEnv" (list .root "POSTGRES_OWNER_PASSWORD" .key) }}
- name: {{ .key }}
  value: postgresql://litemaas_owner:$(POSTGRES_OWNER_PASSWORD)@{{ $name }}-postgres:5432/litemaas
{{- else if and $values.valkey.bundled (eq .key "LITEMAAS_REDIS_URL") }}
{{- include "litemaas.passwordEnv" (list .root "VALKEY_PASSWORD" .key) }}
- name: {{ .key }}
  value: redis://:$(VALKEY_PASSWORD)@{{ $name }}-valkey:6379/0
{{- else if .isNeeded }}
{{- include "litemaas.passwordEnv" (list .root .key .key) }}
{{- end }}
{{- end }}

{{/* Of (list root key setting): a key of existingSecret. */}}
{{- define "litemaas.passwordEnv" -}}
{{- $root := index . 0 }}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef: {name: {{ required (printf "existingSecret: name the Secret that has %s%s" (index . 1) (ternary (printf ", or name one in secretSettings.%s" (index . 2)) "" (hasPrefix "LITEMAAS_" (index . 1)))) $root.Values.existingSecret }}, key: {{ index . 1 }}}
{{- end }}

{{/* The port of metrics of (list root default-port); empty where they are off. */}}
{{- define "litemaas.metricsPort" -}}
{{- $listen := (include "litemaas.settings" (index . 0) | fromYaml).LITEMAAS_METRICS_LISTEN -}}
{{- if ne $listen "off" }}{{ regexFind "[0-9]+$" (regexFind ":[0-9]+$" $listen) | default (index . 1) }}{{ end -}}
{{- end }}

{{/* Of (list root preStopSeconds): the time before SIGTERM, that of open answers, the longest that a worker takes to
close (gateway.main: max_close_s), and 5 s for the process. */}}
{{- define "litemaas.terminationGrace" -}}
{{- $settings := (index . 0).Values.settings -}}
{{- $grace := $settings.LITEMAAS_SHUTDOWN_GRACE_S | default 600 | float64 | ceil | int -}}
{{- $close := addf (mulf 2 ($settings.LITEMAAS_DRAIN_TIMEOUT_S | default 10 | float64)) 10 | ceil | int -}}
{{- $delay := $settings.LITEMAAS_SHUTDOWN_DELAY_S | default 0 | float64 | ceil | int -}}
{{- add (index . 1 | int) $delay $grace $close 5 -}}
{{- end }}
