// Package kubernetes names the programs of Kubernetes that the development control plane is made of,
// so that go.mod and go.sum hold exactly what building them takes.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver/app"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	_ "k8s.io/kubectl/pkg/cmd"
)
