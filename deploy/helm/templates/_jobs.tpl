{{/* The spec of a Job, of (dict root component program wait commands deadline): each command is a list of words of
`litemaas`. All but the last are init containers, so they run one after another. No service account of the chart: before
an installation there is none. */}}
{{- define "litemaas.job" -}}
{{- $root := .root -}}
{{- $job := . -}}
{{- $jobs := $root.Values.jobs -}}
activeDeadlineSeconds: {{ .deadline }}
# 10 s before the second attempt, twice as long before each further one, 5 minutes at most.
backoffLimit: 10
template:
  metadata: {{- include "litemaas.podMetadata" (dict "root" $root "values" $jobs "component" .component) | nindent 4 }}
  spec:
    restartPolicy: OnFailure
    {{- include "litemaas.podSecurity" (dict "root" $root) | nindent 4 }}
    {{- with include "litemaas.placement" (dict "root" $root "values" $jobs "component" .component) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if or .wait (gt (len .commands) 1) }}
    initContainers:
      {{- with .wait }}
      # The pods of the version before have their whole time to end.
      - name: wait
        {{- include "litemaas.jobContainer" (dict "root" $root "job" $job) | nindent 8 }}
        command: [sleep, {{ . | quote }}]
      {{- end }}
      {{- range $number, $words := initial .commands }}
      - name: command-{{ $number }}
        {{- include "litemaas.jobContainer" (dict "root" $root "job" $job "words" $words) | nindent 8 }}
      {{- end }}
    {{- end }}
    containers:
      - name: {{ .component }}
        {{- include "litemaas.jobContainer" (dict "root" $root "job" $job "words" (last .commands)) | nindent 8 }}
    volumes:
      {{- include "litemaas.volumes" (dict "root" $root "values" $jobs) | nindent 6 }}
{{- end }}

{{- define "litemaas.jobContainer" -}}
image: {{ include "litemaas.image" (list .root .root.Values.image "image") }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- with .words }}
args: {{- toYaml . | nindent 2 }}
env:
  {{- include "litemaas.env" (dict "root" $.root "program" $.job.program) | trim | nindent 2 }}
  {{- with $.root.Values.jobs.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{ include "litemaas.containerSecurity" . }}
resources: {{- toYaml .root.Values.jobs.resources | nindent 2 }}
volumeMounts:
  {{- include "litemaas.mounts" (dict "root" .root "values" .root.Values.jobs) | nindent 2 }}
{{- end }}
