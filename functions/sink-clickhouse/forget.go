package sinkclickhouse

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// AccountsOf returns the ids of the accounts that events know under a login, whatever
// its case, and all logins that these have had. Without such events there are none.
func AccountsOf(ctx context.Context, conn driver.Conn, login string) (ids []int64, logins []string, err error) {
	const all = `SELECT actor_id AS id, actor_login AS login FROM pulse.github_events UNION ALL SELECT author_id, author_login FROM pulse.github_events`
	err = conn.QueryRow(ctx, `SELECT arraySort(groupUniqArray(assumeNotNull(id))) FROM (`+all+`) WHERE lower(login) = lower($1) AND isNotNull(id)`, login).Scan(&ids)
	if err == nil && len(ids) > 0 {
		err = conn.QueryRow(ctx, `SELECT arraySort(groupUniqArray(assumeNotNull(login))) FROM (`+all+`) WHERE id IN $1 AND isNotNull(login)`, ids).Scan(&logins)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look up the accounts of %s: %w", login, err)
	}
	return ids, logins, nil
}

// Forget deletes the events in which accounts act or are the author of what is acted
// on, and waits until they are gone. It may be done again.
func Forget(ctx context.Context, conn driver.Conn, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	if err := conn.Exec(ctx, "ALTER TABLE pulse.github_events DELETE WHERE actor_id IN $1 OR author_id IN $1 SETTINGS mutations_sync = 2", ids); err != nil {
		return fmt.Errorf("delete the events of %d accounts: %w", len(ids), err)
	}
	return nil
}
