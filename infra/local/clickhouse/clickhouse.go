// Package clickhouse serves an embedded ClickHouse over the HTTP interface of a real one, so that clickhouse-go, clickhouse-connect and Superset cannot
// tell the difference that matters: another address is all it takes to use a server instead.
//
// One Serve per process and data path; a process of its own is best, for the engine holds memory and may crash. What a request goes through: request.go
// reads it, statement.go and lexer.go make sure that it is one statement and set the data of an INSERT apart, session.go lends a connection with the user's
// limits, response.go answers.
//
// Limits: one statement of up to 1 MiB per request, 512 MiB of data per INSERT, 16 requests at once (more wait), 64 sessions. Times are UTC. There are two
// users, the full one and a reader, who is held by readonly=1, by limits and by a list of what may be called; no other rights, no roles. Refused, with a
// typed error: a second statement, INTO OUTFILE, FROM INFILE, input(), external tables. Formats other than Native, TSV, CSV, JSONEachRow and RowBinary are
// built in memory before they are sent. An INSERT is atomic per table and partition only, and is on disk as far as the kernel is: kill -9 and a full disk
// lose nothing, a power cut may. On a full disk the process starts itself again (lost.go). Meant for one machine: TLS, remote users and replicas are the business of a real server (see Server).
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/chdb"
)

// Config says what to serve, and to whom. Zero values have defaults where the comment gives one.
type Config struct {
	Library  string // path of libchdb.so
	DataDir  string // made if it is not there
	Addr     string // 127.0.0.1:8123
	Password string // of the full user, default; none
	Reader   Reader // none

	MaxExecutionTime time.Duration // of each request of the full user, which may ask for another: 5 min
	MaxMemory        int64         // likewise: 4 GiB

	Ready func(addr net.Addr, version string) // called once requests are answered
	Log   *slog.Logger                        // slog.Default()
}

// Reader is a user who can read the tables and nothing else: whose password may stand in a dashboard.
type Reader struct {
	User, Password   string
	MaxExecutionTime time.Duration // 30 s
	MaxMemory        int64         // 2 GiB
}

// How much one endpoint takes on at once.
const (
	maxRequests  = 16
	maxSessions  = 64
	maxStatement = 1 << 20
	maxBody      = 512 << 20
)

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Library == "" || cfg.DataDir == "" {
		return cfg, errors.New("a library and a data directory are needed")
	}
	if (cfg.Reader.User == "") != (cfg.Reader.Password == "") || cfg.Reader.User == fullUser {
		return cfg, fmt.Errorf("the reader needs a name other than %s, and a password", fullUser)
	}
	orDuration := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	orBytes := func(n *int64, value int64) {
		if *n <= 0 {
			*n = value
		}
	}
	orDuration(&cfg.MaxExecutionTime, 5*time.Minute)
	orDuration(&cfg.Reader.MaxExecutionTime, 30*time.Second)
	orBytes(&cfg.MaxMemory, 4<<30)
	orBytes(&cfg.Reader.MaxMemory, 2<<30)
	cfg.Addr = firstOf(cfg.Addr, "127.0.0.1:8123")
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return cfg, nil
}

// Serve answers until ctx ends; then it gives running requests 10 seconds, kills what still runs, and closes the engine. It owns the data directory
// meanwhile: another process that tries the same gets an error.
func Serve(ctx context.Context, cfg Config) (err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return fmt.Errorf("clickhouse: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("clickhouse: %w", err)
	}
	defer listener.Close()
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("clickhouse: make the data directory: %w", err)
	}
	unlock, err := lock(filepath.Clean(cfg.DataDir) + ".lock")
	if err != nil {
		return fmt.Errorf("clickhouse: lock the data directory: %w", err)
	}
	defer unlock()
	if err := awaitRoom(ctx, cfg); err != nil {
		return fmt.Errorf("clickhouse: %w", err)
	}
	server, err := open(cfg)
	if err != nil {
		return fmt.Errorf("clickhouse: %w", err)
	}
	defer server.close()

	requests, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("Ok.\n")) })
	mux.Handle("/{$}", http.NewCrossOriginProtection().Handler(http.HandlerFunc(server.serveQuery))) // no page of a browser may write here
	front := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return requests }}
	failed := make(chan error, 1)
	go func() { failed <- front.Serve(listener) }()
	server.running.Go(func() { server.watch(requests) })
	if cfg.Ready != nil {
		cfg.Ready(listener.Addr(), server.version)
	}
	select {
	case err := <-failed:
		kill()
		server.running.Wait()
		return fmt.Errorf("clickhouse: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := front.Shutdown(grace); err != nil {
		cfg.Log.Warn("clickhouse: killing queries that still run at shutdown")
		front.Close()
	}
	kill()
	server.running.Wait()
	return nil
}

// A server is the engine, running, and who uses it.
type server struct {
	cfg      Config
	lib      *chdb.Library
	writes   writes // its connection keeps the engine up
	again    sync.Once
	version  string
	outside  map[string]bool // functions that reach outside the database: not for readers
	slots    chan struct{}   // one per request that may run now
	running  sync.WaitGroup
	sessions sessions
}

// open starts the engine and refuses one that is not in UTC: it would cut days and months elsewhere than everyone else does.
func open(cfg Config) (*server, error) {
	lib, err := chdb.Open(cfg.Library)
	if err != nil {
		return nil, err
	}
	keep, err := lib.Connect(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	s := &server{cfg: cfg, lib: lib, writes: writes{conn: keep}, slots: make(chan struct{}, maxRequests)}
	about, _, err := keep.Query("SELECT version(), timezone()", "TSV", nil)
	if err != nil {
		keep.Close()
		return nil, fmt.Errorf("start the engine: %w", err)
	}
	fields := strings.Fields(string(about))
	if len(fields) != 2 || fields[1] != "UTC" {
		keep.Close()
		return nil, fmt.Errorf("the engine is not in UTC but says %q: start this process with TZ=UTC", about)
	}
	s.version = fields[0]
	if s.outside, err = functionsOutside(keep); err != nil {
		keep.Close()
		return nil, err
	}
	return s, nil
}

func (s *server) close() {
	s.sessions.closeAll()
	s.writes.conn.Close()
}
