package replay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Pace spaces events by their own times: at speed 1 as they were recorded, at 60 an
// hour a minute. Speed 0 sends as fast as they are accepted. Rate is the most
// events a second; 0 is no limit.
type Pace struct {
	Speed float64
	Rate  float64

	began time.Time
	first time.Time
	next  time.Time // before which Rate lets none go
}

// Wait returns when an event is due.
func (p *Pace) Wait(ctx context.Context, e cloudevents.Event) error {
	due := p.next
	if p.Speed > 0 && !e.Time().IsZero() {
		if p.first.IsZero() {
			p.began, p.first = time.Now(), e.Time()
		}
		if at := p.began.Add(time.Duration(float64(e.Time().Sub(p.first)) / p.Speed)); at.After(due) {
			due = at
		}
	}
	now := time.Now()
	if p.Rate > 0 {
		at := due
		if now.After(at) {
			at = now
		}
		p.next = at.Add(time.Duration(float64(time.Second) / p.Rate))
	}
	if !due.After(now) {
		return ctx.Err()
	}
	select {
	case <-time.After(due.Sub(now)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Span is the time from From up to but not including Until; either may be zero, for
// no limit.
type Span struct{ From, Until time.Time }

// Has says whether an event is in the span. One without a time is refused, unless
// the span has no limits.
func (s Span) Has(e cloudevents.Event) (bool, error) {
	if s.From.IsZero() && s.Until.IsZero() {
		return true, nil
	}
	if e.Time().IsZero() {
		return false, &Refused{Reason: fmt.Errorf("event %q has no time", e.ID())}
	}
	return !e.Time().Before(s.From) && (s.Until.IsZero() || e.Time().Before(s.Until)), nil
}

// ToKafka produces events to the topic of their type. Each is marked as one that
// may repeat, so a file replayed twice is stored once.
//
// With a topic given it produces all events there, those of other types than
// ours as they are, in binary mode, with their subject as the key.
type ToKafka struct {
	codec    *event.Codec
	producer *kgo.Client
	topic    string

	mu      sync.Mutex
	failed  error
	due     map[string]*time.Timer // when a topic is to be rung
	ringing sync.WaitGroup         // those that are due, or ring
}

// ringAfter is how long records of a topic are collected for one bell.
const ringAfter = 200 * time.Millisecond

// NewToKafka returns a sender to Kafka; topic "" is that of each event's type.
func NewToKafka(cfg kafka.Config, codec *event.Codec, topic string) (*ToKafka, error) {
	producer, err := kafka.NewProducer(cfg)
	if err != nil {
		return nil, err
	}
	return &ToKafka{codec: codec, producer: producer, topic: topic, due: map[string]*time.Timer{}}, nil
}

// Send produces one event; it is durable only after Flush. An event that can never
// be processed fails with *Refused.
func (k *ToKafka) Send(ctx context.Context, e cloudevents.Event) error {
	r, err := k.record(ctx, e)
	if err != nil {
		err = fmt.Errorf("event %q: %w", e.ID(), err)
		if errors.Is(err, event.ErrInvalid) {
			return &Refused{Reason: err}
		}
		return err
	}
	k.producer.Produce(ctx, r, func(r *kgo.Record, err error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if err != nil {
			k.failed = errors.Join(k.failed, err)
		} else if k.due[r.Topic] == nil {
			k.ringing.Add(1)
			k.due[r.Topic] = time.AfterFunc(ringAfter, func() { k.ring(r.Topic) })
		}
	})
	return nil
}

// ring writes a bell for all records of a topic that are durable by now.
func (k *ToKafka) ring(topic string) {
	defer k.ringing.Done()
	k.mu.Lock()
	delete(k.due, topic)
	k.mu.Unlock()
	kafka.RingBell(context.Background(), k.producer, topic)
}

func (k *ToKafka) record(ctx context.Context, e cloudevents.Event) (*kgo.Record, error) {
	if _, err := event.ContractOf(e.Type()); err == nil || k.topic == "" {
		r, err := k.codec.Accept(ctx, e)
		if err == nil && k.topic != "" {
			r.Topic = k.topic
		}
		return r, err
	}
	r := &kgo.Record{Topic: k.topic, Value: e.Data()}
	if e.Subject() != "" {
		r.Key = []byte(e.Subject())
	}
	attribute := func(name, value string) {
		if value != "" {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
	}
	attribute("ce_specversion", e.SpecVersion())
	attribute("ce_type", e.Type())
	attribute("ce_id", e.ID())
	attribute("ce_source", e.Source())
	attribute("ce_subject", e.Subject())
	attribute("ce_dataschema", e.DataSchema())
	attribute("content-type", e.DataContentType())
	if !e.Time().IsZero() {
		attribute("ce_time", e.Time().UTC().Format(time.RFC3339Nano))
	}
	for name, value := range e.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			return nil, event.Invalid("extension %s: %w", name, err)
		}
		attribute("ce_"+name, text)
	}
	return r, nil
}

// Flush returns once all that was sent is durable, and so are the bells for it.
func (k *ToKafka) Flush(ctx context.Context) error {
	if err := k.producer.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	k.mu.Lock()
	failed := k.failed
	var due []string
	for topic, t := range k.due {
		if t.Stop() { // else it is ringing
			due = append(due, topic)
		}
	}
	k.mu.Unlock()
	for _, topic := range due {
		k.ring(topic)
	}
	k.ringing.Wait()
	if err := k.producer.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return failed
}

// Close ends the connection. Events that were not flushed may be lost.
func (k *ToKafka) Close() {
	k.mu.Lock()
	for _, t := range k.due {
		if t.Stop() {
			k.ringing.Done()
		}
	}
	k.mu.Unlock()
	k.ringing.Wait()
	k.producer.Close()
}

// ToURL posts events, one after the other, in binary mode; attributes that are
// not ASCII are percent-encoded as the HTTP protocol binding says.
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

// Send posts one event until it is answered 2xx. After a 4xx, except 404, 408 and
// 429, it is not tried again: it fails with *Refused.
func (u *ToURL) Send(ctx context.Context, e cloudevents.Event) error {
	wait := pause
	for try := 1; ; try++ {
		retry, err := u.post(ctx, e)
		if err == nil {
			return nil
		}
		if !retry {
			return &Refused{Reason: fmt.Errorf("event %q: %w", e.ID(), err)}
		}
		if try == tries {
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
	req, err := event.ToHTTP(ctx, u.URL, e)
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

// Flush does nothing: each event was answered.
func (u *ToURL) Flush(context.Context) error { return nil }
