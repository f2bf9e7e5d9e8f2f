{{/*
The operator's rights where it watches some namespaces only. The rules are those of files/rbac.yaml: what is
cluster-scoped stays in the ClusterRole, all else goes into a Role in each namespace. In its own namespace it has its
Lease, and the key by which it tells contents of Secrets apart.
*/}}
{{- define "vmext.rights-by-namespace" -}}
{{- $text := include "vmext.file" (dict "root" . "path" "files/rbac.yaml") -}}
{{- $subjects := list (dict "kind" "ServiceAccount" "name" "vmext-operator" "namespace" .Release.Namespace) -}}
{{- range regexSplit "(?m)^---$" $text -1 -}}
{{- $object := fromYaml . -}}
{{- if eq $object.kind "ClusterRole" -}}
{{- $clusters := list -}}
{{- $namespaces := list -}}
{{- range $object.rules -}}
{{- if hasPrefix "virtualmachineextensionimages" (first .resources) -}}
{{- $clusters = append $clusters . -}}
{{- else -}}
{{- $namespaces = append $namespaces . -}}
{{- end -}}
{{- end -}}
{{- if $.Values.secrets.watch -}}
{{- $namespaces = append $namespaces (dict "apiGroups" (list "") "resources" (list "secrets") "verbs" (list "list" "watch")) -}}
{{- end }}
---
{{ toYaml (set (deepCopy $object) "rules" $clusters) }}
{{- range $.Values.watchNamespaces }}
---
{{ include "vmext.role" (dict "name" "vmext-operator" "namespace" . "rules" $namespaces "subjects" $subjects) }}
{{- end }}
{{- else }}
---
{{ . | trim }}
{{- end -}}
{{- end }}
---
{{ include "vmext.role" (dict "name" "vmext-operator-own" "namespace" .Release.Namespace "subjects" $subjects "rules" (list
  (dict "apiGroups" (list "coordination.k8s.io") "resources" (list "leases") "verbs" (list "create"))
  (dict "apiGroups" (list "coordination.k8s.io") "resources" (list "leases") "resourceNames" (list "vmext-operator") "verbs" (list "get" "update"))
  (dict "apiGroups" (list "") "resources" (list "secrets") "verbs" (list "create"))
  (dict "apiGroups" (list "") "resources" (list "secrets") "resourceNames" (list "vmext-operator-key") "verbs" (list "get"))
)) }}
{{- end -}}

{{/* A Role and its RoleBinding. Takes a dict of name, namespace, rules and subjects. */}}
{{- define "vmext.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
rules:
  {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  {{- toYaml .subjects | nindent 2 }}
{{- end -}}
