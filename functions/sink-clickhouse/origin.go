package sinkclickhouse

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Origin is a hot store's note of where its data comes from.
type Origin struct{ Conn driver.Conn }

// Kind is what the store holds, or "" if nothing says it.
func (o Origin) Kind(ctx context.Context) (kind string, err error) {
	var tables uint64
	if err := o.Conn.QueryRow(ctx, `SELECT count() FROM system.tables WHERE database = 'pulse' AND name = 'origin'`).Scan(&tables); err != nil || tables == 0 {
		return "", err
	}
	err = o.Conn.QueryRow(ctx, `SELECT argMin(kind, noted_at) FROM pulse.origin`).Scan(&kind) // "" of no row
	return kind, err
}

// KeepKind notes what the store holds; the first note counts. It is safe to repeat.
func (o Origin) KeepKind(ctx context.Context, kind string) error {
	for _, statement := range []string{
		`CREATE DATABASE IF NOT EXISTS pulse`,
		`CREATE TABLE IF NOT EXISTS pulse.origin (kind String, noted_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')) ENGINE = MergeTree ORDER BY noted_at`,
	} {
		if err := o.Conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("make pulse.origin: %w", err)
		}
	}
	if holds, err := o.Kind(ctx); err != nil || holds != "" {
		return err
	}
	return o.Conn.Exec(ctx, `INSERT INTO pulse.origin (kind) VALUES (?)`, kind)
}

// Empty says whether a hot store has no schema yet: nothing was ever written to it.
func Empty(ctx context.Context, conn driver.Conn) (bool, error) {
	there, err := made(ctx, conn)
	return !there, err
}
