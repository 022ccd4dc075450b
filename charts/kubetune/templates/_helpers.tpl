{{- define "kubetune.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kubetune.labels" -}}
{{ include "kubetune.selectorLabels" . }}
app.kubernetes.io/part-of: kubetune
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version }}
{{- end -}}

{{- define "kubetune.selectorLabels" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .context.Release.Name }}
{{- end -}}

{{/* Without the version, so that an upgrade restarts only the pods that change. */}}
{{- define "kubetune.podLabels" -}}
{{ include "kubetune.selectorLabels" . }}
app.kubernetes.io/part-of: kubetune
{{- end -}}

{{- define "kubetune.image" -}}
{{- $image := index .context.Values.images .image -}}
{{- $repository := $image.repository -}}
{{- with .context.Values.images.registry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- printf "%s:%s" $repository ($image.tag | default $.context.Chart.AppVersion) -}}
{{- end -}}

{{/* What every pod of the chart has in common; fits the restricted pod security standard. */}}
{{- define "kubetune.pod" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .context.Values.images.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .placement.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .placement.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kubetune.pullSecretNames" -}}
{{- $names := list -}}
{{- range .Values.images.pullSecrets }}{{ $names = append $names .name }}{{ end -}}
{{- join "," $names -}}
{{- end -}}

{{- define "kubetune.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "kubetune.store.name" -}}
{{ include "kubetune.fullname" . }}-object-store
{{- end -}}

{{- define "kubetune.store.embedded" -}}
{{- if not (or .Values.objectStore.external.endpoint .Values.objectStore.external.aws) }}true{{ end -}}
{{- end -}}

{{/* Empty for AWS itself. */}}
{{- define "kubetune.store.endpoint" -}}
{{- if include "kubetune.store.embedded" . -}}
http://{{ include "kubetune.store.name" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:7070
{{- else -}}
{{ .Values.objectStore.external.endpoint }}
{{- end -}}
{{- end -}}

{{/* The Secret with the secret keys of the namespaces' accounts. */}}
{{- define "kubetune.store.accounts" -}}
{{ .Values.objectStore.secretName }}-accounts
{{- end -}}

{{/* Namespaces with a key of their own, as JSON. The release's own has the root key: MLflow and the store read it there. */}}
{{- define "kubetune.store.namespaces" -}}
{{- without .Values.objectStore.credentialNamespaces .Release.Namespace | toJson -}}
{{- end -}}

{{/* What files/object_store.py is told. */}}
{{- define "kubetune.store.settings" -}}
{{- $store := .Values.objectStore -}}
{{- range $namespace, $_ := $store.namespacePrefixes -}}
{{- if not (has $namespace $store.credentialNamespaces) -}}
{{- fail (printf "objectStore.namespacePrefixes: %s is not in objectStore.credentialNamespaces, so it has no key of its own" $namespace) -}}
{{- end -}}
{{- end -}}
{{- dict "bucket" $store.bucket "extraBuckets" $store.extraBuckets "sharedPrefixes" $store.sharedPrefixes
      "namespacePrefixes" $store.namespacePrefixes "namespaces" (include "kubetune.store.namespaces" . | fromJsonArray)
      "accountsSecret" (include "kubetune.store.accounts" .) | toJson -}}
{{- end -}}

{{- define "kubetune.store.credentials" -}}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .Values.objectStore.secretName }}
      key: AWS_ACCESS_KEY_ID
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.objectStore.secretName }}
      key: AWS_SECRET_ACCESS_KEY
{{- end -}}

{{- define "kubetune.tracking.name" -}}
{{ include "kubetune.fullname" . }}-mlflow
{{- end -}}

{{- define "kubetune.tracking.embedded" -}}
{{- if and .Values.tracking.enabled (not .Values.tracking.external.uri) }}true{{ end -}}
{{- end -}}

{{- define "kubetune.tracking.uri" -}}
{{- if not .Values.tracking.enabled -}}
{{- else if .Values.tracking.external.uri -}}
{{ .Values.tracking.external.uri }}
{{- else -}}
http://{{ include "kubetune.tracking.name" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:5000
{{- end -}}
{{- end -}}

{{/* MLflow answers 403 to a Host header it was not told of; a client sends the name with or without the port. */}}
{{- define "kubetune.tracking.allowedHosts" -}}
{{- $name := include "kubetune.tracking.name" . -}}
{{- $scoped := printf "%s.%s" $name .Release.Namespace -}}
{{- $hosts := list "localhost" "127.0.0.1" $name $scoped (printf "%s.svc" $scoped) (printf "%s.svc.%s" $scoped .Values.clusterDomain) -}}
{{- $all := list "localhost:*" "127.0.0.1:*" -}}
{{- range $hosts -}}
{{- $all = concat $all (list . (printf "%s:5000" .)) -}}
{{- end -}}
{{- concat $all .Values.tracking.allowedHosts | uniq | join "," -}}
{{- end -}}
