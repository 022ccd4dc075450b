// Command kube holds every Kubernetes daemon of the test cluster in one binary and runs the one it
// is called as: one link step instead of five, and one copy of the shared code on disk and in memory.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // CronJob time zones

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	daemons := map[string]func() *cobra.Command{
		"kube-apiserver":          apiserver.NewAPIServerCommand,
		"kube-controller-manager": controllermanager.NewControllerManagerCommand,
		"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
		"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
		"kube-proxy":              proxy.NewProxyCommand,
		"local-path-provisioner":  newProvisionerCommand,
	}
	name := filepath.Base(os.Args[0])
	daemon, known := daemons[name]
	if !known {
		fmt.Fprintf(os.Stderr, "called as %q: link this binary as kube-apiserver, "+
			"kube-controller-manager, kube-scheduler, kubelet, kube-proxy or local-path-provisioner\n", name)
		os.Exit(64)
	}
	os.Exit(cli.Run(daemon()))
}
