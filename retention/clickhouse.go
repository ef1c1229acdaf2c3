package retention

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

// The end of a table's definition, as ClickHouse writes it: TTL of a time and how long
// after it a row goes.
var ttl = regexp.MustCompile(`\bTTL (.+?) \+ toInterval(Second|Minute|Hour|Day|Week)\((\d+)\)(?: |$)`)

var units = map[string]time.Duration{
	"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour, "Day": 24 * time.Hour, "Week": 7 * 24 * time.Hour,
}

// readClickHouse says of each table of the pipeline, and of the traces if they are kept
// there, how long its rows stay. Rows go when their parts are merged.
func readClickHouse(ctx context.Context, url string) ([]Kept, error) {
	conn, err := sinkclickhouse.Open(url)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	tables, err := list(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	var all []Kept
	for _, t := range tables {
		k := Kept{What: t.name, Unit: "rows", For: Forever, Count: t.rows, Bytes: t.bytes}
		if m := ttl.FindStringSubmatch(t.engine); m != nil {
			n, err := strconv.ParseInt(m[3], 10, 64)
			if err != nil {
				return all, fmt.Errorf("table %s: its TTL: %w", t.name, err)
			}
			k.For = time.Duration(n) * units[m[2]]
			// The expression is the server's own text.
			row := conn.QueryRow(ctx, fmt.Sprintf("SELECT if(count() = 0, NULL, toDateTime64(min(%[1]s), 3, 'UTC')), toInt64(countIf(%[1]s + toInterval%[2]s(%[3]d) < now())) FROM %[4]s", m[1], m[2], n, t.name))
			if err := row.Scan(&k.Oldest, &k.Due); err != nil {
				return all, fmt.Errorf("table %s: look for what has outlived its TTL: %w", t.name, err)
			}
		}
		all = append(all, k)
	}
	return all, nil
}

type clickHouseTable struct {
	name, engine string
	rows, bytes  int64
}

func list(ctx context.Context, conn driver.Conn) (all []clickHouseTable, err error) {
	rows, err := conn.Query(ctx, `
		SELECT concat(database, '.', name), engine_full, toInt64(ifNull(total_rows, 0)), toInt64(ifNull(total_bytes, 0))
		FROM system.tables WHERE database IN ('pulse', 'otel') AND engine LIKE '%MergeTree' ORDER BY database DESC, total_bytes DESC, name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var t clickHouseTable
		if err := rows.Scan(&t.name, &t.engine, &t.rows, &t.bytes); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, rows.Err()
}
