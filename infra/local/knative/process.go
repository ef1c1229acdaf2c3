package knative

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/freeport"
)

// process is one run of a function.
type process struct {
	*child.Process
	url   *url.URL
	began time.Time

	inFlight int  // guarded by the function's mutex
	answered bool // it gave a 2xx; guarded likewise
}

// spawn starts a function on a free port.
func spawn(argv, env []string, logDir, name string) (*process, error) {
	address, err := freeport.Address()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(env, "LISTEN_ADDRESS="+address)
	if logDir != "" {
		out, err := openLog(logDir, name)
		if err != nil {
			return nil, err
		}
		defer out.Close() // the child has its own descriptor
		cmd.Stdout, cmd.Stderr = out, out
	}
	began := time.Now()
	started, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, err
	}
	return &process{Process: started, url: &url.URL{Scheme: "http", Host: address, Path: "/"}, began: began}, nil
}

// maxLog bounds a function's log, with as much again in the file before it.
const maxLog = 16 << 20

// openLog opens a function's log to append to. A log that has grown large is
// put aside when the function starts: a running one keeps its file.
func openLog(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the logs: %w", err)
	}
	path := filepath.Join(dir, name+".log")
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("put the log of %s aside: %w", name, err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	return f, nil
}

// readinessPeriod is short, because it is a part of every cold start.
const readinessPeriod = 3 * time.Millisecond

// awaitReady returns nil once the process says that it takes events.
func (p *process) awaitReady(ctx context.Context, transport *http.Transport, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%s have passed", timeout))
	defer cancel()
	readiness := p.url.JoinPath("/health/readiness").String()
	return p.Await(ctx, readinessPeriod, func(ctx context.Context) bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, readiness, nil)
		if err != nil {
			return false
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return false
		}
		discard(resp.Body)
		return resp.StatusCode == http.StatusOK
	})
}

// stopGrace is what Kubernetes gives a pod between SIGTERM and SIGKILL.
const stopGrace = 30 * time.Second
