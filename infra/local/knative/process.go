package knative

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/shared/freeport"
)

// process is one run of a function.
type process struct {
	cmd   *exec.Cmd
	url   *url.URL
	began time.Time
	done  chan struct{} // closed when it has ended
	err   error         // how, once done is closed

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
	cmd.SysProcAttr = childAttributes()
	if logDir != "" {
		out, err := openLog(logDir, name)
		if err != nil {
			return nil, err
		}
		defer out.Close() // the child has its own descriptor
		cmd.Stdout, cmd.Stderr = out, out
	}
	p := &process{cmd: cmd, url: &url.URL{Scheme: "http", Host: address, Path: "/"}, began: time.Now(), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel ends the child when the thread that made it ends, so that
		// thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
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
func (p *process) awaitReady(transport *http.Transport, timeout time.Duration, quit <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	readiness := p.url.JoinPath("/health/readiness").String()
	again := time.NewTicker(readinessPeriod)
	defer again.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, readiness, nil)
		if err != nil {
			return err
		}
		if resp, err := transport.RoundTrip(req); err == nil {
			discard(resp.Body)
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended before it was ready: %w", p.failure())
		case <-ctx.Done():
			return fmt.Errorf("it was not ready after %s", timeout)
		case <-quit:
			return errClosed
		case <-again.C:
		}
	}
}

// failure says how the process ended; for a process that should not have, even
// exit code 0 is one.
func (p *process) failure() error {
	if p.err != nil {
		return p.err
	}
	return errors.New("exit status 0")
}

// stopGrace is what Kubernetes gives a pod between SIGTERM and SIGKILL.
const stopGrace = 30 * time.Second

// stop asks the process to end, and makes it after the grace.
func (p *process) stop(grace time.Duration) {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// signal reaches the whole process group; one that has ended does not matter.
func (p *process) signal(s syscall.Signal) {
	_ = syscall.Kill(-p.cmd.Process.Pid, s)
}
