// Package m7pulse is the all-in-one: the four functions in one service, for a
// small installation. Each event goes to those that would get it if they were
// services of their own.
package m7pulse

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// New returns the function for func-go. Any event may be sent to it any number
// of times, as to each of the four.
func New() *serve.Instance { return serve.New("m7pulse", open) }

func open(ctx context.Context, environ map[string]string) (serve.Function, error) {
	all := &allInOne{}
	for _, f := range []struct {
		instance *serve.Instance
		place    *serve.Function
	}{
		{fetchorg.New(), &all.fetch},
		{aggregate.New(), &all.aggregate},
		{sinkclickhouse.New(), &all.clickhouse},
		{sinkiceberg.New(), &all.iceberg},
	} {
		fn, err := f.instance.Open(ctx, environ)
		if err != nil {
			return nil, errors.Join(err, all.Close(ctx))
		}
		*f.place = fn
	}
	return all, nil
}

// allInOne is the four functions.
type allInOne struct {
	fetch, aggregate, clickhouse, iceberg serve.Function
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

// takers are the functions that take an event. A bell is for all that have work
// in its topic, whatever the record is. An event posted by hand is for one,
// which produces it to its topic: its bell then comes to all.
func (a *allInOne) takers(e cloudevents.Event) ([]serve.Function, error) {
	if topic, bell := serve.BellTopic(e); bell {
		switch topic {
		case event.TopicFetchRequests:
			return []serve.Function{a.fetch}, nil
		case event.TopicBaseRepos:
			return []serve.Function{a.aggregate, a.iceberg}, nil
		case event.TopicProcessedRepos, event.TopicSweeps:
			return []serve.Function{a.clickhouse, a.iceberg}, nil
		}
		return nil, event.Invalid("a bell of topic %q, which no function reads", topic)
	}
	switch e.Type() {
	case event.TypeTick:
		do, err := serve.Tick(e)
		if err != nil {
			return nil, err
		}
		switch do {
		case "wake":
			return a.all(), nil
		case "maintain":
			return []serve.Function{a.iceberg}, nil
		}
		return []serve.Function{a.fetch}, nil
	case event.TypeFetchRequested:
		return []serve.Function{a.fetch}, nil
	case event.TypeRepoObserved:
		return []serve.Function{a.aggregate}, nil
	case event.TypeRepoProcessed, event.TypeOwnerSwept:
		return []serve.Function{a.clickhouse}, nil
	}
	return nil, event.Invalid("no function takes events of type %q", e.Type())
}

func (a *allInOne) all() []serve.Function {
	return slices.DeleteFunc([]serve.Function{a.fetch, a.aggregate, a.clickhouse, a.iceberg}, func(f serve.Function) bool { return f == nil })
}

// Status is that of each function, and the first fault of any.
func (a *allInOne) Status() serve.Status {
	detail := map[string]serve.Status{
		"fetch-org": a.fetch.Status(), "aggregate": a.aggregate.Status(),
		"sink-clickhouse": a.clickhouse.Status(), "sink-iceberg": a.iceberg.Status(),
	}
	all := serve.Status{Detail: detail}
	for _, name := range []string{"fetch-org", "aggregate", "sink-clickhouse", "sink-iceberg"} {
		for _, g := range detail[name].Gauges {
			labels := map[string]string{"part": name}
			maps.Copy(labels, g.Labels)
			all.Gauges = append(all.Gauges, serve.Gauge{Name: g.Name, Labels: labels, Value: g.Value})
		}
		if s := detail[name].Failing; s != "" && all.Failing == "" {
			all.Failing = name + ": " + s
		}
	}
	return all
}

// Close ends all four, at the same time.
func (a *allInOne) Close(ctx context.Context) error {
	functions := a.all()
	failed := make([]error, len(functions))
	var calls sync.WaitGroup
	for i, f := range functions {
		calls.Go(func() { failed[i] = f.Close(ctx) })
	}
	calls.Wait()
	return errors.Join(failed...)
}
