{{/*
The machines of a group with what each of them should have, as JSON: [{name, index, spec, extensions}].
Takes a dict of root, groupName and group.
*/}}
{{- define "vm-extensions.machines" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- $where := printf "groups.%s" .groupName -}}
{{- $listed := list -}}
{{- if hasKey $group "machines" -}}
  {{- range $position, $entry := $group.machines -}}
    {{- $machine := $entry -}}
    {{- if kindIs "string" $entry -}}{{- $machine = dict "name" $entry -}}{{- end -}}
    {{- $index := add $position (default 0 $group.firstIndex | int) -}}
    {{- $listed = append $listed (merge (dict "index" $index) $machine) -}}
  {{- end -}}
{{- else -}}
  {{- range $position := until (int $group.count) -}}
    {{- $index := add $position (default 0 $group.firstIndex | int) -}}
    {{- $listed = append $listed (dict "index" $index "name" (printf $group.name $index)) -}}
  {{- end -}}
{{- end -}}
{{- $machines := list -}}
{{- range $machine := $listed -}}
  {{- $spec := mergeOverwrite (dict) (deepCopy $root.Values.machineDefaults) (deepCopy (default dict $group.machineDefaults)) (deepCopy (default dict $machine.spec)) -}}
  {{- $own := default dict $machine.extensions -}}
  {{- $extensions := dict -}}
  {{- range $name := keys (default dict $group.extensions) $own | uniq | sortAlpha -}}
    {{- /* null, as elsewhere in Helm: this one is not wanted. */ -}}
    {{- $ofGroup := get (default dict $group.extensions) $name -}}
    {{- $ofMachine := get $own $name -}}
    {{- if not (or (and (hasKey $own $name) (kindIs "invalid" $ofMachine)) (and (kindIs "invalid" $ofGroup) (not $ofMachine))) -}}
      {{- $extension := mergeOverwrite (dict) (deepCopy $root.Values.extensionDefaults) (deepCopy (default dict $group.extensionDefaults)) (deepCopy (default dict $ofGroup)) (deepCopy (default dict $ofMachine)) -}}
      {{- if $extension.templated -}}
        {{- $context := dict "machine" (dict "name" $machine.name "index" $machine.index "group" $.groupName) "Values" $root.Values "Release" $root.Release "Template" $root.Template -}}
        {{- $extension = tpl (toYaml $extension) $context | fromYaml -}}
        {{- if hasKey $extension "Error" -}}
          {{- fail (printf "%s: extension %s of machine %s is no YAML once its templates are filled in: %s" $where $name $machine.name $extension.Error) -}}
        {{- end -}}
      {{- end -}}
      {{- $_ := set $extensions $name (omit $extension "templated") -}}
    {{- end -}}
  {{- end -}}
  {{- $machines = append $machines (dict "name" $machine.name "index" $machine.index "spec" $spec "extensions" $extensions) -}}
{{- end -}}
{{- toJson $machines -}}
{{- end -}}

{{/* The metadata that machines and extensions have in common. Takes a dict of root, name, groupName and machine. */}}
{{- define "vm-extensions.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- $ours := dict "app.kubernetes.io/managed-by" .root.Release.Service "app.kubernetes.io/instance" .root.Release.Name "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version) "vmext.dev/group" .groupName "vmext.dev/machine" .machine }}
  {{- toYaml (mergeOverwrite (dict) .root.Values.labels $ours) | nindent 2 }}
{{- with .root.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
