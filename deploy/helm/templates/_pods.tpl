{{/* Fields of every pod, of (dict root values names-ids): ids only where the image of others needs them. */}}
{{- define "litemaas.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
{{- if and .ids (not .root.Values.openshift) }}
{{- range $field, $id := .ids }}
  {{ $field }}: {{ $id }}
{{- end }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "litemaas.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Where a pod may run, of (dict root values component). */}}
{{- define "litemaas.placement" -}}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if .values.topologySpread }}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "litemaas.selector" (list $.root $.component) | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a pod, of (dict root values component). */}}
{{- define "litemaas.podMetadata" -}}
labels:
  {{- include "litemaas.labels" (list .root .component) | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of (dict root values): beside a container's own. */}}
{{- define "litemaas.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if or .root.Values.caBundle.configMap .root.Values.caBundle.secret }}
- {name: ca, mountPath: /etc/litemaas/ca, readOnly: true}
{{- end }}
{{- if .root.Values.clientCertificate.secret }}
- {name: client, mountPath: /etc/litemaas/client, readOnly: true}
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "litemaas.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- with .root.Values.caBundle }}
{{- if .configMap }}
- name: ca
  configMap: {name: {{ .configMap }}}
{{- else if .secret }}
- name: ca
  secret: {secretName: {{ .secret }}}
{{- end }}
{{- end }}
{{- with .root.Values.clientCertificate.secret }}
- name: client
  secret: {secretName: {{ . }}}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Probes of gateway and admin, of the path of readiness. */}}
{{- define "litemaas.probes" -}}
startupProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: {{ . }}, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}
