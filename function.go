// Package m7pulse is the all-in-one: all functions in one service, for a small
// installation. Each event goes to those that would get it if they were services of
// their own, and any other request to the API.
package m7pulse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/functions/api"
	fetchevents "github.com/m7pulse/m7pulse/functions/fetch-events"
	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	"github.com/m7pulse/m7pulse/functions/notify"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/knative"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// New returns the function for func-go. Any event may be sent to it any number
// of times, as to each function.
func New() *serve.Instance { return serve.New("m7pulse", open) }

func open(ctx context.Context, environ map[string]string) (serve.Function, error) {
	routes, err := knative.ReadRoutes()
	if err != nil {
		return nil, err
	}
	all := &allInOne{routes: routes, functions: map[string]serve.Function{}}
	for _, f := range []struct {
		name     string
		instance *serve.Instance
	}{
		{"fetch-org", fetchorg.New()},
		{"fetch-events", fetchevents.New()},
		{"aggregate", aggregate.New()},
		{"sink-clickhouse", sinkclickhouse.New()},
		{"sink-iceberg", sinkiceberg.New()},
		{"notify", notify.New()},
	} {
		fn, err := f.instance.Open(ctx, environ)
		if err != nil {
			return nil, errors.Join(err, all.Close(ctx))
		}
		all.functions[f.name] = fn
	}
	web, err := api.New().OpenWeb(ctx, environ)
	if err != nil {
		return nil, errors.Join(err, all.Close(ctx))
	}
	all.web = web
	for _, name := range routes.Functions() {
		if all.functions[name] == nil {
			return nil, errors.Join(fmt.Errorf("infra/knative sends events to %s, which this program does not hold", name), all.Close(ctx))
		}
	}
	return all, nil
}

// allInOne is the functions that take events, by name, and the one that answers
// requests.
type allInOne struct {
	routes    knative.Routes
	functions map[string]serve.Function
	web       serve.Web
}

// ServeHTTP gives a request that is no event to the API.
func (a *allInOne) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.web.ServeHTTP(w, r) }

// parts are all functions, by name.
func (a *allInOne) parts() map[string]serve.Part {
	out := map[string]serve.Part{}
	for name, f := range a.functions {
		out[name] = f
	}
	if a.web != nil {
		out["api"] = a.web
	}
	return out
}

// Receive gives an event to each function that takes it, at the same time. 2xx
// means that each has answered so; when one asks to be tried again, all get the
// event again, which is safe for each.
func (a *allInOne) Receive(ctx context.Context, e cloudevents.Event) error {
	takers, err := a.takers(e)
	if err != nil {
		return err
	}
	failed := make([]error, len(takers))
	var calls sync.WaitGroup
	for i, f := range takers {
		calls.Go(func() { failed[i] = f.Receive(ctx, e) })
	}
	calls.Wait()
	// One that may succeed later counts for more than one that never will.
	if i := slices.IndexFunc(failed, func(err error) bool { return err != nil && !errors.Is(err, event.ErrInvalid) }); i >= 0 {
		return failed[i]
	}
	return errors.Join(failed...)
}

// takers are the functions that take an event: a bell or a tick goes to those
// that infra/knative names. An event posted by hand goes to the first of those
// that read its topic: it produces the event there, and the bell then comes to all.
func (a *allInOne) takers(e cloudevents.Event) ([]serve.Function, error) {
	if topic, bell := serve.BellTopic(e); bell {
		names := a.readers(topic)
		if len(names) == 0 {
			return nil, event.Invalid("a bell of topic %q, which no function reads", topic)
		}
		return a.named(names), nil
	}
	if e.Type() == event.TypeTick {
		do, err := serve.Tick(e)
		if err != nil {
			return nil, err
		}
		names := a.routes.ByTick[do]
		if len(names) == 0 {
			return nil, event.Invalid("a tick asks for %q, which no function does", do)
		}
		return a.named(names), nil
	}
	contract, err := event.ContractOf(e.Type())
	if err != nil {
		return nil, err
	}
	names := a.readers(contract.Topic)
	if len(names) == 0 {
		return nil, event.Invalid("no function takes events of type %q", e.Type())
	}
	return a.named(names[:1]), nil
}

// readers are the functions that are rung for records of a topic.
func (a *allInOne) readers(topic string) []string {
	if bells := event.BellTopic(topic); bells != "" {
		topic = bells
	}
	return a.routes.ByTopic[topic]
}

func (a *allInOne) named(names []string) (functions []serve.Function) {
	for _, name := range names {
		functions = append(functions, a.functions[name])
	}
	return functions
}

// Status is that of each function, and the first fault of any by name.
func (a *allInOne) Status() serve.Status {
	detail := map[string]serve.Status{}
	all := serve.Status{Detail: detail}
	parts := a.parts()
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		s := parts[name].Status()
		detail[name] = s
		for _, g := range s.Gauges {
			labels := map[string]string{"part": name}
			maps.Copy(labels, g.Labels)
			all.Gauges = append(all.Gauges, serve.Gauge{Name: g.Name, Help: g.Help, Labels: labels, Value: g.Value})
		}
		for _, c := range s.Metrics {
			all.Metrics = append(all.Metrics, prometheus.WrapCollectorWith(prometheus.Labels{"part": name}, c))
		}
		if s.Failing != "" && all.Failing == "" {
			all.Failing = name + ": " + s.Failing
		}
	}
	return all
}

// Close ends all functions, at the same time.
func (a *allInOne) Close(ctx context.Context) error {
	parts := a.parts()
	failed := make(chan error, len(parts))
	for _, f := range parts {
		go func() { failed <- f.Close(ctx) }()
	}
	var errs []error
	for range parts {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}
