// Command cluster runs a real Kubernetes node with a real Knative on this machine,
// without Docker and without a registry of images, and the functions on it as
// infra/deploy/dev has them. Tests use it; M7 Pulse does not need it.
//
//	cluster up     builds what is missing, starts all of it, waits until it is ready
//	cluster down   stops all of it and leaves nothing but what was built
//
// The node is a set of processes in their own namespaces of network, mounts and
// process numbers; containers are run by containerd and runc. The servers (Kafka,
// registry, Redis, ClickHouse, Nessie, MinIO, a stand-in for GitHub) run beside it.
// One cluster a machine, and root alone can start it.
//
// What stands in for a part that no module and no package provides: ingress for
// Kourier, dns for CoreDNS (both in the folder knative), and the local runner's
// sources for KafkaSource. The network does not enforce NetworkPolicies.
//
// Exit codes: 1 it failed, 2 wrong use, 4 it cannot run on this machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/shared/download"
)

// cluster is where everything is.
type cluster struct {
	root  string // the repository
	cache string // what is built once
	run   string // what is there while the cluster is up
}

// unavailable is why the cluster cannot run on this machine.
type unavailable struct{ reason string }

func (u unavailable) Error() string { return "this machine cannot run the cluster: " + u.reason }

func main() {
	if len(os.Args) != 2 {
		usage()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := locate()
	if err == nil {
		switch os.Args[1] {
		case "up":
			err = c.up(ctx)
		case "down":
			err = c.down(ctx)
		case "sources": // of up
			err = c.serveSources(ctx)
		default:
			usage()
		}
	}
	if cannot, ok := errors.AsType[unavailable](err); ok {
		fmt.Fprintln(os.Stderr, "cluster:", cannot)
		os.Exit(4)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: cluster up | down")
	os.Exit(2)
}

// locate finds the repository above the working directory.
func locate() (*cluster, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "infra", "knative", "sources.yaml")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return nil, errors.New("find the repository: it is not above the working directory")
		}
		root = filepath.Dir(root)
	}
	cache, err := download.Dir()
	if err != nil {
		return nil, err
	}
	cache = filepath.Join(cache, "cluster")
	return &cluster{root: root, cache: cache, run: filepath.Join(cache, "run")}, nil
}

func (c *cluster) dir(name string) string { return filepath.Join(c.root, "infra", "cluster", name) }

// up starts what is not there yet. On an error all that it started is stopped.
func (c *cluster) up(ctx context.Context) (err error) {
	if err := c.available(); err != nil {
		return err
	}
	if _, err := os.Stat(c.run); err == nil {
		return fmt.Errorf("%s is there: the cluster is up, or was not taken down", c.run)
	}
	var b built
	for _, s := range []step{
		{"Kubernetes: building its programs", func(ctx context.Context) (err error) { b.kubernetes, err = c.buildKubernetes(ctx); return }},
		{"containerd, runc, network plugins: unpacking Debian's packages", func(ctx context.Context) (err error) { b.debian, err = c.unpackDebian(ctx); return }},
		{"Knative: building its images", func(ctx context.Context) (err error) { b.knative, err = c.buildKnative(ctx); return }},
		{"ClickHouse, Kafka, registry, Nessie, MinIO: installing", c.installServers},
	} {
		if err := s.do(ctx); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.down(context.WithoutCancel(ctx)))
		}
	}()
	n := node{cluster: c, built: b}
	for _, s := range []step{
		{"The node: waiting until it is ready", n.start},
		{"The functions: building and importing their images", n.importImages},
		{"Knative Serving and Eventing: waiting for their deployments", n.applyKnative},
		{"Servers: waiting until they answer", n.startServers},
		{"The functions: waiting until their Services are ready", n.applyProduct},
	} {
		if err := s.do(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("\nThe cluster is up.\n  KUBECONFIG=%s %s --namespace m7pulse get services.serving.knative.dev\n  addresses of the servers: %s\n  make cluster-down stops it\n", n.kubeconfig(), n.program("kubectl"), c.envFile())
	return nil
}

// step is a part of the start, announced before it is done and timed.
type step struct {
	text string
	run  func(context.Context) error
}

func (s step) do(ctx context.Context) error {
	fmt.Printf("== %s\n", s.text)
	began := time.Now()
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.text, err)
	}
	fmt.Printf("   %.1f s\n", time.Since(began).Seconds())
	return nil
}

// until asks every quarter of a second until the answer is yes.
func until(ctx context.Context, limit time.Duration, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s, %s at most: %w", what, limit, err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}
