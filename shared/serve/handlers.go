package serve

import (
	"context"
	"fmt"
	"sync"
)

// Handlers are the events that a function is handling: it must not close what they use.
type Handlers struct {
	name string

	mu       sync.Mutex // of stopping's end, and so that no handler begins after it
	stopping chan struct{}
	running  sync.WaitGroup
}

// NewHandlers returns those of a function.
func NewHandlers(name string) *Handlers {
	return &Handlers{name: name, stopping: make(chan struct{})}
}

// Begin counts a handler until it calls end. It fails once Stop was called.
func (h *Handlers) Begin() (end func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Stopped() {
		return nil, fmt.Errorf("%s is stopping", h.name)
	}
	h.running.Add(1)
	return h.running.Done, nil
}

// Stopping is closed by Stop: a handler that waits for something ends early.
func (h *Handlers) Stopping() <-chan struct{} { return h.stopping }

// Stop lets no more handlers begin and waits for those that run, which may outlast ctx:
// that is its error.
func (h *Handlers) Stop(ctx context.Context) error {
	h.mu.Lock()
	if !h.Stopped() {
		close(h.stopping)
	}
	h.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		h.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: handlers are still running: %w", h.name, ctx.Err())
	}
}

// Stopped says whether Stop was called.
func (h *Handlers) Stopped() bool {
	select {
	case <-h.stopping:
		return true
	default:
		return false
	}
}
