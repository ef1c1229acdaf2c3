package notify

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/m7pulse/m7pulse/functions/notify/target"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// Tried is what came of a sample to one target.
type Tried struct {
	Target string
	Err    error // nil: it was accepted
}

// Try sends a sample to each target of some rules, whatever its quiet hours, and returns
// what came of it, by name. Of a name, only that one is tried.
func Try(ctx context.Context, rules *Rules, only string) []Tried {
	now := time.Now().UTC().Truncate(time.Millisecond)
	s := signal.New(signal.Milestone)
	s.RepoID, s.NameWithOwner, s.Owner, s.ObservedAt, s.Evidence = new(int64(1)), new("m7pulse/sample"), "m7pulse", now, "1@1"
	s.Say("This is a sample of M7 Pulse: nothing has happened")
	s.Identify()
	var all []Tried
	for _, name := range slices.Sorted(maps.Keys(rules.Targets)) {
		if only != "" && name != only {
			continue
		}
		to, err := target.Open(rules.Targets[name].Config, http.DefaultTransport)
		if err == nil {
			m := &message{id: name + " sample " + s.ID}
			err = to.Send(ctx, compose(rules.Targets[name], []*message{m}, []*event.Signal{s}))
		}
		all = append(all, Tried{name, err})
	}
	return all
}
