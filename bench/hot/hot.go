// Package hot starts the embedded ClickHouse for the benchmarks.
package hot

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/library"
	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/freeport"
)

// Server is an embedded engine that runs.
type Server struct {
	Address string // http://host:port
	process *child.Process
}

// Serve starts the embedded engine as a process of its own, from the program
// pulse, over a folder of data.
func Serve(ctx context.Context, pulse, data string) (*Server, error) {
	engine, err := library.Fetch(ctx, nil)
	if err != nil {
		return nil, err
	}
	at, err := freeport.Address()
	if err != nil {
		return nil, err
	}
	cmd := clickhouse.Embedded(pulse, clickhouse.Config{Library: engine, DataDir: data, Addr: at})
	cmd.Stderr = os.Stderr
	process, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, err
	}
	s := &Server{Address: "http://" + at, process: process}
	starting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := process.AwaitHTTP(starting, s.Address+"/ping"); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start clickhouse: %w", err)
	}
	return s, nil
}

// Stop ends the engine. Its data is not needed any more.
func (s *Server) Stop() { _ = s.process.Stop(30 * time.Second) }

// ticks is how many clock ticks a second of CPU has in /proc, on every Linux.
const ticks = 100

// Usage is what the engine has used so far: seconds of CPU, and the most memory in
// MiB. It works on Linux only.
func (s *Server) Usage() (cpu float64, mib int64, err error) {
	proc := "/proc/" + strconv.Itoa(s.process.PID())
	stat, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return 0, 0, err
	}
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		return 0, 0, err
	}
	_, after, _ := strings.Cut(string(stat), ") ") // the name before may have blanks
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, 0, fmt.Errorf("%s/stat: %d fields", proc, len(fields))
	}
	for _, f := range fields[11:13] { // user, system
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s/stat: %w", proc, err)
		}
		cpu += float64(n) / ticks
	}
	_, peak, ok := strings.Cut(string(status), "VmHWM:")
	if !ok {
		return 0, 0, fmt.Errorf("%s/status has no VmHWM", proc)
	}
	kib, err := strconv.ParseInt(strings.Fields(peak)[0], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("%s/status: VmHWM: %w", proc, err)
	}
	return cpu, kib >> 10, nil
}
