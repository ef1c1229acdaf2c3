package fetchorg

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// servers starts all that the function needs, and returns its environment.
func servers(t *testing.T) (environ map[string]string, registry string) {
	t.Helper()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, event.TopicFetchRequests, event.TopicBaseRepos, event.TopicSweeps, event.TopicSignals), kfake.SeedTopics(1, event.BellTopic(event.TopicBaseRepos)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	schemas := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(schemas.Close)
	github, err := emulator.New(emulator.NewWorld(), "ghp_secret")
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(github)
	t.Cleanup(web.Close)
	was := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(was) })
	return map[string]string{
		"KAFKA_BROKERS": strings.Join(kafka.ListenAddrs(), ","), "SCHEMA_REGISTRY_URL": schemas.URL, "REDIS_URL": "redis://" + miniredis.RunT(t).Addr(),
		"GITHUB_GRAPHQL_URL": web.URL, "GITHUB_TOKEN": "ghp_secret", "OWNERS": "meta=acme, jane",
	}, schemas.URL
}

// started returns the function, as its host has it.
func started(t *testing.T, environ map[string]string) *serve.Instance {
	t.Helper()
	instance := New()
	if err := instance.Start(t.Context(), environ); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = instance.Stop(context.Background()) })
	return instance
}

func post(instance *serve.Instance, ceType, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Ce-Specversion", "1.0")
	r.Header.Set("Ce-Id", "1")
	r.Header.Set("Ce-Source", "/test")
	r.Header.Set("Ce-Type", ceType)
	r.Header.Set("Ce-Time", time.Now().UTC().Format(time.RFC3339))
	r.Header.Set("Content-Type", contentType)
	answer := httptest.NewRecorder()
	instance.Handle(answer, r)
	return answer
}

func TestATickAndItsRequestsSweepAllOwners(t *testing.T) {
	environ, registry := servers(t)
	codec, err := event.NewCodec(registry)
	if err != nil {
		t.Fatal(err)
	}
	instance := started(t, environ)
	if answer := post(instance, event.TypeTick, "application/json", `{"do":"sweep"}`); answer.Code != http.StatusNoContent {
		t.Fatalf("tick: %d %s", answer.Code, answer.Body)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(environ["KAFKA_BROKERS"]), kgo.ConsumeTopics(event.TopicFetchRequests, event.TopicSweeps), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lines := map[string]event.OwnerSwept{}
	for len(lines) < 2 && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if r.Topic == event.TopicFetchRequests {
				if answer := post(instance, event.Header(r, "ce_type"), event.Header(r, "content-type"), string(r.Value)); answer.Code != http.StatusNoContent {
					t.Errorf("request: %d %s", answer.Code, answer.Body)
				}
				return
			}
			line, err := codec.Swept(ctx, r)
			if err != nil {
				t.Fatal(err)
			}
			lines[line.Owner] = *line
		})
	}
	for owner, repos := range map[string]int64{"Acme": 7, "jane": 3} {
		if l := lines[owner]; l.Status != event.StatusComplete || l.Seen != repos {
			t.Errorf("ledger line of %s: %+v", owner, l)
		}
	}
}

func TestInvalidEventsAreRefusedForGood(t *testing.T) {
	environ, registry := servers(t)
	codec, err := event.NewCodec(registry)
	if err != nil {
		t.Fatal(err)
	}
	instance := started(t, environ)
	sweep := time.Now().UTC().Truncate(time.Hour).Format(time.RFC3339)
	known, err := codec.Record(t.Context(), &event.FetchRequested{SweepID: sweep, Login: "jane"}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, ceType, contentType, body string
		want                            int
	}{
		{"a request by hand", event.TypeFetchRequested, "application/json", `{"sweep_id":"` + sweep + `","login":"jane"}`, http.StatusNoContent},
		{"a tick", event.TypeTick, "application/json", `{"do":"wake"}`, http.StatusNoContent},
		{"a tick that asks for something else", event.TypeTick, "application/json", `{"do":"dance"}`, http.StatusUnprocessableEntity},
		{"a tick that is not JSON", event.TypeTick, "application/json", `dance`, http.StatusUnprocessableEntity},
		{"another type", event.TypeRepoObserved, "application/json", `{}`, http.StatusUnprocessableEntity},
		{"no login", event.TypeFetchRequested, "application/json", `{"sweep_id":"` + sweep + `"}`, http.StatusUnprocessableEntity},
		{"a login that is none", event.TypeFetchRequested, "application/json", `{"sweep_id":"` + sweep + `","login":"a b"}`, http.StatusUnprocessableEntity},
		{"a sweep that is no time", event.TypeFetchRequested, "application/json", `{"sweep_id":"today","login":"jane"}`, http.StatusUnprocessableEntity},
		{"a sweep in the future", event.TypeFetchRequested, "application/json", `{"sweep_id":"2999-01-01T00:00:00Z","login":"jane"}`, http.StatusUnprocessableEntity},
		{"malformed Avro", event.TypeFetchRequested, "application/avro", "\x00\x00", http.StatusUnprocessableEntity},
		{"an unknown schema, of a registry that may be another one", event.TypeFetchRequested, "application/avro", "\x00\x00\x00\x00\x64xyz", http.StatusServiceUnavailable},
		{"a known schema", event.TypeFetchRequested, "application/avro", string(known.Value), http.StatusNoContent},
		{"an unknown schema", event.TypeFetchRequested, "application/avro", "\x00\x00\x00\x00\x63xyz", http.StatusUnprocessableEntity},
	} {
		if answer := post(instance, c.ceType, c.contentType, c.body); answer.Code != c.want {
			t.Errorf("%s: %d %s, want %d", c.what, answer.Code, answer.Body, c.want)
		}
	}
}
