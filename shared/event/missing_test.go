package event

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

func TestRegistryThatIsMendedIsAskedAgain(t *testing.T) {
	srv := httptest.NewServer(srfake.NewRegistry().Handler())
	defer srv.Close()
	ctx, now := context.Background(), time.Now()
	var codecs [2]*Codec
	for i := range codecs {
		c, err := NewCodec(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		codecs[i] = c
	}
	reader, registering := codecs[0], codecs[1]
	reader.now = func() time.Time { return now }
	r := &kgo.Record{Value: []byte("\x00\x00\x00\x00\x01x")} // cut off, when its schema is known
	if _, err := reader.Swept(ctx, r); !errors.Is(err, ErrUnknownSchema) {
		t.Fatal(err)
	}
	if err := registering.Register(ctx, TypeOwnerSwept); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Swept(ctx, r); !errors.Is(err, ErrUnknownSchema) {
		t.Errorf("at once: %v", err)
	}
	now = now.Add(missingFor)
	if _, err := reader.Swept(ctx, r); !errors.Is(err, ErrInvalid) {
		t.Errorf("%s later: %v, want a record that is truncated", missingFor, err)
	}
	for id := range 3 * maxMissing {
		reader.rememberMissing(writer{id, TypeOwnerSwept}, missingSchema{})
	}
	if n := len(reader.missing); n > maxMissing {
		t.Errorf("%d ids are remembered", n)
	}
}
