{{- /* A release is named after its use, so its name is that of its objects. */ -}}
{{- define "segmenter.name" -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "segmenter.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "segmenter.metadata" -}}
name: {{ include "segmenter.name" . }}
labels:
  {{- include "segmenter.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* The gateway's scheme, which is also the name of its ports. */ -}}
{{- define "segmenter.scheme" -}}
{{ ternary "http" "https" .Values.plainHttp }}
{{- end }}

{{- define "segmenter.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "segmenter.probe" -}}
httpGet: {path: {{ .path }}, port: gateway, scheme: {{ include "segmenter.scheme" .root | upper }}}
{{- end }}
