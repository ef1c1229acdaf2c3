// Package child runs programs as children of this process.
//
// A child has a process group of its own: a Ctrl-C at the terminal reaches this
// process only, which then stops its children in their turn. On Linux the kernel ends
// a child when this process dies, however it dies.
package child

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a child that was started.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended, once done is closed
}

// Start starts a command. orphaned is the signal that the kernel sends the child on
// Linux when this process dies. The command's SysProcAttr is overwritten.
func Start(cmd *exec.Cmd, orphaned syscall.Signal) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	cmd.SysProcAttr = attributes(orphaned)
	started := make(chan error)
	go func() {
		defer close(p.done)
		// The kernel takes the thread that starts a process for its parent, so that
		// thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// PID is its process id, and that of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err waits until it has ended and returns how: nil for exit status 0.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// State waits until it has ended and returns what it used.
func (p *Process) State() *os.ProcessState {
	<-p.done
	return p.cmd.ProcessState
}

// Signal sends the process a signal. It is not an error if it has ended.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal pid %d: %w", p.PID(), err)
	}
	return nil
}

// SignalGroup sends a signal to the process and to all that it started and left in its
// group. It does nothing if the process has ended.
func (p *Process) SignalGroup(s syscall.Signal) error {
	select {
	case <-p.done:
		return nil // its id may be another's by now
	default:
	}
	if err := syscall.Kill(-p.PID(), s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process group %d: %w", p.PID(), err)
	}
	return nil
}

// ErrKilled says that a child did not end in time.
var ErrKilled = errors.New("it did not stop in time and was killed")

// Stop asks the process to end with SIGTERM, waits, and kills it after the grace, which
// is ErrKilled. How it ended is in Err.
func (p *Process) Stop(grace time.Duration) error { return p.stop(grace, p.Signal) }

// StopGroup is Stop with both signals sent to the process's whole group.
func (p *Process) StopGroup(grace time.Duration) error { return p.stop(grace, p.SignalGroup) }

func (p *Process) stop(grace time.Duration, signal func(syscall.Signal) error) error {
	if err := signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
	}
	if err := signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return ErrKilled
}

// Await calls ready every so often until it says true. It fails when the process ends
// before, or ctx does.
func (p *Process) Await(ctx context.Context, every time.Duration, ready func(context.Context) bool) error {
	again := time.NewTicker(every)
	defer again.Stop()
	for !ready(ctx) {
		select {
		case <-p.done:
			if p.err == nil {
				return errors.New("it ended before it was ready: exit status 0")
			}
			return fmt.Errorf("it ended before it was ready: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w", context.Cause(ctx))
		case <-again.C:
		}
	}
	return nil
}

// AwaitHTTP waits until a URL is answered with 200 by the process.
func (p *Process) AwaitHTTP(ctx context.Context, url string) error {
	return p.Await(ctx, 20*time.Millisecond, func(ctx context.Context) bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close() // it was only asked for its status
		return resp.StatusCode == http.StatusOK
	})
}

// Run runs a command to its end. When ctx ends, or this process dies, it gets SIGTERM;
// after the grace it is killed.
func Run(ctx context.Context, cmd *exec.Cmd, grace time.Duration) error {
	p, err := Start(cmd, syscall.SIGTERM)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
	}
	return errors.Join(context.Cause(ctx), p.Stop(grace))
}
