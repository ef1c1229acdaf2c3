// Command sink-iceberg is the function sink-iceberg as a program of its own: it links only what
// that function needs, so it starts fast.
package main

import (
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/host"
	"github.com/m7pulse/m7pulse/shared/serve"
)

func main() { host.RunWith(sinkiceberg.New(), map[string]serve.Job{"drain": sinkiceberg.Drain}) }
