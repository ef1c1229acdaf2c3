package child_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/child"
)

// parentMode has the test binary start a child, print its process id and wait.
const parentMode = "CHILD_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentMode) == "" {
		os.Exit(m.Run())
	}
	p, err := child.Start(exec.Command("sleep", "60"), syscall.SIGTERM)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	<-p.Done()
}

// shell runs a script.
func shell(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

func start(t *testing.T, script string) *child.Process {
	t.Helper()
	p, err := child.Start(shell(script), syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(0) })
	return p
}

func TestAChildIsAskedToStopFirst(t *testing.T) {
	ready := t.TempDir() + "/ready"
	p := start(t, "trap 'exit 7' TERM; touch "+ready+"; while :; do sleep 0.01; done")
	if err := p.Await(t.Context(), time.Millisecond, exists(ready)); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(10 * time.Second); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if !errors.As(p.Err(), &exit) || exit.ExitCode() != 7 {
		t.Errorf("it ended with %v, want status 7", p.Err())
	}
	if err := p.Stop(time.Second); err != nil {
		t.Errorf("stop one that has ended: %v", err)
	}
}

func TestAChildThatDoesNotStopIsKilled(t *testing.T) {
	ready := t.TempDir() + "/ready"
	p := start(t, "trap '' TERM; touch "+ready+"; while :; do sleep 0.01; done")
	if err := p.Await(t.Context(), time.Millisecond, exists(ready)); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(50 * time.Millisecond); !errors.Is(err, child.ErrKilled) {
		t.Errorf("got %v", err)
	}
	if p.State().Success() {
		t.Error("it ended by itself")
	}
}

func TestWaitingEndsWithTheChild(t *testing.T) {
	p := start(t, "exit 3")
	err := p.Await(t.Context(), time.Hour, func(context.Context) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
}

func TestWaitingForAnAnswerTakesOnly200(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	if err := start(t, "sleep 60").AwaitHTTP(t.Context(), server.URL); err != nil || asked.Load() != 3 {
		t.Errorf("%v after %d questions, want 3", err, asked.Load())
	}
}

func TestARunEndsWithItsContext(t *testing.T) {
	ready := t.TempDir() + "/ready"
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for !exists(ready)(ctx) {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	err := child.Run(ctx, shell("trap 'exit 0' TERM; touch "+ready+"; while :; do sleep 0.01; done"), 10*time.Second)
	if !errors.Is(err, context.Canceled) || errors.Is(err, child.ErrKilled) {
		t.Errorf("got %v", err)
	}
	if err := child.Run(t.Context(), shell("exit 5"), time.Second); err == nil || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("got %v", err)
	}
}

func exists(path string) func(context.Context) bool {
	return func(context.Context) bool {
		_, err := os.Stat(path)
		return err == nil
	}
}
