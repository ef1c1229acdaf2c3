// Command sink-clickhouse is the function sink-clickhouse as a program of its own: it links only what
// that function needs, so it starts fast.
package main

import (
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/host"
	"github.com/m7pulse/m7pulse/shared/serve"
)

func main() { host.RunWith(sinkclickhouse.New(), map[string]serve.Job{"drain": sinkclickhouse.Drain}) }
