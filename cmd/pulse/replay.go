package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/replay"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

type replayCommand struct {
	Files []string `arg:"" name:"file" help:"CloudEvents as JSON Lines, a JSON batch (.json) or conformance YAML; .gz too. Or iceberg:NAMESPACE.TABLE, an archive that Kafka Connect has made: it is put back into an empty Kafka as it was."`
	To    string   `default:"kafka" help:"kafka: each event to the topic of its type; kafka:TOPIC; or any URL."`
	Speed string   `default:"max" help:"max, or how many times faster than recorded: 1, 60, …"`
	Rate  float64  `help:"Most events a second; 0: no limit."`
	From  moment   `help:"Only events of this time or later: 2025-03-01, or with a time of day as 2025-03-01T12:00:00Z."`
	Until moment   `help:"Only events before this time."`
	Topic []string `help:"Of an archive: only these topics. Otherwise those that nothing else makes again."`
	JSON  bool     `help:"Print JSON."`
}

// moment is a time on the command line: a day, or a time of day, in UTC unless it
// names another zone.
type moment struct{ time.Time }

// UnmarshalText reads a time.
func (m *moment) UnmarshalText(text []byte) (err error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
		if m.Time, err = time.Parse(layout, string(text)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("invalid time %q: want a day such as 2025-03-01, or a time such as 2025-03-01T12:00:00Z", text)
}

// Run sends the files' events, in their order. An event that is refused for good is
// named and skipped; the exit code is 1 then.
func (r *replayCommand) Run(ctx context.Context, p *place) error {
	if archive, ok := strings.CutPrefix(r.Files[0], "iceberg:"); ok {
		return r.restore(ctx, p, archive)
	}
	if len(r.Topic) > 0 {
		return errors.New("--topic is of an archive, iceberg:NAMESPACE.TABLE")
	}
	pace, err := r.pace()
	if err != nil {
		return err
	}
	to, done, err := r.target(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	leave, err := p.home.EnterReplay()
	if err != nil {
		return err
	}
	defer leave()
	began := time.Now()
	var refused refusedEvents
	sent := 0
	for _, path := range r.Files {
		bar := newBar("replay "+path, "events")
		file := replay.File{Path: path, Pace: pace, Span: replay.Span{From: r.From.Time, Until: r.Until.Time}, To: to, Refused: refused.add, Sent: bar.step}
		n, err := file.Send(ctx)
		bar.close()
		sent += n
		if err != nil {
			return err
		}
	}
	if r.JSON {
		err = printJSON(map[string]any{"sent": sent, "refused": refused.n, "seconds": time.Since(began).Seconds()})
	} else {
		fmt.Printf("%s events sent in %s\n", count(int64(sent)), time.Since(began).Round(time.Millisecond))
	}
	return errors.Join(err, refused.err())
}

// restore puts the records of an archive back into Kafka.
func (r *replayCommand) restore(ctx context.Context, p *place, name string) error {
	if len(r.Files) > 1 || r.To != "kafka" || r.Speed != "max" || r.Rate != 0 || !r.From.IsZero() || !r.Until.IsZero() {
		return errors.New("an archive is put back alone, into Kafka and whole: no other file, --to, --speed, --rate, --from or --until")
	}
	env, err := p.addresses()
	if err != nil {
		return err
	}
	cfg, codec, err := pipeline.KafkaOf(ctx, env)
	if err != nil {
		return err
	}
	at, err := pipeline.IcebergLocation(ctx, env)
	if err != nil {
		return err
	}
	quiet() // the library logs every file
	catalog, closeCatalog, err := sinkiceberg.Open(ctx, at)
	if err != nil {
		return err
	}
	defer closeCatalog()
	archive, err := sinkiceberg.OpenArchive(ctx, catalog, name)
	if err != nil {
		return err
	}
	topics := r.Topic
	if len(topics) == 0 {
		topics = replay.Facts()
	}
	leave, err := p.home.EnterReplay()
	if err != nil {
		return err
	}
	defer leave()
	began := time.Now()
	bar := newBar("restore "+name, "records")
	restored := map[string]int{}
	var written int64
	restore := replay.Restore{From: archive, To: cfg, Codec: codec, Topics: topics, Written: func(topic string, n int) {
		restored[topic] += n
		written += int64(n)
		bar.describe(topic)
		bar.show(written, -1)
	}}
	err = restore.Run(ctx)
	bar.close()
	if err != nil {
		return err
	}
	if r.JSON {
		return printJSON(map[string]any{"restored": restored, "seconds": time.Since(began).Seconds()})
	}
	t := newTable("Topic", "Records")
	for _, topic := range slices.Sorted(maps.Keys(restored)) {
		t.AppendRow(table.Row{topic, count(int64(restored[topic]))})
	}
	t.Render()
	fmt.Printf("%s records restored in %s\n", count(written), time.Since(began).Round(time.Millisecond))
	return nil
}

// refusedEvents counts the events that were refused, and names the first of them.
type refusedEvents struct{ n int64 }

// shownRefusals is how many are named one by one.
const shownRefusals = 20

func (r *refusedEvents) add(err error) {
	r.n++
	switch {
	case r.n <= shownRefusals:
		fmt.Fprintln(os.Stderr, "refused:", oneLine(err.Error()))
	case r.n == shownRefusals+1:
		fmt.Fprintln(os.Stderr, "refused: more events, which are only counted")
	}
}

func (r *refusedEvents) err() error {
	if r.n == 0 {
		return nil
	}
	return fmt.Errorf("%s events were refused", count(r.n))
}

func (r *replayCommand) pace() (*replay.Pace, error) {
	if !(r.Rate >= 0) || math.IsInf(r.Rate, 0) { // nor a NaN
		return nil, fmt.Errorf("--rate %g: want 0 or more", r.Rate)
	}
	if r.Speed == "max" {
		return &replay.Pace{Rate: r.Rate}, nil
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(r.Speed, "x"), 64)
	if err != nil || !(speed > 0) || math.IsInf(speed, 0) {
		return nil, fmt.Errorf("--speed %s: want max or a number above 0", r.Speed)
	}
	return &replay.Pace{Speed: speed, Rate: r.Rate}, nil
}

func (r *replayCommand) target(ctx context.Context, p *place) (replay.Target, func(), error) {
	kind, topic, named := strings.Cut(r.To, ":")
	if kind != "kafka" {
		u, err := url.Parse(r.To)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, nil, fmt.Errorf("--to %s: want kafka, kafka:TOPIC or a URL", r.To)
		}
		return &replay.ToURL{URL: r.To, Client: &http.Client{Timeout: time.Minute}}, func() {}, nil
	}
	if named && topic == "" {
		return nil, nil, errors.New("--to kafka: without a topic: want kafka or kafka:TOPIC")
	}
	env, err := p.addresses()
	if err != nil {
		return nil, nil, err
	}
	k, err := toKafka(ctx, env, topic)
	if err != nil {
		return nil, nil, err
	}
	return k, k.Close, nil
}

func toKafka(ctx context.Context, env map[string]string, topic string) (*replay.ToKafka, error) {
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return nil, err
	}
	codec, err := event.NewWriter(env["SCHEMA_REGISTRY_URL"], kafka.Newest(cfg))
	if err != nil {
		return nil, err
	}
	return replay.NewToKafka(cfg, codec, topic)
}
