// Command all-in-one is all functions as one program: the image that
// infra/deploy/all-in-one asks for.
package main

import (
	"github.com/m7pulse/m7pulse"
	"github.com/m7pulse/m7pulse/infra/local/host"
)

func main() { host.Run(m7pulse.New()) }
