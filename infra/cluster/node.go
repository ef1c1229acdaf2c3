package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// The addresses of the cluster. The host and the node are the two ends of a pair of
// interfaces; the host reaches pods and services through the node.
const (
	hostInterface = "m7pulse"
	nodeInterface = "m7pulse-node"
	hostIP        = "10.199.0.1"
	nodeIP        = "10.199.0.2"
	podNet        = "10.244.0.0/24"
	serviceNet    = "10.96.0.0/16"
	apiIP         = "10.96.0.1" // the first of serviceNet: the service kubernetes

	cgroup = "m7pulse-cluster"
	socket = "/run/containerd/containerd.sock" // as the node sees it
)

// node is one that is up, or is being started.
type node struct {
	*cluster
	built
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.run, "kubeconfig") }

//go:embed node
var nodeFiles embed.FS

// start starts a new node.
func (n *node) start(ctx context.Context) error {
	if err := n.writeFiles(); err != nil {
		return err
	}
	return n.boot(ctx)
}

// boot starts the node's processes and waits until Kubernetes calls it ready. What an
// earlier boot left in its files is gone on with.
func (n *node) boot(ctx context.Context) error {
	if err := makeCgroups(); err != nil {
		return err
	}
	cmd := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--ipc", "bash", filepath.Join(n.run, "node.sh"))
	cmd.Env = append(os.Environ(), "RUN="+n.run, "BIN="+n.kubernetes, "DEBIAN="+n.debian, "DNS="+filepath.Join(n.knative, "dns"),
		"INTERFACE="+nodeInterface, "HOST_IP="+hostIP, "NODE_IP="+nodeIP, "SERVICE_NET="+serviceNet)
	if err := n.daemon("node", cmd); err != nil {
		return err
	}
	var first int
	err := until(ctx, 10*time.Second, "the node's first process", func(context.Context) (err error) {
		first, err = n.firstProcess()
		return err
	})
	if err != nil {
		return err
	}
	for _, args := range []string{
		"link add " + hostInterface + " type veth peer name " + nodeInterface + " netns " + strconv.Itoa(first),
		"addr add " + hostIP + "/24 dev " + hostInterface,
		"link set " + hostInterface + " up",
		"route add " + podNet + " via " + nodeIP,
		"route add " + serviceNet + " via " + nodeIP,
	} {
		if _, err := output(exec.CommandContext(ctx, "ip", strings.Fields(args)...)); err != nil {
			return err
		}
	}
	return until(ctx, 5*time.Minute, "the node (logs: "+filepath.Join(n.run, "logs")+")", func(ctx context.Context) error {
		_, err := n.kubectl(ctx, "", "wait", "--for=condition=Ready", "node/m7pulse", "--timeout=1s")
		return err
	})
}

// writeFiles writes the node's settings, keys and certificates.
func (n *node) writeFiles() error {
	for _, dir := range []string{"logs", "cni"} {
		if err := os.MkdirAll(filepath.Join(n.run, dir), 0o700); err != nil {
			return err
		}
	}
	token := rand.Text()
	settings := map[string]string{
		"Run": n.run, "Debian": n.debian, "Socket": socket, "Cgroup": cgroup, "NodeIP": nodeIP, "PodNet": podNet, "Token": token,
		"Pause": repository + "/github.com/m7pulse/m7pulse/infra/cluster/knative/pause:" + tag,
	}
	templates, err := template.ParseFS(nodeFiles, "node/*")
	if err != nil {
		return err
	}
	for _, t := range templates.Templates() {
		var text bytes.Buffer
		if err := t.Execute(&text, settings); err != nil {
			return err
		}
		name := t.Name()
		if name == "network.conflist" {
			name = filepath.Join("cni", name)
		}
		if err := os.WriteFile(filepath.Join(n.run, name), text.Bytes(), 0o600); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"tokens.csv":  token + ",admin,1,system:masters\n",
		"resolv.conf": "nameserver " + nodeIP + "\n",
	} {
		if err := os.WriteFile(filepath.Join(n.run, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return n.writeKeys()
}

// writeKeys writes an authority, the API server's key and certificate, and the key
// that signs the tokens of service accounts. They are valid for a day.
func (n *node) writeKeys() error {
	write := func(name, kind string, der []byte) error {
		return os.WriteFile(filepath.Join(n.run, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	key := func(name string) (*ecdsa.PrivateKey, error) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			return nil, err
		}
		return k, write(name, "EC PRIVATE KEY", der)
	}
	if _, err := key("accounts.key"); err != nil {
		return err
	}
	authorityKey, err := key("ca.key")
	if err != nil {
		return err
	}
	serverKey, err := key("apiserver.key")
	if err != nil {
		return err
	}
	from := time.Now().Add(-time.Hour)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "m7pulse"}, NotBefore: from, NotAfter: from.AddDate(0, 0, 1),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: from, NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(apiIP), net.ParseIP(nodeIP)},
	}
	for name, c := range map[string]*x509.Certificate{"ca.crt": authority, "apiserver.crt": server} {
		public := &serverKey.PublicKey
		if c == authority {
			public = &authorityKey.PublicKey
		}
		der, err := x509.CreateCertificate(rand.Reader, c, authority, public, authorityKey)
		if err != nil {
			return err
		}
		if err := write(name, "CERTIFICATE", der); err != nil {
			return err
		}
	}
	return nil
}

// kubectl runs kubectl with a manifest on its standard input, and returns its output. A
// call that a webhook of Knative did not answer is repeated: on a crowded machine its
// pod is restarted at times. That is safe for all that is asked here.
func (n *node) kubectl(ctx context.Context, manifest string, args ...string) (out string, err error) {
	for try := 0; ; try++ {
		cmd := exec.CommandContext(ctx, n.program("kubectl"), append([]string{"--kubeconfig", n.kubeconfig()}, args...)...)
		cmd.Stdin = strings.NewReader(manifest)
		if out, err = output(cmd); err == nil || try == 60 || !strings.Contains(err.Error(), "failed calling webhook") {
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, errors.Join(err, ctx.Err())
		case <-time.After(2 * time.Second):
		}
	}
}

// ctr runs containerd's client on the node.
func (n *node) ctr(ctx context.Context, args ...string) *exec.Cmd {
	first, err := n.firstProcess()
	if err != nil {
		return &exec.Cmd{Err: err}
	}
	return exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(first), "--mount", "--net", "--pid", "--uts", "--ipc",
		filepath.Join(n.debian, "usr/bin/ctr"), "--address", socket, "--namespace", "k8s.io"}, args...)...)
}

// firstProcess is process 1 of the node, as the host numbers it.
func (c *cluster) firstProcess() (int, error) {
	parent, err := c.process("node")
	if err != nil {
		return 0, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		return 0, fmt.Errorf("the node has no first process: %w", err)
	}
	return pid, nil
}

// cgroups are the hierarchies of version 1 that are mounted.
func cgroups() (names []string, err error) {
	entries, err := os.ReadDir("/sys/fs/cgroup")
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", e.Name(), "cgroup.procs")); err == nil && e.Name() != "unified" {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// makeCgroups makes the parent of the pods' groups in each hierarchy.
func makeCgroups() error {
	names, err := cgroups()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join("/sys/fs/cgroup", name, cgroup), 0o755); err != nil {
			return err
		}
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // else no process may enter
		text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpuset", file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join("/sys/fs/cgroup/cpuset", cgroup, file), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroups removes what makeCgroups and the node made.
func removeCgroups() error {
	dirs, err := filepath.Glob("/sys/fs/cgroup/*/" + cgroup)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		var all []string
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, path := range slices.Backward(all) { // a folder after what is in it
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// daemon starts a process that goes on after this program. Its output goes to a log.
func (c *cluster) daemon(name string, cmd *exec.Cmd) error {
	log, err := os.Create(filepath.Join(c.run, "logs", name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() { _ = cmd.Wait() }()
	began, err := beganAt(cmd.Process.Pid)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.run, name+".pid"), []byte(fmt.Sprintf("%d %s", cmd.Process.Pid, began)), 0o600)
}

// errNotRunning is that of a daemon that was not started or has ended.
var errNotRunning = errors.New("not running")

// process is the number of a daemon that runs. A number alone may be another's by now.
func (c *cluster) process(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(c.run, name+".pid"))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, errNotRunning)
	}
	number, began, _ := strings.Cut(string(text), " ")
	pid, err := strconv.Atoi(number)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, errNotRunning)
	}
	if now, err := beganAt(pid); err != nil || now != began {
		return 0, fmt.Errorf("%s: %w", name, errNotRunning)
	}
	return pid, nil
}

// beganAt is when a process began, in ticks since the machine did.
func beganAt(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return "", errNotRunning
	}
	return fields[19], nil
}

// stop ends a daemon, by SIGKILL if a signal was not enough for 20 s.
func (c *cluster) stop(ctx context.Context, name string, signal syscall.Signal) error {
	for _, s := range []syscall.Signal{signal, syscall.SIGKILL} {
		pid, err := c.process(name)
		if err != nil {
			return nil
		}
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop %s: %w", name, err)
		}
		err = until(ctx, 20*time.Second, "the end of "+name, func(context.Context) error {
			if _, err := c.process(name); err == nil {
				return errors.New("it runs")
			}
			return nil
		})
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not end", name)
}

// halt ends the node as a power cut would. Its files stay.
func (c *cluster) halt(ctx context.Context) error {
	errs := []error{c.stop(ctx, "node", syscall.SIGKILL)}
	// The kernel keeps the node's network for a while after its last process.
	if _, err := net.InterfaceByName(hostInterface); err == nil {
		_, err := output(exec.CommandContext(ctx, "ip", "link", "delete", hostInterface))
		errs = append(errs, err)
	}
	errs = append(errs, until(ctx, time.Minute, "the end of the pods", func(context.Context) error { return removeCgroups() }))
	return errors.Join(errs...)
}

// down stops everything, whatever has been started, and removes it.
func (c *cluster) down(ctx context.Context) error {
	if _, err := os.Stat(c.run); errors.Is(err, fs.ErrNotExist) {
		fmt.Println("The cluster is not up.")
		return nil
	}
	var errs []error
	for _, name := range []string{"sources", "emulator", "clickhouse", "redis"} {
		errs = append(errs, c.stop(ctx, name, syscall.SIGTERM))
	}
	errs = append(errs, c.wipeServers(ctx), c.halt(ctx))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.RemoveAll(c.run); err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil && strings.Contains(string(mounts), c.run) {
		return fmt.Errorf("a mount under %s is left", c.run)
	}
	fmt.Println("The cluster is down; what was built is in " + c.cache + ".")
	return nil
}
