//go:build tools

package main

// kubectl is built from its own main package; the import keeps its modules in go.sum.
import _ "k8s.io/kubernetes/cmd/kubectl"
