package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Sink receives recorded events. An error that wraps a *Refused concerns the one
// event; any other ends the recording.
type Sink func(cloudevents.Event) error

// Topic hands over what stands in a topic when it begins, partition by
// partition, each in its order. Payloads of ours become JSON; the place of each
// stays with it as kafkatopic, knativekafkapartition and knativekafkaoffset,
// which a replay takes off. refused gets what is no CloudEvent of ours.
func Topic(ctx context.Context, cfg kafka.Config, codec *event.Codec, topic string, to Sink, refused func(error)) error {
	ends, err := kafka.Ends(ctx, cfg, topic)
	if err != nil {
		return err
	}
	partitions := slices.SortedFunc(maps.Keys(ends), func(a, b kafka.Partition) int { return int(a.Number - b.Number) })
	for _, p := range partitions {
		err := kafka.ReadRange(ctx, cfg, p, 0, ends[p], func(records []*kgo.Record, _ int64) error {
			for _, r := range records {
				e, err := fromRecord(ctx, codec, r)
				if err == nil {
					err = to(e)
				}
				var one *Refused
				if errors.As(err, &one) || errors.Is(err, event.ErrInvalid) {
					refused(fmt.Errorf("%s, partition %d, offset %d: %w", r.Topic, r.Partition, r.Offset, err))
					continue
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fromRecord is the event that a record in binary mode holds.
func fromRecord(ctx context.Context, codec *event.Codec, r *kgo.Record) (cloudevents.Event, error) {
	data, content := r.Value, event.Header(r, "content-type")
	if _, err := event.ContractOf(event.Header(r, "ce_type")); err == nil {
		if data, err = codec.JSON(ctx, r); err != nil {
			return cloudevents.Event{}, err
		}
		content = event.ContentJSON
	}
	e := cloudevents.NewEvent(cloudevents.VersionV1)
	for _, h := range r.Headers {
		name, ok := strings.CutPrefix(strings.ToLower(h.Key), "ce_")
		if !ok {
			continue
		}
		value := string(h.Value)
		switch name {
		case "specversion":
		case "id":
			e.SetID(value)
		case "type":
			e.SetType(value)
		case "source":
			e.SetSource(value)
		case "subject":
			e.SetSubject(value)
		case "dataschema":
			e.SetDataSchema(value)
		case "time":
			at, err := time.Parse(time.RFC3339Nano, value)
			if err != nil {
				return e, &Refused{Reason: err}
			}
			e.SetTime(at)
		case event.ExtTraceparent, event.ExtTracestate: // of the work that was done then
		default:
			e.SetExtension(name, value)
		}
	}
	if err := e.SetData(content, data); err != nil {
		return e, &Refused{Reason: err}
	}
	e.SetExtension("kafkatopic", r.Topic)
	e.SetExtension("knativekafkapartition", r.Partition)
	e.SetExtension("knativekafkaoffset", fmt.Sprint(r.Offset))
	if err := e.Validate(); err != nil {
		return e, &Refused{Reason: err}
	}
	return e, nil
}

// maxPosted bounds the body of a posted event, in bytes.
const maxPosted = 1 << 20

// Listen takes events by HTTP at an address such as http://127.0.0.1:8099, until
// ctx ends, and hands them over one at a time. It answers 204 when to has
// returned, 422 to an event that was refused, 415 to anything but a CloudEvent, and
// 500 if to failed, which also ends it.
func Listen(ctx context.Context, address string, to Sink, refused func(error)) error {
	at, err := url.Parse(address)
	if err != nil || at.Scheme != "http" || at.Port() == "" {
		return fmt.Errorf("%s: want http://host:port", address)
	}
	listener, err := net.Listen("tcp", at.Host)
	if err != nil {
		return err
	}
	var one sync.Mutex
	failed := make(chan error, 1)
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxPosted)
		e, err := event.FromHTTP(r)
		if err == nil {
			err = e.Validate()
		}
		one.Lock()
		defer one.Unlock()
		if err != nil {
			refused(err)
			http.Error(w, "not a CloudEvent: "+err.Error(), http.StatusUnsupportedMediaType)
			return
		}
		err = to(e)
		var why *Refused
		switch {
		case errors.As(err, &why):
			refused(err)
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
			select {
			case failed <- err:
			default:
			}
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})}
	go func() {
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			select {
			case failed <- err:
			default:
			}
		}
	}()
	select {
	case err = <-failed:
	case <-ctx.Done():
		err = nil
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, srv.Shutdown(closing))
}
