// Command fetch-events is the function fetch-events as a program of its own: it links only what
// that function needs, so it starts fast.
package main

import (
	fetchevents "github.com/m7pulse/m7pulse/functions/fetch-events"
	"github.com/m7pulse/m7pulse/infra/local/host"
)

func main() { host.Run(fetchevents.New()) }
