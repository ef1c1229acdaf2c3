package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"

	"github.com/m7pulse/m7pulse/infra/local/clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/stack"
)

type functionCommand struct {
	Name string `arg:"" enum:"${functions}" help:"A function: ${functions}. It is configured by the environment and listens on LISTEN_ADDRESS."`
}

// Run replaces this process with the function's own program, which is in the same
// folder.
func (f *functionCommand) Run() error {
	program, err := stack.Program(f.Name)
	if err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", program, syscall.Exec(program, []string{f.Name}, os.Environ()))
}

type embeddedCommand struct {
	ClickHouse struct {
		Library string `required:"" help:"Path of libchdb.so."`
		Data    string `required:"" help:"Data directory."`
		Address string `required:"" help:"Address to listen on."`
		Reader  string `help:"Name of the read-only user; the password is in CLICKHOUSE_READER_PASSWORD, that of the full user in CLICKHOUSE_PASSWORD."`
	} `cmd:"" name:"clickhouse"`
}

// Run serves the embedded ClickHouse.
func (e *embeddedCommand) Run(ctx context.Context) error {
	c := e.ClickHouse
	return clickhouse.Serve(ctx, clickhouse.Config{
		Library: c.Library, DataDir: c.Data, Addr: c.Address, Password: os.Getenv("CLICKHOUSE_PASSWORD"),
		Reader: clickhouse.Reader{User: c.Reader, Password: os.Getenv("CLICKHOUSE_READER_PASSWORD")},
		Ready: func(addr net.Addr, version string) {
			slog.Info("clickhouse is up", "address", addr, "version", version)
		},
	})
}
