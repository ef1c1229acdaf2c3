package hot

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Empty says whether a hot store has no schema yet: nothing was ever written to it.
func Empty(ctx context.Context, conn Reader) (bool, error) {
	n, err := one[uint64](ctx, conn, "look for the schema", "SELECT count() FROM system.tables WHERE database = 'pulse' AND name = 'github_processed_repos'")
	return n == 0, err
}

// Stamp is a value that is another after what a hot store holds has changed. The
// sizes of its tables make it, which ClickHouse knows without reading them; rows that are
// replaced by others of the very same size leave it as it is.
func Stamp(ctx context.Context, conn Reader) (string, error) {
	return one[string](ctx, conn, "look whether the store has changed",
		"SELECT toString(sum(cityHash64(name, total_rows, total_bytes))) FROM system.tables WHERE database = 'pulse' AND engine NOT IN ('View', 'MaterializedView')")
}

// one reads a single value.
func one[V any](ctx context.Context, conn Reader, what, query string, args ...any) (v V, err error) {
	values, err := list(ctx, conn, what, func(r driver.Rows, v *V) error { return r.Scan(v) }, query, args...)
	if err == nil && len(values) > 0 {
		v = values[0]
	}
	return v, err
}

// list reads all rows of an answer, none where there is no schema yet. what is said of
// an error.
func list[R any](ctx context.Context, conn Reader, what string, scan func(driver.Rows, *R) error, query string, args ...any) ([]R, error) {
	rows, err := conn.Query(ctx, query, args...)
	if isCode(err, codeUnknownTable, codeUnknownDatabase) {
		if empty, again := Empty(ctx, conn); again == nil && empty {
			return []R{}, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	out := []R{}
	for rows.Next() {
		var r R
		if err := scan(rows, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}
