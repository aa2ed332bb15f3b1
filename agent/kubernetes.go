package agent

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/kubernetes"
)

// The drivers, as Config.Driver names them.
const (
	processDriver    = "process"
	kubernetesDriver = "kubernetes"
)

// checkShared refuses a password that only this agent has, where Redis is not
// its own.
func (c *Config) checkShared() error {
	if c.Driver == kubernetesDriver && c.PasswordFile == filepath.Join(c.DataDir, passwordFile) {
		return wire.Errorf(wire.CodeInvalidArgument, "all agents on Kubernetes need the same password: name the file of a mounted Secret")
	}
	return nil
}

// layout is what the kubernetes driver makes objects by.
func (c *Config) layout() kubernetes.Layout {
	return kubernetes.Layout{
		Namespace: c.Namespace, ClusterDomain: c.ClusterDomain, SocketDir: c.SocketDir,
		RedisImage: c.RedisImage, ExporterImage: c.ExporterImage,
		PullPolicy: c.ImagePullPolicy, PullSecrets: c.ImagePullSecrets,
		StorageClass: c.BackupStorageClass, StorageSize: c.BackupStorageSize,
	}
}

func (a *agent) openKubernetes() error {
	client, err := kubernetes.NewClient(a.cfg.Kubeconfig)
	if err != nil {
		return err
	}
	driver, err := kubernetes.New(kubernetes.Config{
		Layout: a.cfg.layout(), Client: client, Node: a.node, Password: a.password, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.driver, a.storage = driver, driver
	ctx, cancel := context.WithCancel(context.Background())
	done := a.background("socket directory", func() error { return driver.Run(ctx) })
	a.life.started("kubernetes driver", func(stop context.Context) error {
		cancel()
		return errors.Join(wait(stop, done), driver.Close(stop))
	})
	return nil
}
