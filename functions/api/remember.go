package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// An answer is taken for new for as long as a page of several charts takes to load, so
// that many who look at the same thing are one question to ClickHouse. After that it is
// asked whether the store has changed, which is many times cheaper than the answer.
const (
	rememberFor   = 10 * time.Second
	rememberLong  = 10 * time.Minute // at most, as long as the store has not changed
	rememberMost  = 256              // answers
	rememberBytes = 256 << 10        // of one; larger ones are not kept
)

// memory holds answers as long as the store has not changed, and has one question asked
// once at a time.
type memory struct {
	// stamp is what the store holds, as one value that is another after each change.
	stamp  func(context.Context) (string, error)
	asking singleflight.Group

	mu      sync.Mutex
	answers map[string]remembered
}

type remembered struct {
	answer any
	stamp  string    // of the store before it was asked; "" if that is not known
	until  time.Time // it is taken for new
	end    time.Time // it is forgotten
}

// of returns the answer to a question, from memory or by ask. ask outlives the caller
// who came first: others may wait for it. It bounds its own time.
func (m *memory) of(ctx context.Context, question string, ask func(context.Context) (answer any, bytes int, err error)) (any, error) {
	m.mu.Lock()
	known, ok := m.answers[question]
	m.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.answer, nil
	}
	result := m.asking.DoChan(question, func() (any, error) {
		ctx := context.WithoutCancel(ctx)
		stamp := m.stamped(ctx)
		if ok && stamp != "" && stamp == known.stamp && time.Now().Before(known.end) {
			m.keep(question, known)
			return known.answer, nil
		}
		answer, bytes, err := ask(ctx)
		if err == nil && bytes <= rememberBytes {
			m.keep(question, remembered{answer: answer, stamp: stamp, end: time.Now().Add(rememberLong)})
		}
		return answer, err
	})
	select {
	case r := <-result:
		return r.Val, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// stamped is the store's stamp, asked once for all who want it at the same time; "" if it
// cannot be had, which no answer has.
func (m *memory) stamped(ctx context.Context) string {
	stamp, err, _ := m.asking.Do("\x00stamp", func() (any, error) { return m.stamp(ctx) })
	if err != nil {
		slog.Debug("the store does not say whether it has changed", "error", err)
		return ""
	}
	return stamp.(string)
}

// keep remembers an answer as new from now on.
func (m *memory) keep(question string, r remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.answers == nil {
		m.answers = map[string]remembered{}
	}
	for q, a := range m.answers {
		if len(m.answers) >= rememberMost || now.After(a.end) { // any: each can be asked for again
			delete(m.answers, q)
		}
	}
	r.until = now.Add(rememberFor)
	m.answers[question] = r
}
