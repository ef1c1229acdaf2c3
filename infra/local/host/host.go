// Package host is the program around one function: func-go's host, as in a
// cluster, or the function's bulk door.
package host

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	funchttp "knative.dev/func-go/http"

	"github.com/m7pulse/m7pulse/shared/serve"
)

// Run serves the function on LISTEN_ADDRESS until SIGTERM, and ends the process
// with 1 if it cannot.
func Run(function *serve.Instance) {
	zerolog.SetGlobalLevel(zerolog.WarnLevel) // the host tells of every step
	end(funchttp.Start(function))
}

// RunOrDrain serves the function, or, as "<program> drain", goes through its
// bulk door and ends.
func RunOrDrain(function *serve.Instance, drain func(ctx context.Context, environ map[string]string) error) {
	switch args := os.Args[1:]; {
	case len(args) == 0:
		Run(function)
	case len(args) == 1 && args[0] == "drain":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		end(drain(ctx, environ()))
	default:
		end(fmt.Errorf("%s: want no argument, or drain", strings.Join(args, " ")))
	}
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
