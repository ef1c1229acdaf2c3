// Package traces reads the spans that a Collector has written to ClickHouse, and puts
// those of a sweep, or of one repository's newest observation, into trees.
package traces

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// table is where the Collector's exporter keeps spans.
const table = "otel.otel_traces"

const (
	// maxSpans bounds what is read: a sweep of 10,000 repositories has some 4,000.
	maxSpans = 50_000
	// maxRounds bounds how often is looked for what follows from what was found: a sweep
	// reaches its rows in 3.
	maxRounds = 8
	// early is how much earlier than what it follows from a span may have begun, by
	// another machine's clock.
	early = time.Minute
)

var (
	// ErrNone says that there are no spans of what was asked for.
	ErrNone = errors.New("no spans: they are kept for 3 days, and only while traces are on (pulse up --trace)")
	// ErrMany says that there are more spans than are shown.
	ErrMany = fmt.Errorf("more than %d spans: ask for one owner, or for one repository", maxSpans)
)

// Span is one piece of work.
type Span struct {
	Trace      string            `json:"trace_id"`
	ID         string            `json:"span_id"`
	Parent     string            `json:"parent_span_id,omitempty"`
	Began      time.Time         `json:"began"`
	Took       time.Duration     `json:"nanoseconds"`
	Function   string            `json:"function"`
	Name       string            `json:"name"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Error      string            `json:"error,omitempty"`
	Links      []string          `json:"links,omitempty"` // spans that it follows from too
}

// Node is a span and what follows from it, in order of time.
type Node struct {
	Span
	Children []*Node `json:"children,omitempty"`
}

// OfSweep returns what was done in a sweep, of one owner or, with "", of all, as trees:
// one for each tick or wake. The newest sweep is that of "".
func OfSweep(ctx context.Context, conn driver.Conn, sweep, owner string) ([]*Node, error) {
	if sweep == "" {
		var err error
		if sweep, err = newest(ctx, conn); err != nil {
			return nil, err
		}
	}
	at, err := time.Parse(time.RFC3339, sweep)
	if err != nil {
		return nil, fmt.Errorf("invalid sweep %q: want a time in UTC such as 2026-01-02T15:00:00Z", sweep)
	}
	condition, args := "SpanAttributes['m7pulse.sweep'] = ?", []any{sweep}
	if owner != "" {
		condition, args = condition+" AND SpanAttributes['m7pulse.owner'] = lower(?)", append(args, owner)
	}
	return from(ctx, conn, at.Add(-early), condition, args...)
}

// newest is the sweep that began last, of those that have spans.
func newest(ctx context.Context, conn driver.Conn) (sweep string, err error) {
	err = query(ctx, conn, "SELECT max(SpanAttributes['m7pulse.sweep']) FROM "+table+" WHERE SpanName = 'tick sweep'", nil, func(rows driver.Rows) error {
		return rows.Scan(&sweep)
	})
	if err == nil && sweep == "" {
		err = ErrNone
	}
	return sweep, err
}

// OfTrace returns the trace with an id, as log lines have it.
func OfTrace(ctx context.Context, conn driver.Conn, id string) ([]*Node, error) {
	return from(ctx, conn, time.Unix(0, 0), "TraceId = lower(?)", id)
}

// OfRepository returns how the newest observation of a repository came to its row: the
// page that it was read in, and what has led to that and followed from it.
func OfRepository(ctx context.Context, conn driver.Conn, name string) ([]*Node, error) {
	var (
		owner, sweep string
		at           time.Time
	)
	err := query(ctx, conn, "SELECT owner, sweep_id, observed_at FROM pulse.github_processed_repos FINAL WHERE lower(name_with_owner) = lower(?) ORDER BY observed_at DESC LIMIT 1", []any{name},
		func(rows driver.Rows) error { return rows.Scan(&owner, &sweep, &at) })
	if err != nil {
		return nil, err
	}
	if owner == "" {
		return nil, fmt.Errorf("no repository %s", name)
	}
	// observed_at is when GitHub answered, cut to the millisecond. A sweep has one
	// attempt at a time, so one page.
	return from(ctx, conn, at.Add(-early),
		"SpanAttributes['m7pulse.sweep'] = ? AND SpanAttributes['m7pulse.owner'] = lower(?) AND startsWith(SpanName, 'read ') AND Timestamp <= fromUnixTimestamp64Nano(toInt64(?)) AND Timestamp + toIntervalNanosecond(Duration) >= fromUnixTimestamp64Nano(toInt64(?))",
		sweep, owner, at.Add(time.Millisecond).UnixNano(), at.UnixNano())
}

// from reads the spans that a condition chooses, what they are within, and what follows
// from them, and puts them into trees.
func from(ctx context.Context, conn driver.Conn, since time.Time, condition string, args ...any) ([]*Node, error) {
	found := map[string]Span{}
	add := func(since time.Time, condition string, args ...any) (added []string, err error) {
		all, err := spans(ctx, conn, since, condition, args...)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if _, known := found[s.ID]; !known {
				found[s.ID] = s
				added = append(added, s.ID)
			}
		}
		if len(found) > maxSpans {
			return nil, ErrMany
		}
		return added, nil
	}
	latest, err := add(since, condition, args...)
	if err != nil {
		return nil, err
	}
	if len(latest) == 0 {
		return nil, ErrNone
	}
	above := latest
	for round := 0; len(latest) > 0 && round < maxRounds; round++ { // what follows
		if latest, err = add(since, "ParentSpanId IN ? OR hasAny(Links.SpanId, ?)", clickhouse.ArraySet(anys(latest)), latest); err != nil {
			return nil, err
		}
	}
	for round := 0; round < maxRounds; round++ { // what they are within
		var wanted []string
		for _, id := range above {
			if p := found[id].Parent; p != "" {
				if _, known := found[p]; !known {
					wanted = append(wanted, p)
				}
			}
		}
		if len(wanted) == 0 {
			break
		}
		if above, err = add(time.Unix(0, 0), "SpanId IN ?", clickhouse.ArraySet(anys(wanted))); err != nil {
			return nil, err
		}
	}
	return trees(found), nil
}

func anys(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = t
	}
	return out
}

func spans(ctx context.Context, conn driver.Conn, since time.Time, condition string, args ...any) (all []Span, err error) {
	err = query(ctx, conn, `SELECT TraceId, SpanId, ParentSpanId, Timestamp, Duration, ServiceName, SpanName, SpanAttributes, if(StatusCode = 'Error', StatusMessage, ''), Links.SpanId
FROM `+table+` WHERE Timestamp >= fromUnixTimestamp64Nano(toInt64(?)) AND (`+condition+`) LIMIT `+strconv.Itoa(maxSpans+1), append([]any{since.UnixNano()}, args...),
		func(rows driver.Rows) error {
			var s Span
			var took uint64
			if err := rows.Scan(&s.Trace, &s.ID, &s.Parent, &s.Began, &took, &s.Function, &s.Name, &s.Attributes, &s.Error, &s.Links); err != nil {
				return err
			}
			s.Took = time.Duration(took)
			all = append(all, s)
			return nil
		})
	return all, err
}

func query(ctx context.Context, conn driver.Conn, text string, args []any, each func(driver.Rows) error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	rows, err := conn.Query(ctx, text, args...)
	var refused *clickhouse.Exception
	if errors.As(err, &refused) && (refused.Code == unknownTable || refused.Code == unknownDatabase) {
		return ErrNone
	}
	if err != nil {
		return fmt.Errorf("read spans: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return fmt.Errorf("read spans: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read spans: %w", err)
	}
	return nil
}

// Codes of ClickHouse's errors.
const (
	unknownTable    = 60
	unknownDatabase = 81
)

// trees puts spans under what they are within, or, where that is not there, under the
// first that they are linked to.
func trees(found map[string]Span) (roots []*Node) {
	nodes := make(map[string]*Node, len(found))
	for id, s := range found {
		nodes[id] = &Node{Span: s}
	}
	for _, n := range nodes {
		over := nodes[n.Parent]
		for _, l := range n.Links {
			if over == nil && l != n.ID {
				over = nodes[l]
			}
		}
		if over == nil || n.within(over, nodes) {
			roots = append(roots, n)
			continue
		}
		over.Children = append(over.Children, n)
	}
	byTime := func(a, b *Node) int {
		if c := a.Began.Compare(b.Began); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	}
	for _, n := range nodes {
		slices.SortFunc(n.Children, byTime)
	}
	slices.SortFunc(roots, byTime)
	return roots
}

// within says whether over is itself below n, by what it is within: a loop, which only
// spans that somebody made up can have.
func (n *Node) within(over *Node, nodes map[string]*Node) bool {
	for range maxDepth {
		if over == nil {
			return false
		}
		if over == n {
			return true
		}
		over = nodes[over.Parent]
	}
	return true
}

// maxDepth bounds a tree.
const maxDepth = 100
