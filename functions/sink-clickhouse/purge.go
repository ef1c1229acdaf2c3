package sinkclickhouse

import (
	"context"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// OwnerData returns what the store holds of an owner, whatever the case of its login:
// how it was spelt, and its repositories.
func OwnerData(ctx context.Context, conn driver.Conn, login string) (spelt []string, repos []int64, err error) {
	err = conn.QueryRow(ctx, `
		SELECT groupUniqArray(owner) FROM (
			SELECT owner FROM pulse.github_metrics_timeseries WHERE lower(owner) = lower($1)
			UNION ALL SELECT owner FROM pulse.github_processed_repos WHERE lower(owner) = lower($1)
			UNION ALL SELECT owner FROM pulse.sweeps WHERE lower(owner) = lower($1)
			UNION ALL SELECT owner FROM pulse.github_events WHERE lower(owner) = lower($1)
			UNION ALL SELECT owner FROM pulse.github_feed_reads WHERE lower(owner) = lower($1)
			UNION ALL SELECT owner FROM pulse.github_signals WHERE lower(owner) = lower($1)
		)`, login).Scan(&spelt)
	if err != nil {
		return nil, nil, fmt.Errorf("look up owner %s: %w", login, err)
	}
	err = conn.QueryRow(ctx, `
		SELECT groupUniqArray(repo_id) FROM (
			SELECT repo_id FROM pulse.github_metrics_timeseries WHERE lower(owner) = lower($1)
			UNION ALL SELECT repo_id FROM pulse.github_processed_repos WHERE lower(owner) = lower($1)
		)`, login).Scan(&repos)
	if err != nil {
		return nil, nil, fmt.Errorf("look up the repositories of %s: %w", login, err)
	}
	slices.Sort(spelt)
	return spelt, repos, nil
}

// Purge deletes all rows of an owner, and waits until they are gone. It may be
// done again.
func Purge(ctx context.Context, conn driver.Conn, login string) error {
	for table, key := range map[string][2]string{ // these know a repository by its id only, and it may have changed hands
		"github_daily":  {"repo_id, day", "repo_id, toDate(observed_at)"},
		"github_pushes": {"repo_id, pushed_at", "repo_id, assumeNotNull(pushed_at)"},
	} {
		if err := conn.Exec(ctx, "ALTER TABLE pulse."+table+" DELETE WHERE ("+key[0]+") IN (SELECT "+key[1]+
			" FROM pulse.github_metrics_timeseries WHERE lower(owner) = lower($1)) SETTINGS mutations_sync = 2", login); err != nil {
			return fmt.Errorf("delete %s from %s: %w", login, table, err)
		}
	}
	for _, table := range []string{"github_processed_repos", "github_metrics_timeseries", "sweeps", "github_events", "github_feed_reads", "github_signals"} {
		if err := conn.Exec(ctx, "ALTER TABLE pulse."+table+" DELETE WHERE lower(owner) = lower($1) SETTINGS mutations_sync = 2", login); err != nil {
			return fmt.Errorf("delete %s from %s: %w", login, table, err)
		}
	}
	return nil
}
