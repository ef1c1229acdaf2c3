package event_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/shared/event"
)

// TestRecordOfAnUnknownSchemaIsInvalidOnlyBesideRecordsOfKnownOnes: a registry
// that was wiped, or is another one, must not turn valid records into dead letters.
func TestRecordOfAnUnknownSchemaIsInvalidOnlyBesideRecordsOfKnownOnes(t *testing.T) {
	ctx := context.Background()
	swept := &event.OwnerSwept{SweepID: "s", Owner: "o", Status: event.StatusComplete}
	o := observation()
	lost, now := srfake.NewRegistry(), srfake.NewRegistry()
	codec := func(r *srfake.Registry) *event.Codec {
		t.Helper()
		srv := httptest.NewServer(r.Handler())
		t.Cleanup(srv.Close)
		c, err := event.NewCodec(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	encode := func(c *event.Codec, v any) *kgo.Record {
		t.Helper()
		r, err := c.Record(ctx, v, false)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	before, writer, reader := codec(lost), codec(now), codec(now)
	encode(before, swept)
	old := encode(before, &o) // schema id 2
	unsure := func(when string) {
		t.Helper()
		if _, err := reader.Observed(ctx, old); !errors.Is(err, event.ErrUnknownSchema) || errors.Is(err, event.ErrInvalid) {
			t.Errorf("%s: %v, want event.ErrUnknownSchema", when, err)
		}
	}
	unsure("the registry is empty")
	fresh, line := encode(writer, &o), encode(writer, swept) // the line has schema id 2 now
	if _, err := reader.Swept(ctx, line); err != nil {
		t.Fatal(err)
	}
	unsure("others have registered schemas")
	reader = codec(now)
	unsure("the id is another type's")
	if _, err := reader.Observed(ctx, fresh); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Observed(ctx, old); !errors.Is(err, event.ErrInvalid) || errors.Is(err, event.ErrUnknownSchema) {
		t.Errorf("beside a record that can be read: %v, want an invalid event", err)
	}
}

func TestRegistryIsAskedOnceForAnIDThatItDoesNotKnow(t *testing.T) {
	var asked atomic.Int64
	fake := srfake.NewRegistry().Handler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fake.ServeHTTP(w, r)
	}))
	defer srv.Close()
	c, err := event.NewCodec(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := c.Observed(context.Background(), &kgo.Record{Value: []byte("\x00\x00\x00\x00\x63x")}); !errors.Is(err, event.ErrUnknownSchema) {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the registry was asked %d times", n)
	}
}

func TestAddressThatIsNoRegistryIsNoFaultOfTheEvent(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	c, err := event.NewCodec(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Observed(context.Background(), &kgo.Record{Value: []byte("\x00\x00\x00\x00\x63x")})
	if err == nil || errors.Is(err, event.ErrInvalid) || errors.Is(err, event.ErrUnknownSchema) {
		t.Errorf("%v: want an error that may pass", err)
	}
}
