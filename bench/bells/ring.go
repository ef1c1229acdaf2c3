package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/infra/local/knative"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// bells is the topic that the source reads, and page how many records there are
// to a bell: a page of fetch-org.
var bells = event.BellTopic(event.TopicBaseRepos)

const page = 25

// source is the KafkaSource of the manifests, with a group of its own.
func source(function, group string) knative.Source {
	return knative.Source{
		Name: function, Function: function, Topic: bells, Group: group,
		Extensions: map[string]string{"kafkatopic": bells},
		Delivery:   knative.Delivery{Retry: 10, Exponential: true, Delay: 300 * time.Millisecond, Timeout: 30 * time.Second},
	}
}

const (
	nameOfOurs = "aggregate"
	nameOfBare = "bare"
)

// cluster runs one function and its source, which begins at some offsets.
func (w *world) cluster(ctx context.Context, function string, from kadm.Offsets, idle time.Duration) (*knative.Cluster, error) {
	group := "bench-bells-" + function + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := w.admin.CommitAllOffsets(ctx, group, from); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c, err := knative.New(knative.Config{
		Topology: &knative.Topology{Namespace: "bench", Functions: []knative.Function{{Name: function}}, Sources: []knative.Source{source(function, group)}},
		Kafka:    w.kafka,
		Command: func(function string) []string {
			if function == nameOfBare {
				return []string{self, bareArgument}
			}
			return []string{w.program}
		},
		FunctionEnv: map[string]map[string]string{nameOfOurs: w.env()},
		LogDir:      w.work,
		IdleAfter:   idle,
	})
	if err != nil {
		return nil, err
	}
	return c, c.Start(ctx)
}

// ends are the offsets at which a topic ends now.
func (w *world) ends(ctx context.Context, topic string) kadm.Offsets {
	listed, err := w.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil
	}
	return listed.Offsets()
}

// rung is one side of a round.
type rung struct{ cpu float64 } // seconds

// rings has the same records rung for at the bare handler and at the function.
func (w *world) rings(ctx context.Context) error {
	before, err := w.write(ctx)
	if err != nil {
		return err
	}
	bare, err := w.ring(ctx, nameOfBare, before)
	if err != nil {
		return err
	}
	ours, err := w.ring(ctx, nameOfOurs, before)
	if err != nil {
		return err
	}
	show("of aggregate's CPU, what a bare handler takes to answer the bells", map[string]any{"share": bare.cpu / ours.cpu})
	return nil
}

// write writes the records of one measurement, then the bells for them, and returns
// where these begin.
func (w *world) write(ctx context.Context) (kadm.Offsets, error) {
	before := w.ends(ctx, bells)
	if err := w.read(ctx, w.events); err != nil {
		return nil, err
	}
	var failed kgo.FirstErrPromise
	for range w.bells() {
		w.producer.Produce(ctx, event.NewBell(event.TopicBaseRepos), failed.Promise())
	}
	return before, failed.Err()
}

// turns rings for records with traces and metrics off and on, in turns.
func (w *world) turns(ctx context.Context) error {
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer receiver.Close()
	total := map[string]float64{}
	sides := []string{"", receiver.URL}
	for range w.rounds {
		slices.Reverse(sides) // what a machine does slower by and by falls on both
		for _, to := range sides {
			before, err := w.write(ctx)
			if err != nil {
				return err
			}
			w.otlp = to
			r, err := w.ring(ctx, nameOfOurs, before)
			if err != nil {
				return err
			}
			total[to] += r.cpu
			show("CPU seconds", map[string]any{"traced": to != "", "seconds": r.cpu})
		}
	}
	show("with traces and metrics, by without", map[string]any{"cpu_ratio": total[receiver.URL] / total[""]})
	return nil
}

// bells is how many ring for the records of one measurement.
func (w *world) bells() int64 { return int64((w.events + page - 1) / page) }

// ring lets the source ring all bells from some offsets on, and returns when each
// has its 2xx and, if the function is ours, each record its row.
func (w *world) ring(ctx context.Context, function string, from kadm.Offsets) (r rung, err error) {
	redis, err := w.usage(ctx)
	if err != nil {
		return r, err
	}
	began := time.Now()
	c, err := w.cluster(ctx, function, from, time.Hour)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.Stop(context.WithoutCancel(ctx))) }()
	var s knative.Status
	for s.Sources == nil || s.Sources[0].Delivered < w.bells() {
		time.Sleep(20 * time.Millisecond)
		if s, err = c.Status(ctx); err != nil {
			return r, err
		}
		if time.Since(began) > 10*time.Minute {
			return r, fmt.Errorf("%s: %d of %d bells delivered after 10 minutes", function, s.Sources[0].Delivered, w.bells())
		}
	}
	if function == nameOfOurs {
		if err := w.covered(ctx); err != nil {
			return r, err
		}
	}
	seconds := time.Since(began).Seconds()
	cpu, err := cpuOf(s.Functions[0].PID)
	if err != nil {
		return r, err
	}
	after, err := w.usage(ctx)
	if err != nil {
		return r, err
	}
	r = rung{cpu}
	show("by bells, "+function, map[string]any{
		"records": w.events, "bells": w.bells(), "seconds": seconds, "per_second": float64(w.events) / seconds, "cpu_us": cpu / float64(w.events) * 1e6,
		"cpu_us_redis": (after.cpu - redis.cpu) / float64(w.events) * 1e6, "retried": s.Sources[0].Retried, "dropped": s.Sources[0].Dropped,
	})
	return r, nil
}

// latencies sends single records to the function at work, and at zero.
func (w *world) latencies(ctx context.Context) error {
	if err := w.latency(ctx, "single record, function at work", w.singles, time.Hour); err != nil {
		return err
	}
	return w.latency(ctx, "single record, function at zero", w.cold, 200*time.Millisecond)
}

// latency measures from when the broker has a record until its row, committed,
// has come to a consumer that waits for it.
func (w *world) latency(ctx context.Context, what string, n int, idle time.Duration) (err error) {
	c, err := w.cluster(ctx, nameOfOurs, w.ends(ctx, bells), idle)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop(context.WithoutCancel(ctx))) }()
	reader, err := kgo.NewClient(append(w.kafka.Options(), kgo.ConsumeTopics(event.TopicProcessedRepos),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return err
	}
	defer reader.Close()
	atWork := idle == time.Hour
	var took []time.Duration
	for i := range n + 3 { // the first warm up: the reader's connections, and the function if it is to be at work
		if !atWork {
			if err := atZero(ctx, c); err != nil {
				return err
			}
		}
		time.Sleep(100*time.Millisecond + time.Duration(i*37%200)*time.Millisecond)
		r, err := w.next(ctx)
		if err != nil {
			return err
		}
		if err := w.producer.ProduceSync(ctx, r).FirstErr(); err != nil {
			return err
		}
		began := time.Now()
		kafka.RingBell(ctx, w.producer, r.Topic)
		if err := await(ctx, reader, r.Key); err != nil {
			return err
		}
		if i >= 3 {
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	ms := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1)+0.5)].Microseconds()) / 1000 }
	show(what, map[string]any{"records": len(took), "p50_ms": ms(0.5), "p99_ms": ms(0.99), "max_ms": ms(1)})
	return nil
}

// atZero waits until the function has no process.
func atZero(ctx context.Context, c *knative.Cluster) error {
	for range 1_000 {
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if s.Functions[0].Phase == "zero" {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("the function is not stopped")
}

// await reads until the row of a key has come.
func await(ctx context.Context, reader *kgo.Client, key []byte) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		fetches := reader.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("no row of repository %s: %w", key, err)
		}
		if errs := fetches.Errors(); len(errs) > 0 {
			return errs[0].Err
		}
		for _, r := range fetches.Records() {
			if string(r.Key) == string(key) {
				return nil
			}
		}
	}
}
