package stack

import (
	"context"
	"path/filepath"

	"github.com/m7pulse/m7pulse/infra/local/collector"
	"github.com/m7pulse/m7pulse/shared/download"
)

// otlp is the variable that says where spans are sent.
const otlp = "OTEL_EXPORTER_OTLP_ENDPOINT"

// startCollector starts a Collector if the stack is to be traced and the environment
// names none.
func (s *Stack) startCollector(ctx context.Context, cfg Config, ports *ports) error {
	if s.use(cfg, "collector", otlp) || !cfg.Trace {
		return nil
	}
	port, err := ports.get("collector")
	if err != nil {
		return err
	}
	cache, err := download.Dir()
	if err != nil {
		return err
	}
	c, err := collector.Start(ctx, collector.Config{
		Source: filepath.Join(cfg.Root, "infra", "collector"), Cache: cache, ClickHouse: s.Env["CLICKHOUSE_URL"], Port: port, Log: cfg.Home.path("log", "collector.log"),
		Building: func() {
			cfg.Say("Building the OpenTelemetry Collector from source, once (2 to 4 minutes of a processor) …")
		},
	})
	if err != nil {
		return err
	}
	s.onClose(func(context.Context) error { return c.Stop() })
	s.Env[otlp] = c.URL()
	s.Servers = append(s.Servers, Server{Name: "collector", Kind: "OpenTelemetry Collector", Address: c.URL(), PID: c.PID()})
	return nil
}
