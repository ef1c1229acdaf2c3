package m7pulse

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	fn "knative.dev/func-go/http"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/freeport"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// hosted makes this program a function under func-go instead of a test.
const hosted = "M7PULSE_TEST_HOSTED"

func TestMain(m *testing.M) {
	if os.Getenv(hosted) == "" {
		os.Exit(m.Run())
	}
	if err := fn.Start(aggregate.New()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// world is the servers that aggregate needs, with records to compute.
type world struct {
	kafka kafka.Config
	env   []string
	url   string
}

func newWorld(t *testing.T, records int) *world {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(12, event.TopicBaseRepos, event.TopicProcessedRepos, event.TopicSignals),
		kfake.SeedTopics(1, event.DeadLetterTopic(event.TopicBaseRepos), event.BellTopic(event.TopicProcessedRepos)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(registry.Close)
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	// Blocks are small because a pipeline to Redis is not broken off, and miniredis
	// takes up to 1 ms for a script when the race detector is on.
	//
	// A program with the race detector sleeps for a second before it exits.
	race := "GORACE=" + strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")
	w := &world{kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, url: "http://" + address, env: append(os.Environ(), hosted+"=1", race,
		"LISTEN_ADDRESS="+address, "KAFKA_BROKERS="+strings.Join(cluster.ListenAddrs(), ","), "SCHEMA_REGISTRY_URL="+registry.URL,
		"REDIS_URL=redis://"+miniredis.RunT(t).Addr(), "AGGREGATE_BLOCK_RECORDS=200")}
	codec, err := event.NewCodec(registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	producer, err := kafka.NewProducer(w.kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	var all []*kgo.Record
	for i := range records {
		r, err := codec.Record(t.Context(), &event.RepoObserved{
			ID: int64(i + 1), NameWithOwner: fmt.Sprint("o/", i), Owner: "o", Name: fmt.Sprint(i), Stars: 1,
			Languages: []event.Language{}, Topics: []string{}, ObservedAt: time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond),
		}, false)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if err := producer.ProduceSync(t.Context(), all...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) start(t *testing.T) *exec.Cmd {
	t.Helper()
	p := exec.Command(os.Args[0])
	p.Env, p.Stderr = w.env, os.Stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return p
}

// committed is how many records the function has computed.
func (w *world) committed(t *testing.T) (n int64) {
	t.Helper()
	done, err := kafka.Committed(t.Context(), w.kafka, aggregate.Group, event.TopicBaseRepos)
	if err != nil {
		t.Fatal(err)
	}
	for _, next := range done {
		n += next
	}
	return n
}

// Knative leaves a function about two seconds between SIGTERM and SIGKILL.
func TestFunctionAtWorkEndsWithinTwoSecondsOfSIGTERMAndLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: make long-test runs it")
	}
	const records = 20_000
	w := newWorld(t, records)
	p := w.start(t)
	for deadline := time.Now().Add(60 * time.Second); w.committed(t) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the function does not begin")
		}
	}
	open := make(chan error, 1)
	go func() { // a request that the end of the backlog would answer
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, w.url, strings.NewReader(`{"do":"wake"}`))
		if err == nil {
			for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Type": event.TypeTick, "Ce-Source": "/t", "Content-Type": "application/json"} {
				r.Header.Set(k, v)
			}
			var resp *http.Response
			if resp, err = http.DefaultClient.Do(r); err == nil {
				err = resp.Body.Close()
			}
		}
		open <- err
	}()
	time.Sleep(300 * time.Millisecond) // the request is on its way
	if n := w.committed(t); n == records {
		t.Fatal("the function is not at work any more")
	}
	began := time.Now()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := p.Wait()
	if took := time.Since(began); err != nil || took > 2*time.Second {
		t.Errorf("it ended after %s with %v, want a clean end within 2s", took, err)
	}
	if err := <-open; err != nil {
		t.Errorf("the open request was not answered: %v", err)
	}
	if n := w.committed(t); n == records {
		t.Error("it had nothing left to do when it ended")
	}
	w.start(t)
	for deadline := time.Now().Add(120 * time.Second); w.committed(t) < records; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("its successor has committed %d of %d", w.committed(t), records)
		}
	}
	ends, err := kafka.Ends(t.Context(), w.kafka, event.TopicProcessedRepos)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for place, end := range ends {
		err := kafka.ReadRange(t.Context(), w.kafka, place, 0, end, func(records []*kgo.Record, _ int64) error {
			for _, r := range records {
				rows[string(r.Key)]++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for id, n := range rows {
		if n != 1 {
			t.Fatalf("repository %s has %d rows, want one", id, n)
		}
	}
	if len(rows) != records {
		t.Errorf("%d rows of %d", len(rows), records)
	}
}

// clients counts the goroutines of this process that belong to clients of Kafka.
func clients() int {
	var all strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&all, 2) // into memory
	n := 0
	for _, g := range strings.Split(all.String(), "\n\n") {
		if strings.Contains(g, "franz-go/pkg/kgo.") {
			n++
		}
	}
	return n
}

func TestStartThatFailsLeavesNothingOpen(t *testing.T) {
	f := func(function, setting, value string) {
		t.Helper()
		before := clients()
		_, err := open(t.Context(), map[string]string{"GITHUB_TOKEN": "x", "OWNERS": "acme", "KAFKA_BROKERS": "127.0.0.1:1", setting: value})
		if err == nil || !strings.Contains(err.Error(), "start "+function) || !strings.Contains(err.Error(), setting) {
			t.Errorf("%v: want the function %s and its fault", err, function)
		}
		for deadline := time.Now().Add(10 * time.Second); clients() > before; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("after a fault in %s %d goroutines of Kafka's clients are left, of %d before", setting, clients(), before)
				return
			}
		}
	}
	f("fetch-org", "SCHEMA_REGISTRY_URL", "ftp://x")
	f("aggregate", "AGGREGATE_BLOCK_RECORDS", "0")
	f("sink-clickhouse", "SINK_CLICKHOUSE_BLOCK_RECORDS", "0")
	f("sink-iceberg", "SINK_ICEBERG_BLOCK_RECORDS", "0")
	f("api", "API_RATE", "0")
}
