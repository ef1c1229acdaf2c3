package hot

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// SignalMark is where a page of signals ended.
type SignalMark struct {
	ObservedAt time.Time
	ID         string
}

// SignalChoice chooses signals. The zero value chooses all.
type SignalChoice struct {
	Scope
	Kinds    []string
	Least    string // the least severity
	From, To time.Time
}

// Has says whether a signal is one of those chosen.
func (c SignalChoice) Has(s *event.Signal) bool {
	least := slices.Index(signal.Severities(), c.Least)
	return (c.RepoID == 0 || s.RepoID != nil && *s.RepoID == c.RepoID) &&
		(c.Owner == "" || strings.EqualFold(s.Owner, c.Owner)) &&
		(c.Company == "" || s.Company != nil && strings.EqualFold(*s.Company, c.Company)) &&
		(len(c.Kinds) == 0 || slices.Contains(c.Kinds, s.Kind)) &&
		slices.Index(signal.Severities(), s.Severity) >= least &&
		(c.From.IsZero() || !s.ObservedAt.Before(c.From)) && (c.To.IsZero() || s.ObservedAt.Before(c.To))
}

// Signals reads up to limit signals, the newest first, behind a mark if there is one.
func Signals(ctx context.Context, conn Reader, of SignalChoice, after *SignalMark, limit int) ([]event.Signal, error) {
	where, args := []string{"1"}, []any{}
	add := func(condition string, values ...any) { where, args = append(where, condition), append(args, values...) }
	switch {
	case of.RepoID != 0:
		add("repo_id = ?", of.RepoID)
	case of.Owner != "":
		add("lower(owner) = lower(?)", of.Owner)
	case of.Company != "":
		add("lower(company) = lower(?)", of.Company)
	}
	if len(of.Kinds) > 0 {
		add("kind IN ?", of.Kinds)
	}
	if i := slices.Index(signal.Severities(), of.Least); i > 0 {
		add("severity IN ?", signal.Severities()[i:])
	}
	if !of.From.IsZero() {
		add("observed_at >= fromUnixTimestamp64Milli(toInt64(?))", of.From.UnixMilli())
	}
	if !of.To.IsZero() {
		add("observed_at < fromUnixTimestamp64Milli(toInt64(?))", of.To.UnixMilli())
	}
	if after != nil {
		add("(observed_at, signal_id) < (fromUnixTimestamp64Milli(toInt64(?)), ?)", after.ObservedAt.UnixMilli(), after.ID)
	}
	return list(ctx, conn, "read the signals", func(r driver.Rows, s *event.Signal) error {
		return r.Scan(&s.ID, &s.Kind, &s.Severity, &s.RepoID, &s.NameWithOwner, &s.Owner, &s.Company, &s.ObservedAt, &s.Metric, &s.Value, &s.Usual, &s.Window, &s.Words, &s.Evidence)
	}, `SELECT signal_id, toString(kind), toString(severity), repo_id, CAST(name_with_owner, 'Nullable(String)'), toString(owner), CAST(company, 'Nullable(String)'), observed_at,
			CAST(metric, 'Nullable(String)'), value, usual, CAST(window, 'Nullable(String)'), words, evidence
		FROM pulse.github_signals FINAL WHERE `+strings.Join(where, " AND ")+` ORDER BY observed_at DESC, signal_id DESC LIMIT ?`, append(args, limit)...)
}
