package sinkclickhouse

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

//go:embed schema.sql
var schema string

// migrate brings the schema from whatever version the store has up to ours,
// version by version. Each statement is safe to repeat, so a migration that
// broke off is begun again. A store of a newer version is not touched: this
// program would leave its columns empty.
func migrate(ctx context.Context, conn driver.Conn) error {
	for _, statement := range []string{
		"CREATE DATABASE IF NOT EXISTS pulse",
		"CREATE TABLE IF NOT EXISTS pulse.schema_versions (version UInt32, applied_at DateTime64(3)) ENGINE = ReplacingMergeTree ORDER BY version",
	} {
		if err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("make the schema: %w", err)
		}
	}
	var at uint32
	if err := conn.QueryRow(ctx, "SELECT max(version) FROM pulse.schema_versions").Scan(&at); err != nil {
		return fmt.Errorf("read the version of the schema: %w", err)
	}
	all := versions(schema)
	if int(at) > len(all) {
		return fmt.Errorf("%w: the schema of this clickhouse is version %d, this program knows %d: run the newer program; nothing was changed", kafka.ErrFatal, at, len(all))
	}
	for v := int(at); v < len(all); v++ {
		for _, statement := range all[v] {
			if err := conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("bring the schema to version %d: %w", v+1, err)
			}
		}
		if err := conn.Exec(ctx, "INSERT INTO pulse.schema_versions VALUES (?, ?)", uint32(v+1), time.Now().UTC()); err != nil {
			return fmt.Errorf("note version %d of the schema: %w", v+1, err)
		}
	}
	return nil
}

// versions cuts the schema file into the statements of each version.
func versions(text string) (out [][]string) {
	for _, part := range strings.Split(text, "\n-- version ")[1:] {
		_, part, _ = strings.Cut(part, "\n")
		var statements []string
		for _, s := range strings.Split(part, "\n;\n") {
			if strings.TrimSpace(s) != "" {
				statements = append(statements, s)
			}
		}
		out = append(out, statements)
	}
	return out
}

// SchemaVersion is the version of the schema that this program makes.
func SchemaVersion() int { return len(versions(schema)) }
