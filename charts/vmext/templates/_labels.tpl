{{/* What every object is labelled with. */}}
{{- define "vmext.labels" -}}
{{ include "vmext.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* By which the operator's Pods are found: never to be changed, since a Deployment's selector can't be. */}}
{{- define "vmext.selector" -}}
app.kubernetes.io/name: vmext-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/*
A file that is written for the default names, as the development house applies it: the namespace is the release's here.
Takes a dict of root and path.
*/}}
{{- define "vmext.file" -}}
{{- $text := .root.Files.Get .path -}}
{{- if not $text -}}{{- fail (printf "the chart lacks %s" .path) -}}{{- end -}}
{{- replace "vmext-system" .root.Release.Namespace $text -}}
{{- end -}}
