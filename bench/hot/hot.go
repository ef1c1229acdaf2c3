// Package hot starts the embedded ClickHouse for the benchmarks.
package hot

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/library"
)

// Serve starts the embedded engine as a process of its own, from the program
// pulse, over a folder of data.
func Serve(ctx context.Context, pulse, data string) (address string, stop func(), err error) {
	engine, err := library.Fetch(ctx, nil)
	if err != nil {
		return "", nil, err
	}
	free, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	at := free.Addr().String()
	if err := free.Close(); err != nil {
		return "", nil, err
	}
	server := exec.CommandContext(ctx, pulse, "embedded", "clickhouse", "--library", engine, "--data", data, "--address", at)
	server.Env = append(os.Environ(), "TZ=UTC")
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = server.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		_ = server.Wait()
	}
	for range 300 {
		resp, err := http.Get("http://" + at + "/ping")
		if err == nil {
			_ = resp.Body.Close()
			return "http://" + at, stop, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	return "", nil, errors.New("clickhouse does not answer")
}
