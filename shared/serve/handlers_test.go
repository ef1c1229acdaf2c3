package serve

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestStopWaitsForTheHandlersThatRunAndLetsNoneBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandlers("test")
		end, err := h.Begin()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		go func() {
			<-h.Stopping()
			time.Sleep(time.Second)
			end()
		}()
		if err := h.Stop(t.Context()); err != nil || time.Since(began) != time.Second {
			t.Errorf("Stop returned after %s with %v, the handler ended after 1 s", time.Since(began), err)
		}
		if _, err := h.Begin(); err == nil {
			t.Error("a handler began after Stop")
		}
		if err := h.Stop(t.Context()); err != nil || !h.Stopped() {
			t.Errorf("a second Stop: %v", err)
		}
	})
}

func TestStopSaysThatAHandlerOutlastsItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandlers("test")
		end, _ := h.Begin()
		defer end()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop: %v", err)
		}
	})
}
