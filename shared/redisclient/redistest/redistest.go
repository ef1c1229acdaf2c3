// Package redistest runs redis-server processes for tests of what one server
// alone, or a server in this process, does not show.
package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/freeport"
)

// patience bounds how long a server may take to start, and a cluster to agree.
const patience = 30 * time.Second

// Cluster runs a cluster of three masters until the test ends, and returns its
// address. Without redis-server on PATH the test is skipped.
func Cluster(t testing.TB) (address string) {
	t.Helper()
	var nodes []*redis.Client
	var ports []string
	for range 3 {
		port, bus := freePort(t), freePort(t)
		run(t, port, "--port", port, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "5000",
			"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
		nodes, ports = append(nodes, connect(t, port)), append(ports, port+" "+bus)
	}
	const slots = 16_384
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i, n := range nodes {
		do(t, n, "CLUSTER", "ADDSLOTSRANGE", i*slots/3, (i+1)*slots/3-1)
		do(t, n, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	for _, p := range ports[1:] {
		port, bus, _ := strings.Cut(p, " ")
		do(t, nodes[0], "CLUSTER", "MEET", "127.0.0.1", port, bus)
	}
	for _, n := range nodes {
		await(ctx, t, "the cluster", func() bool {
			info, err := n.ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_size:3")
		})
	}
	first, _, _ := strings.Cut(ports[0], " ")
	address = "redis://127.0.0.1:" + first + "?"
	for i, p := range ports[1:] {
		port, _, _ := strings.Cut(p, " ")
		if i > 0 {
			address += "&"
		}
		address += "addr=127.0.0.1:" + port
	}
	return address
}

// Sentinel runs a master and a Sentinel that watches it until the test ends, and
// returns the address by which a client finds the master, and the master's own.
func Sentinel(t testing.TB) (address, master string) {
	t.Helper()
	port := freePort(t)
	run(t, port, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
	sentinel := freePort(t)
	conf := filepath.Join(t.TempDir(), "sentinel.conf") // it writes there what it learns
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 %s 1\n", sentinel, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, sentinel, conf, "--sentinel")
	return "redis://127.0.0.1:" + sentinel + "?master_name=main", "redis://127.0.0.1:" + port
}

// Server starts one server with arguments of its configuration, and returns its address as the functions take it.
func Server(t testing.TB, arguments ...string) (address string) {
	t.Helper()
	port := freePort(t)
	run(t, port, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"}, arguments...)...)
	return "redis://127.0.0.1:" + port
}

// run starts redis-server and waits until it answers.
func run(t testing.TB, port string, arguments ...string) {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on PATH, so nothing was tested against a real cluster or Sentinel")
	}
	var log bytes.Buffer
	cmd := exec.Command(binary, arguments...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &log, &log
	server, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Stop(0)
		if t.Failed() {
			t.Logf("redis-server on port %s: %s", port, log.Bytes())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = server.Await(ctx, 20*time.Millisecond, func(context.Context) bool {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		return err == nil && conn.Close() == nil
	})
	if err != nil {
		t.Fatalf("start redis-server on port %s: %v", port, err)
	}
}

func await(ctx context.Context, t testing.TB, what string, ready func() bool) {
	t.Helper()
	for !ready() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s was not ready within %s", what, patience)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func connect(t testing.TB, port string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func do(t testing.TB, n *redis.Client, command ...any) {
	t.Helper()
	if err := n.Do(t.Context(), command...).Err(); err != nil {
		t.Fatalf("%v: %v", command, err)
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}
