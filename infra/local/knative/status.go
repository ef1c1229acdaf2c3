package knative

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/m7pulse/m7pulse/shared/child"
)

// Status is how the cluster fares.
type Status struct {
	Functions []FunctionStatus `json:"functions"`
	Sources   []SourceStatus   `json:"sources"`
	Ticks     []TickStatus     `json:"ticks"`
}

// FunctionStatus is how one function fares. Milliseconds count from exec.
type FunctionStatus struct {
	Name      string           `json:"name"`
	URL       string           `json:"url"`
	PID       int              `json:"pid,omitempty"`
	Replicas  int              `json:"replicas"` // that take requests: 0 or 1
	Phase     string           `json:"phase"`    // zero, starting, ready, stopping
	Starts    int64            `json:"starts"`
	Crashes   int64            `json:"crashes"`
	Ready     Milliseconds     `json:"ready_ms"`        // until it was ready
	FirstOK   Milliseconds     `json:"first_answer_ms"` // until its first 2xx
	Requests  int64            `json:"requests"`        // answered, or failed
	Failures  map[string]int64 `json:"failures"`        // by status; "none" without one
	InFlight  int              `json:"in_flight"`
	Waiting   int              `json:"waiting"`              // for it to start
	Resident  int64            `json:"resident_bytes"`       // Linux only
	IdleSince *time.Time       `json:"idle_since,omitempty"` // null: at work, or at zero
}

// Milliseconds sums up the latest cold starts.
type Milliseconds struct {
	Last   float64 `json:"last"`
	Median float64 `json:"median"`
}

// SourceStatus is how one KafkaSource fares, since it was started.
type SourceStatus struct {
	Name         string `json:"name"`
	Topic        string `json:"topic"`
	Group        string `json:"group"`
	Function     string `json:"function"`
	InFlight     int64  `json:"in_flight"`
	Delivered    int64  `json:"delivered"`
	Retried      int64  `json:"retried"`
	Dropped      int64  `json:"dropped"` // given up
	DroppedBells int64  `json:"muted"`   // by Config.DropBells
	// Undelivered and Lag count offsets from the position, which moves at
	// once, and from the committed offset, which follows it; -1: unknown.
	Undelivered int64 `json:"undelivered"`
	Lag         int64 `json:"lag"`
}

// TickStatus is how one PingSource fares.
type TickStatus struct {
	Name     string    `json:"name"`
	Function string    `json:"function"`
	Next     time.Time `json:"next"`
	Fired    int64     `json:"fired"`
	Failed   int64     `json:"failed"`
}

// Status is the state of the cluster. Its error says that Kafka does not report
// the lags; all else is filled in then too.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	var s Status
	for _, f := range c.cfg.Topology.Functions {
		here, ok := c.functions[f.Name]
		if !ok { // they run elsewhere: Config.Ingress
			continue
		}
		fs := here.status()
		fs.URL = c.URL(f.Name)
		s.Functions = append(s.Functions, fs)
	}
	for _, p := range c.pingers {
		p.mu.Lock()
		s.Ticks = append(s.Ticks, TickStatus{Name: p.tick.Name, Function: p.tick.Function, Next: p.next, Fired: p.fired, Failed: p.failed})
		p.mu.Unlock()
	}
	logs, err := c.extents(ctx)
	for _, src := range c.sources {
		st := SourceStatus{
			Name: src.Name, Topic: src.Topic, Group: src.Group, Function: src.Function,
			InFlight: src.inFlight.Load(), Delivered: src.delivered.Load(), Retried: src.retried.Load(),
			Dropped: src.dropped.Load(), DroppedBells: src.droppedBells.Load(), Undelivered: -1, Lag: -1,
		}
		if err == nil {
			err = c.lags(ctx, src, logs, &st)
		}
		s.Sources = append(s.Sources, st)
	}
	return s, err
}

// extents are the starts and the stable ends of topics.
type extents struct{ starts, ends kadm.ListedOffsets }

func (c *Cluster) extents(ctx context.Context) (extents, error) {
	var topics []string
	for _, s := range c.sources {
		topics = append(topics, s.Topic)
	}
	sort.Strings(topics)
	topics = slices.Compact(topics)
	starts, err := c.admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return extents{}, fmt.Errorf("list the starts of the topics: %w", err)
	}
	ends, err := c.admin.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = errors.Join(starts.Error(), ends.Error())
	}
	if err != nil {
		return extents{}, fmt.Errorf("list the offsets of the topics: %w", err)
	}
	return extents{starts, ends}, nil
}

func (c *Cluster) lags(ctx context.Context, src *source, l extents, st *SourceStatus) error {
	committed, err := c.admin.FetchOffsets(ctx, src.Group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // not there: nothing is committed yet
		return fmt.Errorf("fetch the offsets of group %s: %w", src.Group, err)
	}
	position := src.progress.positions()
	var lag, undelivered int64
	for n, end := range l.ends[src.Topic] {
		from := int64(0)
		if start, ok := l.starts.Lookup(src.Topic, n); ok {
			from = start.Offset
		}
		if at, ok := committed.Lookup(src.Topic, n); ok {
			from = max(from, at.At)
		}
		// Ends were listed first, so an offset may be beyond them by now.
		lag += max(0, end.Offset-from)
		undelivered += max(0, end.Offset-max(from, position[n]))
	}
	st.Lag, st.Undelivered = lag, undelivered
	return nil
}

// account is what a function's status is made of.
type account struct {
	starts, crashes, requests int64
	failures                  map[int]int64
	coldReady, coldAnswer     durations
}

func newAccount() account { return account{failures: map[int]int64{}} }

func (a *account) answer(status int) {
	a.requests++
	if status/100 != 2 {
		a.failures[status]++
	}
}

// durations keeps the latest ones.
type durations struct {
	latest []time.Duration
	n      int
}

const keptDurations = 101

func (d *durations) add(v time.Duration) {
	if len(d.latest) < keptDurations {
		d.latest = append(d.latest, v)
	} else {
		d.latest[d.n%keptDurations] = v
	}
	d.n++
}

func (d *durations) milliseconds() Milliseconds {
	if d.n == 0 {
		return Milliseconds{}
	}
	ms := func(v time.Duration) float64 { return float64(v.Round(10*time.Microsecond)) / 1e6 }
	sorted := slices.Sorted(slices.Values(d.latest))
	return Milliseconds{Last: ms(d.latest[(d.n-1)%keptDurations]), Median: ms(sorted[len(sorted)/2])}
}

func (f *function) status() FunctionStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := FunctionStatus{
		Name: f.name, Phase: [...]string{"zero", "starting", "ready", "stopping"}[f.phase],
		Starts: f.account.starts, Crashes: f.account.crashes,
		Ready: f.account.coldReady.milliseconds(), FirstOK: f.account.coldAnswer.milliseconds(),
		Requests: f.account.requests, Failures: map[string]int64{}, Waiting: f.waiting,
	}
	for status, n := range f.account.failures {
		name := strconv.Itoa(status)
		if status == 0 {
			name = "none"
		}
		s.Failures[name] = n
	}
	if p := f.process; p != nil {
		s.PID, s.InFlight, s.Resident = p.PID(), p.inFlight, child.Resident(p.PID())
		if f.phase == ready {
			s.Replicas = 1
			if p.inFlight == 0 {
				idle := f.idle.UTC()
				s.IdleSince = &idle
			}
		}
	}
	return s
}
