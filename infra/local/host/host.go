// Package host is the program around one function: func-go's host, as in a
// cluster, or a job that the function does once.
package host

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	funchttp "knative.dev/func-go/http"

	"github.com/m7pulse/m7pulse/shared/serve"
)

// Run serves the function on LISTEN_ADDRESS until SIGTERM, and ends the process
// with 1 if it cannot. Without LISTEN_ADDRESS it listens on PORT, or 8080, of
// every address.
func Run(function *serve.Instance) {
	zerolog.SetGlobalLevel(zerolog.WarnLevel) // the host logs every step
	if err := listenForKubelet(); err != nil {
		end(err)
	}
	function.StartLog(environ())
	if err := funchttp.Start(function); err != nil {
		slog.Error("serve the function", "error", err)
		os.Exit(1)
	}
}

// listenForKubelet gives LISTEN_ADDRESS a value where nobody has. Knative sets
// PORT alone, and func-go then listens on loopback: the queue-proxy reaches it
// there, so it is ready, but the kubelet probes the pod's address, and restarts
// the container every 30 s.
func listenForKubelet() error {
	if os.Getenv("LISTEN_ADDRESS") != "" || os.Getenv("ADDRESS") != "" { // ADDRESS: func-go's old name for the host
		return nil
	}
	if err := os.Setenv("LISTEN_ADDRESS", "[::]:"+cmp.Or(os.Getenv("PORT"), "8080")); err != nil {
		return fmt.Errorf("set LISTEN_ADDRESS: %w", err)
	}
	return nil
}

// RunWith serves the function, or, as "<program> <job>", does one of its jobs.
func RunWith(function *serve.Instance, jobs map[string]serve.Job) {
	if len(os.Args) == 1 {
		Run(function)
		return
	}
	job, ok := jobs[os.Args[1]]
	if !ok || len(os.Args) != 2 {
		end(fmt.Errorf("%s: want no argument, or one of %s", strings.Join(os.Args[1:], " "), slices.Sorted(maps.Keys(jobs))))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	end(function.Do(ctx, environ(), job))
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func environ() map[string]string {
	out := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		out[name] = value
	}
	return out
}
