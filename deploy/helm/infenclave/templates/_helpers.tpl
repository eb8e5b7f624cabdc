{{- define "infenclave.name" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "infenclave.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "infenclave.labels" -}}
app.kubernetes.io/name: infenclave
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "infenclave.selector" -}}
app.kubernetes.io/name: infenclave
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Where the BackNet is, as --backnet has it. The headless service's name has an address for each worker. */}}
{{- define "infenclave.backnet" -}}
{{- if eq .Values.backnet.kind "builtin" -}}
builtin
{{- else if eq .Values.backnet.kind "remote" -}}
{{ join "," (required "backnet.remote names the servers" .Values.backnet.remote) }}
{{- else -}}
grpc://{{ include "infenclave.name" . }}-backnet:8011/{{ required "backnet.model is the model's name" .Values.backnet.model }}
{{- end -}}
{{- end -}}

{{- define "infenclave.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "infenclave.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
{{- end -}}
