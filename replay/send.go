package replay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Pace spaces events by their own times: at speed 1 as they were recorded, at
// 60 an hour a minute. Speed 0 sends as fast as they are taken.
type Pace struct {
	Speed float64

	began time.Time
	first time.Time
}

// Wait returns when an event is due.
func (p *Pace) Wait(ctx context.Context, e cloudevents.Event) error {
	if p.Speed <= 0 || e.Time().IsZero() {
		return ctx.Err()
	}
	if p.first.IsZero() {
		p.began, p.first = time.Now(), e.Time()
	}
	due := p.began.Add(time.Duration(float64(e.Time().Sub(p.first)) / p.Speed))
	select {
	case <-time.After(time.Until(due)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ToKafka produces events to the topic of their type. Each is marked as one that
// may repeat, so a file replayed twice is stored once.
type ToKafka struct {
	codec    *event.Codec
	producer *kgo.Client

	mu     sync.Mutex
	failed error
}

// NewToKafka returns a sender to Kafka.
func NewToKafka(cfg kafka.Config, codec *event.Codec) (*ToKafka, error) {
	producer, err := kafka.NewProducer(cfg)
	if err != nil {
		return nil, err
	}
	return &ToKafka{codec: codec, producer: producer}, nil
}

// Send hands one event over; it is durable only after Flush.
func (k *ToKafka) Send(ctx context.Context, e cloudevents.Event) error {
	r, err := k.codec.Accept(ctx, e)
	if err != nil {
		return fmt.Errorf("event %q: %w", e.ID(), err)
	}
	k.producer.Produce(ctx, r, func(_ *kgo.Record, err error) {
		if err != nil {
			k.mu.Lock()
			k.failed = errors.Join(k.failed, err)
			k.mu.Unlock()
		}
	})
	return nil
}

// Flush returns once all that was sent is durable.
func (k *ToKafka) Flush(ctx context.Context) error {
	if err := k.producer.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// Close lets go of the connection.
func (k *ToKafka) Close() { k.producer.Close() }

// ToURL posts events, one after the other, in binary mode.
type ToURL struct {
	URL    string
	Client *http.Client
}

// How often an event that may succeed later is posted, and the first pause
// between, which doubles.
const (
	tries = 6
	pause = 250 * time.Millisecond
)

// Send posts one event until it is answered 2xx. 4xx, but for 404, 408 and 429,
// says that it never will be.
func (u *ToURL) Send(ctx context.Context, e cloudevents.Event) error {
	wait := pause
	for try := 1; ; try++ {
		retry, err := u.post(ctx, e)
		if err == nil {
			return nil
		}
		if !retry || try == tries {
			return fmt.Errorf("event %q: %w", e.ID(), err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait *= 2
	}
}

func (u *ToURL) post(ctx context.Context, e cloudevents.Event) (retry bool, err error) {
	req, err := cloudevents.NewHTTPRequestFromEvent(ctx, u.URL, e)
	if err != nil {
		return false, err
	}
	resp, err := u.Client.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return false, nil
	}
	reason := make([]byte, 512)
	n, _ := resp.Body.Read(reason)
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests:
		retry = true
	default:
		retry = resp.StatusCode >= 500
	}
	return retry, fmt.Errorf("%s: %s", resp.Status, reason[:n])
}

// Flush has nothing to wait for: each event was answered.
func (u *ToURL) Flush(context.Context) error { return nil }
