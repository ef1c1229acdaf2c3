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
	// breakerOpen is how long an open breaker keeps everybody from the store.
	breakerOpen = 10 * time.Second
)

// ErrOpen: the store has failed time and again, and is left alone for a while.
var ErrOpen = errors.New("circuit breaker is open")

// breaker guards a drain's store. Closed, all goes to the store. After three
// failures in a row it opens: bells are refused at once instead of waiting, and
// the store is left alone for 10 s. Then it is half open: one block is tried,
// and decides.
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

// resume asks a store where it stands. That it answers is no proof that it
// takes a block; that it does not counts against it.
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
