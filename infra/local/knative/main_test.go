package knative

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// childMode tells the test binary that it is to be a function, and of which kind.
const childMode = "KNATIVE_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		os.Exit(runChild(mode))
	}
	os.Exit(m.Run())
}

// runChild is a tiny function. Its paths do what they are called.
func runChild(mode string) int {
	if mode == "runner" {
		return runRunner()
	}
	if mode == "broken" {
		fmt.Fprintln(os.Stderr, "the configuration is bad")
		return 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	began := time.Now()
	mux.HandleFunc("/health/readiness", func(w http.ResponseWriter, _ *http.Request) {
		if mode == "slow" && time.Since(began) < 300*time.Millisecond {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		for _, v := range os.Environ() {
			fmt.Fprintln(w, v)
		}
	})
	mux.HandleFunc("/sleep", func(w http.ResponseWriter, _ *http.Request) { time.Sleep(300 * time.Millisecond) })
	mux.HandleFunc("/die", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = w.Write(body)
	})
	mux.HandleFunc("/teapot", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	server := &http.Server{Addr: os.Getenv("LISTEN_ADDRESS"), Handler: mux}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		<-ctx.Done()
		if mode == "stubborn" {
			select {}
		}
		_ = server.Shutdown(context.Background())
		fmt.Println("drained")
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-drained
	return 0
}

// runRunner is a runner of one function. It prints the function's pid.
func runRunner() int {
	cfg := Config{
		Topology:    &Topology{},
		Command:     func(string) []string { return os.Args[:1] },
		FunctionEnv: map[string]map[string]string{"fn": {childMode: "plain"}},
	}
	f := newFunction(Function{Name: "fn"}, cfg.withDefaults(), newTransport())
	p, err := f.acquire(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(p.PID())
	select {}
}
