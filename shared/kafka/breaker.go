package kafka

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// breakerTrips is how many failures in a row open a breaker.
	breakerTrips = 3
	// breakerOpen is how long a breaker stays open.
	breakerOpen = 10 * time.Second
)

// ErrOpen: the store has failed repeatedly, and is not tried for a while.
var ErrOpen = errors.New("circuit breaker is open")

// breaker is the circuit breaker before a drain's store. Closed, every block is tried.
// After three failures in a row it opens: for 10 s bells are refused at once and the
// store is not tried. Then it is half open: one block is tried, and its result closes
// or opens the breaker.
type breaker struct {
	circuit *gobreaker.CircuitBreaker[struct{}]
}

func newBreaker(name string) *breaker {
	return &breaker{gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        name,
		MaxRequests: 1,
		Timeout:     breakerOpen,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerTrips },
		OnStateChange: func(name string, from, to gobreaker.State) {
			slog.Warn("circuit breaker", "drain", name, "from", from.String(), "to", to.String())
		},
	})}
}

// put tries a block, unless the breaker is open.
func (b *breaker) put(store func() error) error {
	_, err := b.circuit.Execute(func() (struct{}, error) { return struct{}{}, store() })
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return ErrOpen
	}
	return err
}

// resume asks a store how far it has come. A failure counts as one of a block; a
// success does not close the breaker, for the store may still be unable to store.
func (b *breaker) resume(store func() ([]Mark, error)) ([]Mark, error) {
	if err := b.refuse(); err != nil {
		return nil, err
	}
	marks, err := store()
	if err != nil && !errors.Is(err, ErrFatal) {
		err = b.put(func() error { return err })
	}
	return marks, err
}

// refuse errs while the breaker is open.
func (b *breaker) refuse() error {
	if b.circuit.State() == gobreaker.StateOpen {
		return fmt.Errorf("%w for up to %s after %d failures", ErrOpen, breakerOpen, breakerTrips)
	}
	return nil
}

func (b *breaker) state() string { return b.circuit.State().String() }
