{{- define "litemaas.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains "litemaas" $name) }}{{ $name = printf "%s-litemaas" $name }}{{ end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Of (list root component): what a selector may hold, for it never changes. */}}
{{- define "litemaas.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: litemaas
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "litemaas.labels" -}}
{{- $root := index . 0 -}}
{{ include "litemaas.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Of (list root image path-of-the-value). */}}
{{- define "litemaas.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $repository := required (printf "%s.repository: name the image, as registry.example.com/litemaas" (index . 2)) $image.repository -}}
{{- if $image.digest }}{{ $repository }}@{{ $image.digest }}{{ else }}{{ $repository }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{- define "litemaas.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "litemaas.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end }}

{{/* A value as the text of an environment variable. Large numbers of YAML are floats, which would print as 5.36e+08. */}}
{{- define "litemaas.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end -}}
{{- end }}
