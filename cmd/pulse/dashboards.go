package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/infra/local/superset"
	"github.com/m7pulse/m7pulse/shared/download"
)

// supersetPort is the port of the dashboards, unless it is taken.
const supersetPort = 8088

// dashboards starts Superset beside a stack that is up, and returns at once. Its
// messages mix with those of the stack; if it fails, the stack goes on without it.
// wait returns once it has stopped.
func dashboards(ctx context.Context, p *place, s *stack.Stack) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := serveDashboards(ctx, p, s); err != nil && ctx.Err() == nil {
			fmt.Printf("No dashboards: %v. Everything else goes on.\n", err)
		}
	}()
	return func() { <-done }
}

func serveDashboards(ctx context.Context, p *place, s *stack.Stack) error {
	reader := s.Env["CLICKHOUSE_READER_URL"]
	if reader == "" {
		return errors.New("set CLICKHOUSE_READER_URL (http://user:password@host:port) to a user of your ClickHouse who can only read")
	}
	cache, err := download.Dir()
	if err != nil {
		return err
	}
	port, err := p.home.Port("superset", supersetPort)
	if err != nil {
		return err
	}
	cfg := superset.Config{
		Source: filepath.Join(p.root, "infra", "superset"), Dir: filepath.Join(string(p.home), "superset"), Cache: cache,
		ClickHouse: reader, Trino: p.env["TRINO_URL"], Port: port,
		Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
	}
	if port != supersetPort {
		fmt.Printf("Superset: port %d is taken, so it will be at %s\n", supersetPort, cfg.URL())
	}
	return superset.Run(ctx, cfg)
}
