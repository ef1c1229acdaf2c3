package knative

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"
)

func TestOnlyKnativesSetOfAnswersIsTriedAgain(t *testing.T) {
	d := Delivery{Retry: 3, Delay: time.Microsecond, Timeout: time.Second}
	f := func(status int, failure error, attempts int, want verdict) {
		t.Helper()
		n, retries := 0, 0
		post := func(context.Context, http.Header, []byte) (int, error) { n++; return status, failure }
		v, _, _ := deliver(t.Context(), nil, d, post, nil, nil, func() { retries++ })
		if n != attempts || retries != attempts-1 || v != want {
			t.Errorf("status %d, %v: %d attempts, %d retries, verdict %d; want %d, verdict %d", status, failure, n, retries, v, attempts, want)
		}
	}
	for _, status := range []int{200, 202, 204} {
		f(status, nil, 1, delivered)
	}
	for _, status := range []int{404, 408, 409, 429, 500, 502, 503, 504} {
		f(status, nil, 4, lost)
	}
	for _, status := range []int{301, 400, 401, 413, 415, 422} {
		f(status, nil, 1, lost)
	}
	f(0, errors.New("connection refused"), 4, lost)
}

func TestBackoffIsThatOfTheRealSource(t *testing.T) {
	f := func(d Delivery, want ...time.Duration) {
		t.Helper()
		for i, w := range want {
			if got := d.wait(i + 1); got != w {
				t.Errorf("pause %d is %s, want %s", i+1, got, w)
			}
		}
	}
	f(Delivery{Delay: time.Second, Exponential: true}, 2*time.Second, 4*time.Second, 8*time.Second)
	f(Delivery{Delay: time.Second}, time.Second, 2*time.Second, 3*time.Second)
}
