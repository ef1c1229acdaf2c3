package sinkclickhouse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// DraftTable is where rows that are not published are, in the database pulse.
const DraftTable = "draft_timeseries"

// QualityResult is what became of one expectation of the data in one run: a row of
// pulse.quality_results.
type QualityResult struct {
	CheckedAt   time.Time `json:"-"`     // when the run began, UTC, in milliseconds
	Since       time.Time `json:"since"` // since which run it has been so
	Suite       string    `json:"suite"`
	Expectation string    `json:"expectation"` // its id
	Store       string    `json:"store"`       // clickhouse, iceberg or both
	Severity    string    `json:"severity"`    // critical or warning
	Passed      bool      `json:"passed"`
	Observed    string    `json:"observed"`   // "" where there is no single value
	Unexpected  *int64    `json:"unexpected"` // rows; nil where rows are not what is counted
	Checked     *int64    `json:"checked"`    // likewise
	Error       string    `json:"error"`      // why it could not be evaluated
	Seconds     float64   `json:"seconds"`
}

// KeepQuality stores the results of a run. It is safe to repeat.
func KeepQuality(ctx context.Context, conn driver.Conn, results []QualityResult) error {
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO pulse.quality_results (checked_at, since, suite, expectation, store, severity, passed, observed, unexpected, checked, error, seconds)")
	if err != nil {
		return fmt.Errorf("keep %d results of the quality: %w", len(results), err)
	}
	for _, r := range results {
		if err := batch.Append(r.CheckedAt, r.Since, r.Suite, r.Expectation, r.Store, r.Severity, r.Passed, r.Observed, r.Unexpected, r.Checked, r.Error, r.Seconds); err != nil {
			return errors.Join(fmt.Errorf("keep the result of %s: %w", r.Expectation, err), batch.Abort())
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("keep %d results of the quality: %w", len(results), err)
	}
	return nil
}

// Newest is when the newest observation was made: the epoch, if there is none.
func Newest(ctx context.Context, conn driver.Conn) (at time.Time, err error) {
	if err := conn.QueryRow(ctx, "SELECT max(observed_at) FROM pulse.github_processed_repos").Scan(&at); err != nil {
		return at, fmt.Errorf("look for the newest observation: %w", err)
	}
	return at.UTC(), nil
}

// QualityState is how an expectation fared in its last run.
type QualityState struct {
	Passed    bool
	CheckedAt time.Time
	Since     time.Time // since which run it has been so
	First     time.Time // its first run
}

// LastQuality returns how each expectation fared in its last run, by its id.
func LastQuality(ctx context.Context, conn driver.Conn) (map[string]QualityState, error) {
	rows, err := conn.Query(ctx, "SELECT toString(expectation), argMax(passed, checked_at), max(checked_at), argMax(since, checked_at), min(checked_at) FROM pulse.quality_results GROUP BY expectation")
	if err != nil {
		return nil, fmt.Errorf("read the last results of the quality: %w", err)
	}
	out := map[string]QualityState{}
	for rows.Next() {
		var id string
		var s QualityState
		if err := rows.Scan(&id, &s.Passed, &s.CheckedAt, &s.Since, &s.First); err != nil {
			return nil, errors.Join(fmt.Errorf("read the last results of the quality: %w", err), rows.Close())
		}
		out[id] = s
	}
	return out, errors.Join(rows.Err(), rows.Close())
}
