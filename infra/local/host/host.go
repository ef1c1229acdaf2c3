// Package host runs one function in a process of its own, on the host that it
// has in a cluster: func-go's.
package host

import (
	"fmt"
	"os"

	"github.com/rs/zerolog"
	funchttp "knative.dev/func-go/http"

	"github.com/m7pulse/m7pulse/shared/serve"
)

// Run serves the function on LISTEN_ADDRESS until SIGTERM, and ends the process
// with 1 if it cannot.
func Run(function *serve.Instance) {
	zerolog.SetGlobalLevel(zerolog.WarnLevel) // the host tells of every step
	if err := funchttp.Start(function); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
