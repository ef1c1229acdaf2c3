//go:build stage

package check

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestStagedFunctionsAndKosAnswerTheKubeletInKnativesEnvironment: each program, in the environment of its image and of Knative, is alive at the
// address of its pod, where the kubelet asks. func's builder puts what func.yaml
// says into the image; ko puts nothing there.
func TestStagedFunctionsAndKosAnswerTheKubeletInKnativesEnvironment(t *testing.T) {
	address := outside(t)
	kos := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-tags", "grpcnotrace", "-o", kos+"/", "./cmd/functions/...", "./cmd/all-in-one")
	build.Dir = root
	build.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GOWORK=") }), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, name := range staged {
		dir, err := filepath.Abs(filepath.Join(stage, name, ".func/build/oci"))
		if err != nil {
			t.Fatal(err)
		}
		config, err := amd64(t, dir).ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		t.Run("func "+name, func(t *testing.T) { alive(t, program(t, name), config.Config.Env, address, "8080") })
		t.Run("ko "+name, func(t *testing.T) {
			ko := filepath.Join(kos, strings.Replace(name, "m7pulse", "all-in-one", 1))
			alive(t, ko, nil, address, freePort(t))
		})
	}
}

// alive starts a program with Knative's variables, the addresses that its
// configuration cannot do without, and image's, and waits for its 200.
func alive(t *testing.T, program string, image []string, address, port string) {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, image, []string{
		"PORT=" + port, "K_SERVICE=f", "K_REVISION=f-00001", "K_CONFIGURATION=f",
		"KAFKA_BROKERS=127.0.0.1:1", "KAFKA_TLS=false", "KAFKA_SASL_MECHANISM=", "SCHEMA_REGISTRY_URL=http://127.0.0.1:1", "REDIS_URL=redis://127.0.0.1:1", "CLICKHOUSE_URL=http://127.0.0.1:1", "CLICKHOUSE_READER_URL=http://127.0.0.1:1",
		"ICEBERG_CATALOG_URI=http://127.0.0.1:1", "ICEBERG_WAREHOUSE=s3://w", "S3_ENDPOINT=http://127.0.0.1:1", "S3_REGION=r", "S3_ACCESS_KEY_ID=a", "S3_SECRET_ACCESS_KEY=s",
		"GITHUB_TOKEN=ghp_of_nobody", "GITHUB_GRAPHQL_URL=http://127.0.0.1:1/graphql", "OWNERS=acme",
		"API_KEYS=", "SIGNALS=", "API_RATE=20", "API_PROXIES=2", "API_ORIGINS=",
	})
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	url := "http://" + net.JoinHostPort(address, port) + "/health/liveness"
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r, err := http.Get(url)
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s: no 200 within 20 s: %v\n%s", url, err, head(log.String()))
		}
	}
}

// outside is an address of this machine that is not loopback.
func outside(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("SKIPPED: no program was probed: this machine has loopback addresses alone")
	return ""
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
