// Command sink-clickhouse is the function sink-clickhouse as a program of its own: it links only what
// that function needs, so it starts fast.
package main

import (
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/host"
)

func main() { host.RunWith(sinkclickhouse.New(), map[string]host.Job{"drain": sinkclickhouse.Drain}) }
