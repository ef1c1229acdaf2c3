// Package hot starts the embedded ClickHouse for the benchmarks.
package hot

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/library"
	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/freeport"
)

// Serve starts the embedded engine as a process of its own, from the program
// pulse, over a folder of data.
func Serve(ctx context.Context, pulse, data string) (address string, stop func(), err error) {
	engine, err := library.Fetch(ctx, nil)
	if err != nil {
		return "", nil, err
	}
	at, err := freeport.Address()
	if err != nil {
		return "", nil, err
	}
	server := clickhouse.Embedded(pulse, clickhouse.Config{Library: engine, DataDir: data, Addr: at})
	server.Stderr = os.Stderr
	process, err := child.Start(server, syscall.SIGKILL)
	if err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = process.Stop(30 * time.Second) // its data is not needed any more
	}
	starting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := process.AwaitHTTP(starting, "http://"+at+"/ping"); err != nil {
		stop()
		return "", nil, fmt.Errorf("start clickhouse: %w", err)
	}
	return "http://" + at, stop, nil
}
