// Package storetest gives the tests of a process an embedded ClickHouse with the
// schema of the hot store.
package storetest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/library"
)

// Store is the address of an embedded ClickHouse, and that of its reader.
type Store struct{ Address, Reader string }

// Run starts the engine, one for each process; runs fill, then the tests;
// stops the engine, and returns the exit status.
func Run(m *testing.M, fill func(context.Context, Store) error) int {
	code, err := run(m, fill)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func run(m *testing.M, fill func(context.Context, Store) error) (int, error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	engine, err := library.Fetch(ctx, nil)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	var s Store
	ready, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- clickhouse.Serve(ctx, clickhouse.Config{
			Library: engine, DataDir: dir, Addr: "127.0.0.1:0", Reader: clickhouse.Reader{User: "reader", Password: "look"},
			Log: slog.New(slog.DiscardHandler), Ready: func(at net.Addr, _ string) { ready <- at },
		})
	}()
	select {
	case at := <-ready:
		s.Address, s.Reader = "http://"+at.String(), "http://reader:look@"+at.String()
	case err := <-ended:
		return 0, err
	}
	if err := sinkclickhouse.Prepare(ctx, s.Address); err != nil {
		return 0, err
	}
	if err := fill(ctx, s); err != nil {
		return 0, err
	}
	code := m.Run()
	stop()
	return code, <-ended
}

// Ask sends a statement to ClickHouse as the full user, and returns its lines.
func (s Store) Ask(ctx context.Context, statement string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Address, strings.NewReader(statement))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%.2000s: %v\n%s", statement, err, text)
	}
	return strings.TrimSpace(string(text)), nil
}
