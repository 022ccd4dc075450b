package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// localPath provisions volumes as folders of the node, as k3s's default storage class does: a
// hostPath below one folder, open to every user because hostPath knows no fsGroup. It runs on the
// node itself, so it needs none of the helper pods, and their image, of the original.
type localPath struct {
	node   string
	folder string
}

func (p localPath) Provision(
	_ context.Context, options controller.ProvisionOptions,
) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	claim := options.PVC
	if claim.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, errors.New("a claim selector is not supported")
	}
	for _, mode := range claim.Spec.AccessModes {
		if !slices.Contains(accessModes, mode) {
			return nil, controller.ProvisioningFinished,
				fmt.Errorf("access mode %s is not supported: take ReadWriteOnce or ReadWriteOncePod", mode)
		}
	}
	folder := p.path(options.PVName)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// The process's umask must not close the folder to the pods' users.
	if err := os.Chmod(folder, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return p.volume(options, folder), controller.ProvisioningFinished, nil
}

var accessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteOncePod}

func (p localPath) volume(options controller.ProvisionOptions, folder string) *corev1.PersistentVolume {
	directoryOrCreate := corev1.HostPathDirectoryOrCreate
	onNode := corev1.NodeSelectorRequirement{
		Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{p.node},
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			VolumeMode:                    options.PVC.Spec.VolumeMode,
			Capacity: corev1.ResourceList{
				corev1.ResourceStorage: options.PVC.Spec.Resources.Requests[corev1.ResourceStorage],
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: folder, Type: &directoryOrCreate},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{onNode},
				}},
			}},
		},
	}
}

func (p localPath) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	return os.RemoveAll(p.path(volume.Name))
}

func (p localPath) path(volume string) string {
	return filepath.Join(p.folder, volume)
}

func newProvisionerCommand() *cobra.Command {
	var kubeconfig, name string
	var provisioner localPath
	command := &cobra.Command{
		Use:          "local-path-provisioner",
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			controller.NewProvisionController(
				ctx, client, name, provisioner, controller.LeaderElection(false),
			).Run(ctx)
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	flags.StringVar(&name, "name", "", "provisioner name that storage classes refer to")
	flags.StringVar(&provisioner.node, "node", "", "name of the node that the volumes are on")
	flags.StringVar(&provisioner.folder, "folder", "", "folder that holds the volumes")
	return command
}
