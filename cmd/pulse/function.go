package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	funchttp "knative.dev/func-go/http"

	"github.com/rs/zerolog"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/clickhouse"
	"github.com/m7pulse/m7pulse/shared/serve"
)

type functionCommand struct {
	Name string `arg:"" enum:"fetch-org,aggregate,sink-clickhouse,sink-iceberg" help:"fetch-org, aggregate, sink-clickhouse or sink-iceberg. It is configured by the environment and listens on LISTEN_ADDRESS."`
}

// Run hosts the function with func-go, the host that it has in a cluster.
func (f *functionCommand) Run() error {
	zerolog.SetGlobalLevel(zerolog.WarnLevel)
	var instance *serve.Instance
	switch f.Name {
	case "fetch-org":
		instance = fetchorg.New()
	case "aggregate":
		instance = aggregate.New()
	case "sink-clickhouse":
		instance = sinkclickhouse.New()
	case "sink-iceberg":
		instance = sinkiceberg.New()
	default:
		return fmt.Errorf("there is no function %s", f.Name)
	}
	return funchttp.Start(instance)
}

type embeddedCommand struct {
	ClickHouse struct {
		Library string `required:"" help:"Path of libchdb.so."`
		Data    string `required:"" help:"Data directory."`
		Address string `required:"" help:"Address to listen on."`
	} `cmd:"" name:"clickhouse"`
}

// Run serves the embedded ClickHouse.
func (e *embeddedCommand) Run(ctx context.Context) error {
	c := e.ClickHouse
	return clickhouse.Serve(ctx, clickhouse.Config{
		Library: c.Library, DataDir: c.Data, Addr: c.Address,
		Ready: func(addr net.Addr, version string) {
			slog.Info("clickhouse is up", "address", addr, "version", version)
		},
	})
}
