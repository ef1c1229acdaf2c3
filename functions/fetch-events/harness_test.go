package fetchevents

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/portfolio"
	"github.com/m7pulse/m7pulse/shared/secret"
	"github.com/m7pulse/m7pulse/shared/serve"
)

const token = "ghp_aSecret"

// installation is the function, a GitHub, and the servers between them. Its clock is
// moved by hand.
type installation struct {
	t        *testing.T
	github   *emulator.Server
	world    *emulator.World
	redis    *miniredis.Miniredis
	rdb      *redis.Client
	cfg      Config
	codec    *event.Codec
	function *function
	clock    time.Time
}

// inProcess asks the emulator without a network.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	defer func() {
		if recover() == http.ErrAbortHandler {
			answer, err = nil, io.ErrUnexpectedEOF
		}
	}()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}

func install(t *testing.T, world *emulator.World) *installation {
	t.Helper()
	in := &installation{t: t, world: world, redis: miniredis.RunT(t), clock: time.Now().UTC().Add(-48 * time.Hour).Truncate(time.Hour)}
	var err error
	if in.github, err = emulator.New(world, token); err != nil {
		t.Fatal(err)
	}
	in.github.SetClock(func() time.Time { return in.clock })
	in.github.SetRequests(token, 1_000_000)
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, event.TopicEvents, event.TopicFeedReads), kfake.SeedTopics(1, event.BellTopic(event.TopicEvents)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(brokers.Close)
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(registry.Close)
	in.rdb = redis.NewClient(&redis.Options{Addr: in.redis.Addr()})
	t.Cleanup(func() { _ = in.rdb.Close() })
	in.cfg = Config{
		Pipeline: serve.Pipeline{Kafka: kafka.Config{Brokers: brokers.ListenAddrs()}, Registry: registry.URL},
		Redis:    secret.Text("redis://" + in.redis.Addr()), Longest: 6 * time.Hour,
	}
	in.cfg.GitHub.Tokens, in.cfg.GitHub.URL = token, "http://github.test/graphql"
	if in.codec, err = event.NewCodec(registry.URL); err != nil {
		t.Fatal(err)
	}
	for _, o := range world.Owners {
		in.list(o.Login)
	}
	in.start()
	return in
}

// list lists an owner and its repositories, as fetch-org does.
func (in *installation) list(login string) {
	in.t.Helper()
	in.redis.HSet(portfolio.OwnersKey, login, fmt.Sprintf(`{"login":%q}`, login))
	for _, o := range in.world.Owners {
		for _, r := range o.Repos {
			if o.Login == login && !r.Private {
				text, err := json.Marshal(portfolio.Repository{Name: o.Login + "/" + r.Name})
				if err != nil {
					in.t.Fatal(err)
				}
				in.redis.HSet(portfolio.RepositoriesKey(login), strconv.FormatInt(r.ID, 10), string(text))
			}
		}
	}
	in.redis.HSet(portfolio.RepositoriesKey(login), "baseline", "2026-01-01T00:00:00Z")
}

// start begins a process of the function.
func (in *installation) start() {
	in.t.Helper()
	f, err := newFunction(in.cfg, inProcess{in.github})
	if err != nil {
		in.t.Fatal(err)
	}
	f.now = func() time.Time { return in.clock }
	in.function = f
	in.t.Cleanup(func() { _ = f.Close(context.Background()) })
}

// wake sends a tick, and again as long as it asks for that.
func (in *installation) wake() error {
	tick := cloudevents.NewEvent()
	tick.SetType(event.TypeTick)
	tick.SetID("1")
	tick.SetSource("/test")
	_ = tick.SetData(cloudevents.ApplicationJSON, map[string]string{"do": "wake"})
	return in.function.Receive(in.t.Context(), tick)
}

func (in *installation) mustWake() {
	in.t.Helper()
	if err := in.wake(); err != nil {
		in.t.Fatal(err)
	}
}

// stored is what Kafka has: each event once, in how many records, and the ledger.
type stored struct {
	events  map[feed.Key]*event.GitHubEvent
	records int
	lines   []*event.FeedRead
	bells   int
}

func (in *installation) stored() stored {
	in.t.Helper()
	out := stored{events: map[feed.Key]*event.GitHubEvent{}}
	for _, topic := range []string{event.TopicEvents, event.TopicFeedReads, event.BellTopic(event.TopicEvents)} {
		ends, err := kafka.Ends(in.t.Context(), in.cfg.Kafka, topic)
		if err != nil {
			in.t.Fatal(err)
		}
		for p, end := range ends {
			err := kafka.ReadRange(in.t.Context(), in.cfg.Kafka, p, 0, end, func(records []*kgo.Record, _ int64) error {
				for _, r := range records {
					switch topic {
					case event.TopicEvents:
						e, err := in.codec.GitHubEvent(in.t.Context(), r)
						if err != nil {
							return err
						}
						out.records++
						out.events[e.Key()] = e
					case event.TopicFeedReads:
						l, err := in.codec.FeedRead(in.t.Context(), r)
						if err != nil {
							return err
						}
						out.lines = append(out.lines, l)
					default:
						out.bells++
					}
				}
				return nil
			})
			if err != nil {
				in.t.Fatal(err)
			}
		}
	}
	return out
}

// asked counts the requests to GitHub, and those that cost.
func (in *installation) asked() (all, paid int) {
	for _, r := range in.github.Requests() {
		if r.Login != "user" {
			all++
			paid += int(r.Cost)
		}
	}
	return all, paid
}

// quiet is a world of one organization with some repositories, in which nothing
// happens by itself.
func quiet(repos int) (*emulator.World, []*emulator.Repo) {
	w := emulator.Generate(emulator.Plan{Seed: 1, Owners: []emulator.OwnerPlan{{Login: "acme", Repos: repos}}, Start: time.Now().AddDate(0, 0, -60)})
	w.Begin(emulator.Feeds{}, time.Now().AddDate(0, 0, -60))
	return w, w.Owners[0].Repos
}
