package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	"github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/infra/local/redis"
	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/freeport"
)

// replica is one of several processes of fetch-org that share everything else.
type replica struct {
	t       *testing.T
	url     string
	process *child.Process
	log     bytes.Buffer // complete once the process has ended
	asked   atomic.Int64 // questions that GitHub got from it
	events  atomic.Int64 // that it answered with 2xx
}

// newReplica starts a process; it is ready only later. Its way to GitHub is its
// own, so that its questions can be distinguished from the others'.
func newReplica(t *testing.T, github http.Handler, env ...string) *replica {
	t.Helper()
	r := &replica{t: t}
	way := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked.Add(1)
		github.ServeHTTP(w, q)
	}))
	t.Cleanup(way.Close)
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + address
	cmd := exec.Command(filepath.Join(filepath.Dir(binary), "fetch-org"))
	cmd.Env = append(env, "TZ=UTC", "LISTEN_ADDRESS="+address, "GITHUB_GRAPHQL_URL="+way.URL)
	cmd.Stdout, cmd.Stderr = &r.log, &r.log
	if r.process, err = child.Start(cmd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.process.Stop(0) })
	return r
}

func (r *replica) ready() bool {
	answer, err := http.Get(r.url + "/health/readiness")
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// deliver posts a record's event as a KafkaSource does, until it is taken.
func (r *replica) deliver(ctx context.Context, record *kgo.Record) {
	for ctx.Err() == nil {
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(record.Value))
		if err != nil {
			r.t.Error(err)
			return
		}
		for _, h := range record.Headers {
			if name, ok := strings.CutPrefix(h.Key, "ce_"); ok {
				q.Header.Set("Ce-"+name, string(h.Value))
			} else {
				q.Header.Set(h.Key, string(h.Value))
			}
		}
		if answer, err := http.DefaultClient.Do(q); err == nil {
			answer.Body.Close()
			if answer.StatusCode/100 == 2 {
				r.events.Add(1)
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestFourReplicasSweepEachOfThirtyOwnersOnce has every request of one tick
// delivered to two of the replicas at the same time.
func TestFourReplicasSweepEachOfThirtyOwnersOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(12, event.TopicFetchRequests, event.TopicBaseRepos, event.TopicSweeps, event.TopicSignals), kfake.SeedTopics(1, event.BellTopic(event.TopicBaseRepos)))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	defer registry.Close()
	state, err := redis.Start(ctx, redis.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	t.Logf("Redis is %s", state.Kind())

	plan, repos := github.Plan{Seed: 1, Start: time.Now()}, map[string]int64{}
	var logins []string
	var total int
	for i := range 30 {
		o := github.OwnerPlan{Login: fmt.Sprintf("owner-%d", i), User: i%5 == 0, Repos: 1 + i%6*7}
		plan.Owners, logins = append(plan.Owners, o), append(logins, o.Login)
		repos[o.Login] = int64(o.Repos)
		total += o.Repos
	}
	emulator, err := github.New(github.Generate(plan), "token-of-a-test")
	if err != nil {
		t.Fatal(err)
	}

	var replicas []*replica
	for range 4 {
		replicas = append(replicas, newReplica(t, emulator,
			"KAFKA_BROKERS="+strings.Join(kafka.ListenAddrs(), ","), "SCHEMA_REGISTRY_URL="+registry.URL, "REDIS_URL=redis://"+state.Addr(),
			"GITHUB_TOKEN=token-of-a-test", "OWNERS="+strings.Join(logins, ","), "PAGE_SIZE=10"))
	}
	await := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			if ctx.Err() != nil {
				t.Fatalf("not within a minute: %s", what)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, r := range replicas {
		await("a replica is ready", r.ready)
	}

	// The source: each request goes to the next replica and to the one after it.
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.ConsumeTopics(event.TopicFetchRequests), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	polling, stop := context.WithCancel(ctx)
	defer stop()
	var source, posts sync.WaitGroup
	source.Go(func() {
		n := 0
		for polling.Err() == nil {
			client.PollFetches(polling).EachRecord(func(record *kgo.Record) {
				for i := range 2 {
					to := replicas[(n+i)%len(replicas)]
					posts.Go(func() { to.deliver(ctx, record) })
				}
				n++
			})
		}
	})
	began := time.Now()
	id := began.UTC().Truncate(time.Hour).Format(time.RFC3339)
	tick := &kgo.Record{Value: []byte(`{"do":"sweep"}`)}
	for name, value := range map[string]string{"ce_specversion": "1.0", "ce_id": "tick", "ce_source": "/e2e", "ce_type": event.TypeTick, "ce_time": began.UTC().Format(time.RFC3339), "content-type": event.ContentJSON} {
		tick.Headers = append(tick.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	replicas[0].deliver(ctx, tick)
	unfinished := func() int64 {
		n, err := sweep.Unfinished(ctx, "redis://"+state.Addr())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	await("the sweep is finished", func() bool { return unfinished() == 0 })
	took := time.Since(began)
	stop()
	source.Wait()
	posts.Wait()
	if n := unfinished(); n != 0 {
		t.Errorf("late deliveries have opened %d sweeps again", n)
	}

	codec, err := event.NewCodec(registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	lines, observed := map[string]bool{}, map[int64]bool{}
	for _, record := range recordsOf(ctx, t, kafka, event.TopicSweeps) {
		line, err := codec.Swept(ctx, record)
		if err != nil {
			t.Fatal(err)
		}
		if lines[line.Owner] {
			t.Errorf("a second ledger line of %s", line.Owner)
		}
		lines[line.Owner] = true
		if line.Status != event.StatusComplete || line.SweepID != id || line.Seen != repos[line.Owner] || line.Expected == nil || *line.Expected != line.Seen {
			t.Errorf("want %d repositories of %s, complete, in sweep %s; the ledger has %+v", repos[line.Owner], line.Owner, id, line)
		}
	}
	for _, record := range recordsOf(ctx, t, kafka, event.TopicBaseRepos) {
		o, err := codec.Observed(ctx, record)
		if err != nil {
			t.Fatal(err)
		}
		if observed[o.ID] {
			t.Errorf("%s is observed a second time", o.NameWithOwner)
		}
		observed[o.ID] = true
	}
	if len(lines) != len(logins) || len(observed) != total {
		t.Errorf("%d owners and %d repositories are swept, want %d and %d", len(lines), len(observed), len(logins), total)
	}
	for i, r := range replicas {
		if r.asked.Load() == 0 {
			t.Errorf("replica %d has asked GitHub nothing", i)
		}
		if err := errors.Join(r.process.Stop(30*time.Second), r.process.Err()); err != nil {
			t.Errorf("replica %d on SIGTERM: %v", i, err)
		}
		t.Logf("replica %d: %d events, %d questions", i, r.events.Load(), r.asked.Load())
		if t.Failed() {
			t.Logf("%s", r.log.String())
		}
	}
	t.Logf("%d repositories of %d owners in %s", len(observed), len(lines), took.Round(time.Millisecond))
}

// recordsOf reads a topic from its start to its end.
func recordsOf(ctx context.Context, t *testing.T, kafka *kfake.Cluster, topic string) (records []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	for int64(len(records)) < want {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}
