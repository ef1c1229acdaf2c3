// Command api is the function api as a program of its own: it links only what
// that function needs, so it starts fast.
package main

import (
	"github.com/m7pulse/m7pulse/functions/api"
	"github.com/m7pulse/m7pulse/infra/local/host"
)

func main() { host.Run(api.New()) }
