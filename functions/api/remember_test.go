package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheSameQuestionIsAskedOnceAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stamp, stamps := "a", 0
		m := memory{stamp: func(context.Context) (string, error) {
			stamps++
			if stamp == "" {
				return "", errors.New("away")
			}
			return stamp, nil
		}}
		var mu sync.Mutex
		asked := 0
		ask := func(context.Context) (any, int, error) {
			mu.Lock()
			asked++
			n := asked
			mu.Unlock()
			time.Sleep(time.Second)
			return n, 1, nil
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if a, err := m.of(t.Context(), "q", ask); a != 1 || err != nil {
					t.Errorf("%v, %v", a, err)
				}
			})
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := m.of(gone, "q", ask); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller who has gone: %v", err)
		}
		all.Wait()
		if a, _ := m.of(t.Context(), "q", ask); a != 1 {
			t.Errorf("soon after: answer %v, want the first", a)
		}
		for range 3 {
			time.Sleep(rememberFor)
			if a, _ := m.of(t.Context(), "q", ask); a != 1 {
				t.Errorf("later, the store as it was: answer %v, want the first", a)
			}
		}
		if stamps != 4 {
			t.Errorf("the store was asked %d times whether it had changed, want 4", stamps)
		}
		time.Sleep(rememberFor)
		stamp = "b"
		if a, _ := m.of(t.Context(), "q", ask); a != 2 {
			t.Errorf("after a change: answer %v, want a new one", a)
		}
		for n := 3; n < 5; n++ { // the one before had no stamp either
			time.Sleep(rememberFor)
			stamp = ""
			if a, _ := m.of(t.Context(), "q", ask); a != n {
				t.Errorf("without a stamp: answer %v, want a new one, %d", a, n)
			}
		}
		stamp = "b"
		time.Sleep(rememberFor)
		if a, _ := m.of(t.Context(), "q", ask); a != 5 {
			t.Errorf("after an answer without a stamp: %v, want a new one", a)
		}
		for time.Sleep(rememberFor); m.answers["q"].end.After(time.Now()); time.Sleep(rememberFor) {
			_, _ = m.of(t.Context(), "q", ask)
		}
		if a, _ := m.of(t.Context(), "q", ask); a != 6 {
			t.Errorf("long after: answer %v, want a new one", a)
		}
		failing := func(context.Context) (any, int, error) { asked++; return nil, 0, errors.New("away") }
		before := asked
		for range 2 {
			if _, err := m.of(t.Context(), "failing", failing); err == nil {
				t.Error("no error")
			}
		}
		large := func(context.Context) (any, int, error) { asked++; return nil, rememberBytes + 1, nil }
		for range 2 {
			_, _ = m.of(t.Context(), "large", large)
		}
		if asked != before+4 {
			t.Errorf("errors and large answers were asked for %d times, want 4", asked-before)
		}
		for i := range 3 * rememberMost {
			_, _ = m.of(t.Context(), fmt.Sprint(i), func(context.Context) (any, int, error) { return i, 1, nil })
		}
		if len(m.answers) > rememberMost {
			t.Errorf("%d answers are kept, want %d at most", len(m.answers), rememberMost)
		}
	})
}
