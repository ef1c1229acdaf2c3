package host_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/m7pulse/m7pulse/infra/local/host"
	"github.com/m7pulse/m7pulse/shared/freeport"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// asFunction tells the test binary to be a function's program.
const asFunction = "HOST_TEST_FUNCTION"

func TestMain(m *testing.M) {
	if os.Getenv(asFunction) != "" {
		host.Run(serve.New("test", func(context.Context, map[string]string) (serve.Function, error) { return idle{}, nil }))
		return
	}
	os.Exit(m.Run())
}

// idle is a function that takes every event.
type idle struct{}

func (idle) Receive(context.Context, cloudevents.Event) error { return nil }
func (idle) Status() serve.Status                             { return serve.Status{} }
func (idle) Close(context.Context) error                      { return nil }

// The kubelet probes a pod at the pod's address, and the only variables that
// Knative sets are these.
func TestProgramInKnativesEnvironmentAnswersTheKubelet(t *testing.T) {
	address, port, given := outside(t), freePort(t), freePort(t)
	run(t, []string{"PORT=" + port, "K_SERVICE=test", "K_REVISION=test-00001", "K_CONFIGURATION=test"})
	await(t, "http://"+net.JoinHostPort(address, port)+"/health/liveness")
	// As the manifests have it.
	run(t, []string{"PORT=1", "K_SERVICE=test", "LISTEN_ADDRESS=[::]:" + given})
	await(t, "http://"+net.JoinHostPort(address, given)+"/health/liveness")
}

// An address that an operator gives is the one that counts.
func TestProgramListensWhereItIsToldTo(t *testing.T) {
	address, port := outside(t), freePort(t)
	run(t, []string{"PORT=1", "K_SERVICE=test", "LISTEN_ADDRESS=127.0.0.1:" + port})
	await(t, "http://127.0.0.1:"+port+"/health/liveness")
	if conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, port), time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		if err == nil {
			conn.Close()
		}
		t.Errorf("dial %s:%s: %v, want it refused", address, port, err)
	}
}

func run(t *testing.T, set []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(set, asFunction+"=1", "PATH="+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	})
}

func await(t *testing.T, url string) {
	t.Helper()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var r *http.Response
		if r, err = http.Get(url); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
	}
	t.Fatalf("%s: no 200 within 10 s: %v", url, err)
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
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}
