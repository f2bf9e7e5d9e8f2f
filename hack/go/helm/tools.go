// Package helm names the program that tests install the charts with,
// so that go.mod and go.sum hold exactly what building it takes.
package helm

import (
	_ "helm.sh/helm/v4/pkg/cmd"
	_ "helm.sh/helm/v4/pkg/kube"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
)
