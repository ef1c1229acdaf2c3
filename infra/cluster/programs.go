package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// built is what was built once: folders of the cache.
type built struct {
	kubernetes string // the programs of the node
	debian     string // the root of unpacked packages
	knative    string // images.tar, and the program dns
}

// program is the path of one of the node's programs.
func (b built) program(name string) string { return filepath.Join(b.kubernetes, name) }

// tools are what starting the node needs besides what is built.
var tools = []string{"bash", "go", "ip", "mount", "nsenter", "unshare", "apt-get", "dpkg", "redis-server", "java", "mvn", "npm"}

// available is an error where the cluster cannot run.
func (c *cluster) available() error {
	switch {
	case runtime.GOOS != "linux":
		return unavailable{"it needs Linux"}
	case os.Getuid() != 0:
		return unavailable{"it needs root"}
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return unavailable{tool + " is not on PATH"}
		}
	}
	controllers, err := cgroups()
	if err != nil {
		return err
	}
	for _, want := range []string{"cpu", "cpuset", "memory", "pids", "freezer", "devices"} {
		if !slices.Contains(controllers, want) {
			return unavailable{"it has only been made to run with cgroup version 1, and /sys/fs/cgroup/" + want + " is not there"}
		}
	}
	if out, err := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "true").CombinedOutput(); err != nil {
		return unavailable{fmt.Sprintf("it cannot make namespaces: %s", bytes.TrimSpace(out))}
	}
	return nil
}

// keep returns the folder of the cache for what follows from the parts of the key,
// and has fill make it where it is not there. Those of other keys are deleted.
func (c *cluster) keep(kind string, key []string, fill func(dir string) error) (string, error) {
	sum := sha256.Sum256([]byte(strings.Join(append(key, runtime.Version(), runtime.GOARCH), "\x00")))
	dir := filepath.Join(c.cache, kind+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	older, err := filepath.Glob(filepath.Join(c.cache, kind+"-*"))
	if err != nil {
		return "", err
	}
	for _, path := range older {
		if err := os.RemoveAll(path); err != nil {
			return "", err
		}
	}
	part := dir + ".part"
	if err := os.MkdirAll(part, 0o755); err != nil {
		return "", err
	}
	if err := fill(part); err != nil {
		return "", errors.Join(err, os.RemoveAll(part))
	}
	return dir, os.Rename(part, dir)
}

// files are the names and texts of all files in a folder, for a key.
func files(dir string) (key []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		key = append(key, strings.TrimPrefix(path, dir), string(text))
		return err
	})
	return key, err
}

// buildKubernetes builds the tools of the module kubernetes: Kubernetes and its etcd.
func (c *cluster) buildKubernetes(ctx context.Context) (string, error) {
	module := c.dir("kubernetes")
	key, err := files(module)
	if err != nil {
		return "", err
	}
	return c.keep("kubernetes", key, func(dir string) error {
		version, err := output(c.goCommand(ctx, module, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"))
		if err != nil {
			return err
		}
		number := strings.Split(strings.TrimPrefix(version, "v"), ".")
		flags := "-s -w"
		for name, value := range map[string]string{"gitVersion": version, "gitMajor": number[0], "gitMinor": number[1], "gitTreeState": "clean"} {
			flags += " -X k8s.io/component-base/version." + name + "=" + value
		}
		fmt.Println("   the first time this takes a quarter of an hour of two cores")
		if err := shown(c.goCommand(ctx, module, "build", "-trimpath", "-ldflags", flags, "-o", dir+"/", "tool")); err != nil {
			return err
		}
		return os.Rename(filepath.Join(dir, "server"), filepath.Join(dir, "etcd"))
	})
}

// buildKnative builds what runs of Knative as images, and dns, which runs on the node.
func (c *cluster) buildKnative(ctx context.Context) (string, error) {
	module := c.dir("knative")
	key, err := files(module)
	if err != nil {
		return "", err
	}
	return c.keep("knative", key, func(dir string) error {
		packages, err := output(c.goCommand(ctx, module, "list", "tool"))
		if err != nil {
			return err
		}
		images := append(strings.Fields(packages), "./ingress", "./pause")
		if err := c.ko(ctx, module, filepath.Join(dir, "images.tar"), append([]string{"--preserve-import-paths"}, images...)...); err != nil {
			return err
		}
		return shown(c.goCommand(ctx, module, "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", "./dns"))
	})
}

// packages are Debian's, and what those need that may not be installed.
var packages = []string{"containerd", "runc", "containernetworking-plugins", "nftables", "libnftables1", "libnftnl11", "libxtables12",
	"libnetfilter-conntrack3", "libnfnetlink0", "conntrack", "libjansson4", "libedit2", "libseccomp2"}

// unpackDebian unpacks packages into a folder: nothing is installed, no service started.
func (c *cluster) unpackDebian(ctx context.Context) (string, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	return c.keep("debian", append([]string{string(release)}, packages...), func(dir string) error {
		fetch := func() error {
			cmd := exec.CommandContext(ctx, "apt-get", append([]string{"download", "-q"}, packages...)...)
			cmd.Dir = dir
			return shown(cmd)
		}
		if err := fetch(); err != nil { // the lists may be missing or old
			if err := shown(exec.CommandContext(ctx, "apt-get", "update", "-q")); err != nil {
				return unavailable{"apt-get update: " + err.Error()}
			}
			if err := fetch(); err != nil {
				return err
			}
		}
		archives, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil {
			return err
		}
		for _, path := range archives {
			fmt.Println("  ", strings.TrimSuffix(filepath.Base(path), ".deb"))
			if err := shown(exec.CommandContext(ctx, "dpkg", "-x", path, dir)); err != nil {
				return err
			}
			if err := os.Remove(path); err != nil {
				return err
			}
		}
		return nil
	})
}

// goCommand is the go tool in a module outside of the workspace, for programs that
// run in any image.
func (c *cluster) goCommand(ctx context.Context, module string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = module, append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=")
	return cmd
}

// shown runs a command and shows what it prints, indented.
func shown(cmd *exec.Cmd) error {
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			fmt.Println("   " + lines.Text())
		}
		_, _ = io.Copy(io.Discard, r) // a line may be too long to show
	}()
	err := cmd.Run()
	w.Close()
	<-done
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return nil
}

// output runs a command and returns what it prints.
func output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
