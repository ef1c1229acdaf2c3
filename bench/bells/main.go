// Command bells measures the function aggregate as a KafkaSource wakes it: one
// POST per bell, 50 of them unanswered at once, a bell to 25 records as fetch-org
// writes them, with redis-server.
//
//	go run ./bench/bells -brokers 127.0.0.1:9092
//
// With -traced it measures bells at the fewer repositories with traces and metrics on and
// off, in turns, instead: records come in traced pages, and go to a receiver of OTLP
// that throws away what it gets. Without, it prints one line of JSON for each
// measurement:
//   - the memory that Redis needs for a repository whose history is full, at
//     100,000 of them, and the cost of an event there and at 1,000;
//   - records a second and CPU by bells, and what of the CPU a bare net/http
//     handler takes that only answers, rung by the same source with the same bells;
//   - the time from a single record's arrival in Kafka until its row can be
//     read, with the function at work and at zero.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/bench/series"
	"github.com/m7pulse/m7pulse/infra/local/knative"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// bench is where everything is and how much of it is done.
type bench struct {
	kafka     kafka.Config
	admin     *kadm.Client
	registry  string
	work      string
	program   string // of the function
	function  knative.Function
	recording string

	many, few int // repositories
	events    int // of one measurement
	rounds    int
	singles   int // records sent one by one to the function at work
	cold      int // and to the function at zero
	traced    bool
	otlp      string // where spans and metrics go; empty: they are off
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == bareArgument {
		log.Fatal(answer())
	}
	log.SetFlags(0)
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	var b bench
	brokers := flag.String("brokers", "127.0.0.1:9092", "Kafka, whose topics of ours are emptied, or embedded: that of a local stack, in this process")
	flag.StringVar(&b.program, "program", "bin/aggregate", "the function's program")
	flag.StringVar(&b.recording, "recording", "data/m7-2025.jsonl.gz", "recorded events")
	flag.IntVar(&b.many, "many", 100_000, "repositories")
	flag.IntVar(&b.few, "few", 1_000, "repositories of the small data set")
	flag.IntVar(&b.events, "events", 100_000, "records of one measurement")
	flag.IntVar(&b.rounds, "rounds", 3, "rounds of bells")
	flag.IntVar(&b.singles, "singles", 200, "single records to the running function")
	flag.IntVar(&b.cold, "cold", 30, "single records to the function scaled to zero")
	flag.BoolVar(&b.traced, "traced", false, "measure bells with traces and metrics and without")
	flag.Parse()
	b.kafka = kafka.Config{Brokers: strings.Split(*brokers, ",")}
	if *brokers == "embedded" {
		address, end, err := series.Kafka(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		defer end()
		b.kafka.Brokers = []string{address}
	}
	if err := b.run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.work, err = os.MkdirTemp("", "m7pulse-bells-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.work)) }()
	url, stop, err := series.Registry(filepath.Join(b.work, "registry"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	b.registry = url
	manifests, err := knative.Load(".")
	if err != nil {
		return err
	}
	if b.function, err = manifests.Function(nameOfOurs); err != nil {
		return err
	}
	client, err := kgo.NewClient(b.kafka.Options()...)
	if err != nil {
		return err
	}
	defer client.Close()
	b.admin = kadm.NewClient(client)
	// The records of a history of 100,000 repositories fill some gigabytes.
	defer func() {
		err = errors.Join(err, series.Recreate(ctx, b.admin, event.TopicBaseRepos, event.TopicProcessedRepos, bells, event.BellTopic(event.TopicProcessedRepos)))
	}()

	few, err := b.settle(ctx, b.few)
	if err != nil {
		return err
	}
	if b.traced {
		return errors.Join(few.turns(ctx), few.close())
	}
	costFew, err := few.cost(ctx)
	if err := errors.Join(err, few.close()); err != nil {
		return err
	}
	many, err := b.settle(ctx, b.many)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, many.close()) }()
	costMany, err := many.cost(ctx)
	if err != nil {
		return err
	}
	show("cost of an event, many to few", map[string]any{"cpu_ratio": costMany / costFew})
	for range b.rounds {
		if err := many.rings(ctx); err != nil {
			return err
		}
	}
	return many.latencies(ctx)
}

// show prints one measurement.
func show(what string, figures map[string]any) {
	line, _ := json.Marshal(figures) // a flat map of numbers always encodes
	fmt.Printf("%s: %s\n", what, line)
}

// bareArgument makes this program the handler that aggregate is compared with.
const bareArgument = "bare"

// answer is that handler: it reads nothing and answers at once.
func answer() error {
	server := &http.Server{
		Addr:              os.Getenv("LISTEN_ADDRESS"),
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusNoContent)
			}
		}),
	}
	return server.ListenAndServe()
}
