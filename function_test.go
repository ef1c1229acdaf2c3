package m7pulse

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/m7pulse/m7pulse/infra/knative"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// part plays one of the four functions.
type part struct {
	name string
	err  error
	shut *atomic.Int32
}

func (p part) Receive(context.Context, cloudevents.Event) error { return p.err }
func (p part) Status() serve.Status {
	if p.err != nil {
		return serve.Status{Failing: p.err.Error()}
	}
	return serve.Status{}
}
func (p part) Close(context.Context) error { p.shut.Add(1); return p.err }

// webPart plays the function that answers requests.
type webPart struct{ part }

func (webPart) ServeHTTP(http.ResponseWriter, *http.Request) {}

func TestEachEventGoesToThoseThatTakeIt(t *testing.T) {
	routes, err := knative.ReadRoutes()
	if err != nil {
		t.Fatal(err)
	}
	all := &allInOne{routes: routes, functions: map[string]serve.Function{}}
	for _, name := range []string{"fetch-org", "fetch-events", "aggregate", "sink-clickhouse", "sink-iceberg", "notify"} {
		all.functions[name] = part{name: name}
	}
	f := func(typ, topic, data, want string) {
		t.Helper()
		e := cloudevents.NewEvent()
		e.SetType(typ)
		if topic != "" {
			e.SetExtension("kafkatopic", topic)
			e.SetExtension("knativekafkapartition", "3")
			e.SetExtension("knativekafkaoffset", "17")
		}
		if err := e.SetData(cloudevents.ApplicationJSON, []byte(data)); err != nil {
			t.Fatal(err)
		}
		takers, err := all.takers(e)
		var got []string
		for _, f := range takers {
			got = append(got, f.(part).name)
		}
		if err != nil {
			got = []string{"refused"}
			if !errors.Is(err, event.ErrInvalid) {
				t.Errorf("%s of %q: %v, want an error that Knative does not retry", typ, topic, err)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s of topic %q goes to %q, want %q", typ, topic, got, want)
		}
	}
	f(event.TypeTick, "", `{"do":"sweep"}`, "fetch-org")
	f(event.TypeTick, "", `{"do":"wake"}`, "fetch-org fetch-events aggregate sink-clickhouse sink-iceberg notify")
	f(event.TypeSignal, "github.signals", `{}`, "sink-clickhouse sink-iceberg notify")
	f(event.TypeSignal, "", `{}`, "sink-clickhouse")
	f(event.TypeTick, "", `{"do":"maintain"}`, "sink-iceberg")
	f(event.TypeTick, "", `{"do":`, "refused")
	f(event.TypeTick, "", `{"do":"dance"}`, "refused")
	f(event.TypeFetchRequested, "github.fetch_requests", `{}`, "fetch-org")
	f(event.TypeRepoObserved, "github.base_repos", `{}`, "aggregate sink-iceberg")
	f(event.TypeRepoProcessed, "github.processed_repos", `{}`, "sink-clickhouse sink-iceberg")
	f(event.TypeOwnerSwept, "github.sweeps", `{}`, "sink-clickhouse sink-iceberg")
	f(event.TypeBell, "github.base_repos.bells", `{}`, "aggregate sink-iceberg")
	f(event.TypeBell, "github.processed_repos.bells", `{}`, "sink-clickhouse sink-iceberg")
	f(event.TypeBell, "github.sweeps.bells", `{}`, "refused") // there is no such topic
	// Whatever somebody wrote to a topic, the drains have to get past it.
	f("dev.knative.kafka.event", "github.base_repos", `{}`, "aggregate sink-iceberg")
	f(event.TypeRepoObserved, "github.other", `{}`, "refused")
	// By hand: produced once.
	f(event.TypeRepoObserved, "", `{}`, "aggregate")
	f(event.TypeRepoProcessed, "", `{}`, "sink-clickhouse")
	f(event.TypeOwnerSwept, "", `{}`, "sink-clickhouse")
	f("com.example.other", "", `{}`, "refused")
}

func TestAnEventIsTriedAgainAsLongAsOneFunctionNeedsIt(t *testing.T) {
	never, later := event.Invalid("never"), errors.New("later")
	routes := knative.Routes{ByTopic: map[string][]string{"github.sweeps": {"one", "other"}}}
	f := func(one, other error, invalid bool) {
		t.Helper()
		e := cloudevents.NewEvent()
		e.SetType(event.TypeOwnerSwept)
		e.SetExtension("kafkatopic", "github.sweeps")
		e.SetExtension("knativekafkaoffset", "1")
		err := (&allInOne{routes: routes, functions: map[string]serve.Function{"one": part{err: one}, "other": part{err: other}}}).Receive(t.Context(), e)
		if (err != nil) != (one != nil || other != nil) || errors.Is(err, event.ErrInvalid) != invalid {
			t.Errorf("%v and %v make %v", one, other, err)
		}
	}
	f(nil, nil, false)
	f(nil, later, false)
	f(never, later, false)
	f(later, never, false)
	f(nil, never, true)
}

func TestEveryFunctionIsClosedThoughOneFails(t *testing.T) {
	var shut atomic.Int32
	all := &allInOne{
		functions: map[string]serve.Function{"one": part{shut: &shut}, "other": part{shut: &shut, err: errors.New("stuck")}},
		web:       webPart{part{shut: &shut}},
	}
	if err := all.Close(t.Context()); err == nil || shut.Load() != 3 {
		t.Errorf("closed %d, %v: want all, and the error", shut.Load(), err)
	}
}
