package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// episodesKey is a hash of the alerts that fire, as JSON, by kind.
const episodesKey = "github:pipeline:alerts"

// Episodes remember since when each alert fires, in Redis, so that an episode is
// announced once and its end once, however often the watch is killed: the time is kept
// before the signal is written, and is in its id, which stores and notify keep once.
// While Redis is away they are kept in memory.
type Episodes struct {
	rdb    redis.UniversalClient
	open   map[string]episode
	loaded bool
}

// episode is an alert that fires, or has ceased to and was not announced yet.
type episode struct {
	Since     time.Time  `json:"since"`
	Announced bool       `json:"announced"`
	Until     *time.Time `json:"until,omitempty"`
}

// NewEpisodes returns the episodes that a Redis remembers.
func NewEpisodes(rdb redis.UniversalClient) *Episodes {
	return &Episodes{rdb: rdb, open: map[string]episode{}}
}

// load reads what is remembered, once.
func (e *Episodes) load(ctx context.Context) {
	if e.loaded {
		return
	}
	values, err := e.rdb.HGetAll(ctx, episodesKey).Result()
	if err != nil {
		return // Redis is away: an alert of its own
	}
	for kind, text := range values {
		var one episode
		if _, known := e.open[kind]; !known && json.Unmarshal([]byte(text), &one) == nil {
			e.open[kind] = one
		}
	}
	e.loaded = true
}

func (e *Episodes) keep(ctx context.Context, kind string) {
	one, there := e.open[kind]
	if !there {
		e.rdb.HDel(ctx, episodesKey, kind) // else it is announced again under the same id
		return
	}
	if text, err := json.Marshal(one); err == nil {
		e.rdb.HSet(ctx, episodesKey, kind, text)
	}
}

// Settle compares a reading with what fires, at the time now, and announces what has
// changed. A figure that could not be read changes nothing. announce returns once the
// signals are durable.
func (e *Episodes) Settle(ctx context.Context, now time.Time, r Reading, announce func(context.Context, []*event.Signal) error) error {
	e.load(ctx)
	now = now.UTC().Truncate(time.Millisecond)
	var signals []*event.Signal
	changed := map[string]bool{}
	for _, d := range Definitions() {
		figure, known := r.Figures[d.Figure]
		if !known || d.RaisedBy != "" {
			continue
		}
		one, fires := e.open[d.Kind]
		switch {
		case d.Fires(figure) && !fires:
			one = episode{Since: now}
			e.open[d.Kind] = one
			e.keep(ctx, d.Kind)
		case !d.Fires(figure) && fires && one.Until == nil:
			one.Until = &now
			e.open[d.Kind] = one
			e.keep(ctx, d.Kind)
		}
		if one, fires = e.open[d.Kind]; !fires {
			continue
		}
		if !one.Announced {
			signals = append(signals, raise(d, d.Kind, one.Since, figure, d.Means+r.Details[d.Figure]))
			changed[d.Kind] = true
		}
		if one.Until != nil { // if it fires again by now, that is the next reading's
			s := raise(d, signal.AlertCleared, *one.Until, figure, d.Kind+" is over: it fired for "+one.Until.Sub(one.Since).Round(time.Second).String())
			signals = append(signals, s)
			changed[d.Kind] = true
		}
	}
	if len(signals) == 0 {
		return nil
	}
	if err := announce(ctx, signals); err != nil {
		return fmt.Errorf("announce %d alerts: %w", len(signals), err)
	}
	for kind := range changed {
		one := e.open[kind]
		one.Announced = true
		e.open[kind] = one
		if one.Until != nil {
			delete(e.open, kind)
		}
		e.keep(ctx, kind)
	}
	return nil
}

func raise(d Definition, kind string, at time.Time, figure float64, words string) *event.Signal {
	s := signal.New(kind)
	s.Owner, s.ObservedAt, s.Metric, s.Value, s.Usual = signal.Installation, at, &d.Figure, &figure, &d.Threshold
	s.Evidence = "watch/" + d.Kind + "@" + at.Format(time.RFC3339)
	s.Say("%s", words)
	s.Identify()
	return s
}
