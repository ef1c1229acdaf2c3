package knative

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// phase is the state of a function between zero and one replica.
type phase int

const (
	atZero phase = iota
	starting
	ready
	stopping
)

// function runs at most one process of a function, from its first request
// until it has been idle. A request takes a process with acquire and gives it
// back with release.
type function struct {
	name      string
	minScale  int
	argv, env []string
	cfg       Config
	transport *http.Transport

	mu      sync.Mutex
	phase   phase
	changed chan struct{} // closed, and replaced, when the phase changes
	process *process      // in phases ready and stopping
	idle    time.Time     // since when nothing is in flight
	waiting int
	closing context.Context // done once stop was called
	cancel  context.CancelCauseFunc
	ended   sync.WaitGroup // the goroutine of the current run

	failedStarts        int // in all: by it a waiting request sees that its start failed
	startError          error
	consecutiveFailures int // runs in a row that ended without a 2xx
	account             account
}

func newFunction(f Function, cfg Config, transport *http.Transport) *function {
	closing, cancel := context.WithCancelCause(context.Background())
	return &function{
		name: f.Name, minScale: f.MinScale, cfg: cfg, transport: transport,
		argv: cfg.Command(f.Name), env: f.environment(cfg, os.LookupEnv),
		changed: make(chan struct{}), closing: closing, cancel: cancel, account: newAccount(),
	}
}

// passedOn are the variables of the runner that its functions get: what a program
// needs on this machine, and the proxies to the Internet.
var passedOn = []string{
	"PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// environment resolves what func.yaml says. A Secret's key is looked up in Env,
// then in the runner's own environment by the variable's name; one that is in
// neither is left out, and the function says what it lacks.
func (f Function) environment(cfg Config, lookup func(string) (string, bool)) []string {
	env := []string{"TZ=UTC"}
	for _, name := range passedOn {
		if v, ok := lookup(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for _, e := range f.Env {
		value, ok := e.Value, true
		switch {
		case e.Config != "":
			if value, ok = cfg.Env[e.Config]; !ok {
				value, ok = cfg.Topology.Config[e.Config]
			}
		case e.Secret != "":
			if value, ok = cfg.Env[e.Secret]; !ok {
				value, ok = lookup(e.Name)
			}
		}
		if ok {
			env = append(env, e.Name+"="+value)
		}
	}
	for name, value := range cfg.FunctionEnv[f.Name] {
		env = append(env, name+"="+value)
	}
	return env
}

var (
	errBusy   = errors.New("too many requests are waiting for it to start")
	errClosed = errors.New("the cluster is stopping")
)

// maxWaiting bounds the requests that wait for one function to start: those of
// all sources fit.
const maxWaiting = 1000

// acquire returns the function's process, which it starts if need be. The
// process is not stopped for idleness before it is released.
func (f *function) acquire(ctx context.Context) (*process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	failed := f.failedStarts
	for {
		switch {
		case f.closing.Err() != nil:
			return nil, fmt.Errorf("%s: %w", f.name, errClosed)
		case f.phase == ready:
			f.process.inFlight++
			return f.process, nil
		case f.failedStarts > failed:
			return nil, fmt.Errorf("%s: %w", f.name, f.startError)
		case f.waiting >= maxWaiting:
			return nil, fmt.Errorf("%s: %w", f.name, errBusy)
		case f.phase == atZero:
			f.begin()
		}
		f.waiting++
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
		f.waiting--
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%s: wait until it is ready: %w", f.name, err)
		}
	}
}

// release gives the process back, with the status of its answer, or 0 if there
// was none.
func (f *function) release(p *process, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.inFlight--
	f.account.answer(status)
	if p == f.process && p.inFlight == 0 {
		f.idle = time.Now()
	}
	if status/100 == 2 && !p.answered {
		p.answered = true
		f.consecutiveFailures = 0
		f.account.coldAnswer.add(time.Since(p.began))
	}
}

// start brings up a function that is never to be at zero.
func (f *function) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.minScale > 0 {
		f.begin()
	}
}

// stop ends the process and waits until it is gone. When ctx ends, it is killed.
func (f *function) stop(ctx context.Context) error {
	f.mu.Lock()
	f.cancel(errClosed)
	f.become(f.phase) // wakes those who wait
	p := f.process
	f.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		f.ended.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	err := fmt.Errorf("%s did not stop: %w", f.name, ctx.Err())
	if p != nil {
		err = errors.Join(err, p.SignalGroup(syscall.SIGKILL))
	}
	<-gone
	return err
}

// become sets the phase and wakes waiting requests. The caller holds the mutex.
func (f *function) become(p phase) {
	f.phase = p
	close(f.changed)
	f.changed = make(chan struct{})
}

// begin starts one run of the function. The caller holds the mutex.
func (f *function) begin() {
	f.become(starting)
	pause := backOff(f.consecutiveFailures)
	f.ended.Go(func() {
		crashed := f.runOnce(pause)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.process = nil
		f.become(atZero)
		if crashed && f.minScale > 0 && f.closing.Err() == nil {
			f.begin()
		}
	})
}

// backOff is the pause before a start that follows n failures in a row.
func backOff(n int) time.Duration {
	if n == 0 {
		return 0
	}
	return min(100*time.Millisecond<<min(n-1, 10), 10*time.Second)
}

// runOnce runs the function from zero to zero. It reports whether it ended without
// being stopped.
func (f *function) runOnce(pause time.Duration) (crashed bool) {
	select {
	case <-time.After(pause):
	case <-f.closing.Done():
		return false
	}
	p, err := spawn(f.argv, f.env, f.cfg.LogDir, f.name)
	if err != nil {
		f.crash(nil, fmt.Errorf("start: %w", err))
		return true
	}
	if err := p.awaitReady(f.closing, f.transport, f.cfg.StartTimeout); err != nil {
		f.end(p)
		f.crash(p, fmt.Errorf("start: %w", err))
		return true
	}
	f.mu.Lock()
	f.account.starts++
	f.account.coldReady.add(time.Since(p.began))
	f.process, f.idle = p, time.Now()
	f.become(ready)
	f.mu.Unlock()
	return f.watch(p)
}

// watch stops a process that is idle, and notices one that ends by itself.
func (f *function) watch(p *process) (crashed bool) {
	check := time.NewTimer(f.cfg.IdleAfter)
	defer check.Stop()
	for {
		select {
		case <-p.Done():
			f.crash(p, errors.New(p.State().String())) // even status 0 is a failure
			return true
		case <-f.closing.Done():
			f.end(p)
			return false
		case <-check.C:
			left := f.restOrStop(p)
			if left == 0 {
				f.end(p)
				return false
			}
			check.Reset(left)
		}
	}
}

// end stops the process. A server that drains waits 5 s for a connection that
// never carried a request, and the pool may hold some: they are closed first.
func (f *function) end(p *process) {
	f.transport.CloseIdleConnections()
	if err := p.StopGroup(stopGrace); err != nil {
		slog.Warn("stop a function", "function", f.name, "pid", p.PID(), "error", err)
	}
}

// restOrStop returns how long the process may stay idle, or, if it has been
// idle for long enough, puts the function in phase stopping and returns 0.
func (f *function) restOrStop(p *process) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.inFlight > 0 || f.minScale > 0 {
		return f.cfg.IdleAfter
	}
	if left := f.cfg.IdleAfter - time.Since(f.idle); left > 0 {
		return left
	}
	f.become(stopping)
	return 0
}

// crash notes that a process ended by itself, or did not become ready.
func (f *function) crash(p *process, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.consecutiveFailures++
	f.account.crashes++
	switch f.phase {
	case starting:
		f.failedStarts++
		f.startError = err
	case ready:
		f.become(stopping) // no request is given to a process that is gone
	}
	pid := 0
	if p != nil {
		pid = p.PID()
	}
	slog.Warn("function ended by itself", "function", f.name, "pid", pid, "error", err)
}
