package api

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// An answer is remembered for as long as a page of several charts takes to load, so that
// many who look at the same thing are one question to ClickHouse.
const (
	rememberFor   = 10 * time.Second
	rememberMost  = 256       // answers
	rememberBytes = 256 << 10 // of one; larger ones are not kept
)

// memory holds answers for a short time, and has one question asked once at a time.
type memory struct {
	asking singleflight.Group

	mu      sync.Mutex
	answers map[string]remembered
}

type remembered struct {
	answer any
	until  time.Time
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
		answer, bytes, err := ask(context.WithoutCancel(ctx))
		if err == nil && bytes <= rememberBytes {
			m.keep(question, answer)
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

func (m *memory) keep(question string, answer any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.answers == nil {
		m.answers = map[string]remembered{}
	}
	for q, a := range m.answers {
		if len(m.answers) >= rememberMost || now.After(a.until) { // any: all are short-lived
			delete(m.answers, q)
		}
	}
	m.answers[question] = remembered{answer, now.Add(rememberFor)}
}
