package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// A span of a block follows from those in which its records were produced, and what it
// produces follows from it: so one trace leads through any number of topics.
func TestABlockFollowsFromTheSpansItsRecordsWereProducedIn(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))
	defer otel.SetTracerProvider(noop.NewTracerProvider())
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := Config{Brokers: c.ListenAddrs()}
	producer, err := NewProducer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	var pages []trace.Place
	for range 2 {
		ctx, span := trace.Start(t.Context(), trace.Producer, "page")
		pages = append(pages, trace.PlaceOf(ctx))
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "in", Value: []byte("x")}, &kgo.Record{Topic: "in", Value: []byte("y")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		span.End(nil)
	}
	copied := func(ctx context.Context, b Block, produce func(*kgo.Record)) (func(context.Context) error, error) {
		for _, r := range b.Records {
			produce(&kgo.Record{Topic: "out", Value: r.Value})
		}
		return func(context.Context) error { return nil }, nil
	}
	drain, err := NewTransactDrain("stage", cfg, Bounds{Records: 10, Bytes: 1 << 20}, "in", Group{Name: "g", Member: "0"}, copied, "out")
	if err != nil {
		t.Fatal(err)
	}
	sink, err := NewStoreDrain("sink", cfg, Bounds{Records: 10, Bytes: 1 << 20}, Share{}, map[string]Store{"out": kept{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, d := range []*Drain{drain, sink} {
		if err := d.DrainAll(ctx); err != nil {
			t.Fatal(err)
		}
		if err := d.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	spans := map[string]sdktrace.ReadOnlySpan{}
	for _, s := range recorder.Ended() {
		spans[s.Name()] = s
	}
	block, stored := spans["process in"], spans["process out"]
	if block == nil || stored == nil || spans["commit"] == nil || spans["store"] == nil {
		t.Fatalf("spans %v", spans)
	}
	if block.Parent().SpanID() != pages[0].SpanID() || len(block.Links()) != 1 || block.Links()[0].SpanContext.SpanID() != pages[1].SpanID() {
		t.Errorf("the block is within %v and linked to %v, want %v", block.Parent(), block.Links(), pages)
	}
	if stored.Parent().SpanID() != block.SpanContext().SpanID() || stored.Parent().TraceID() != pages[0].TraceID() {
		t.Errorf("the sink's block is within %v, want %v", stored.Parent(), block.SpanContext())
	}
	for child, parent := range map[string]oteltrace.SpanContext{"commit": block.SpanContext(), "store": stored.SpanContext()} {
		if spans[child].Parent().SpanID() != parent.SpanID() {
			t.Errorf("%s is within %v, want %v", child, spans[child].Parent(), parent)
		}
	}
}

// kept is a store that takes everything.
type kept struct{}

func (kept) Resume(context.Context, string, []int32) ([]Mark, error) { return nil, nil }

func (kept) Prepare(_ context.Context, _ string, b Block) (Put, error) {
	return func(context.Context) (Offsets, error) { return b.Next, nil }, nil
}

func TestABellIsRungFromWhereItsRecordsWereProduced(t *testing.T) {
	otel.SetTracerProvider(sdktrace.NewTracerProvider())
	defer otel.SetTracerProvider(noop.NewTracerProvider())
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, event.BellTopic(event.TopicBaseRepos)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	producer, err := NewProducer(Config{Brokers: c.ListenAddrs()}, kgo.ConsumeTopics(event.BellTopic(event.TopicBaseRepos)))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	ctx, span := trace.Start(t.Context(), trace.Producer, "page")
	RingBell(ctx, producer, event.TopicBaseRepos)
	span.End(nil)
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	bells := producer.PollFetches(ctx).Records()
	if len(bells) != 1 || len(event.PlacesOf(bells)) != 1 || event.PlacesOf(bells)[0].SpanID() != trace.PlaceOf(ctx).SpanID() {
		t.Errorf("bells %v", bells)
	}
}
