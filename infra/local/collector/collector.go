// Package collector runs the OpenTelemetry Collector of infra/collector on one machine,
// for a stack that is traced: it takes OTLP over HTTP and writes to the stack's
// ClickHouse.
//
// Limits: it is built from source once, into the user's cache, which needs Go, 2 to 4
// minutes of a processor and 50 MB. Nothing of it is needed by the pipeline.
package collector

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/download"
)

// Config says what to run.
type Config struct {
	Source     string // infra/collector
	Cache      string // of this user: the program
	ClickHouse string // http://user:password@host:port of a user who may make a database
	Port       int    // on the loopback
	Log        string // file to append to
	// Building, if not nil, is called before the program is built.
	Building func()
}

const (
	// startLimit is how long it may take until it answers.
	startLimit = 30 * time.Second
	// stopGrace is how long it may take to write what it has.
	stopGrace = 5 * time.Second
)

// Collector is one that runs.
type Collector struct {
	process *child.Process
	address string
}

// Start builds the Collector if need be, and returns once it takes OTLP.
func Start(ctx context.Context, cfg Config) (*Collector, error) {
	program, err := Build(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("build the collector: %w", err)
	}
	log, err := os.OpenFile(cfg.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start the collector: %w", err)
	}
	defer log.Close() // the child has its own descriptor
	c := &Collector{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port))}
	cmd := exec.Command(program, "--config", filepath.Join(cfg.Source, "collector.yaml"))
	cmd.Env = []string{"HOME=" + os.Getenv("HOME"), "OTLP_ADDRESS=" + c.address, "CLICKHOUSE_URL=" + cfg.ClickHouse} // and nothing secret of ours
	cmd.Stdout, cmd.Stderr = log, log
	if c.process, err = child.Start(cmd, syscall.SIGKILL); err != nil {
		return nil, fmt.Errorf("start the collector: %w", err)
	}
	starting, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("no answer in %s", startLimit))
	defer cancel()
	if err := c.process.Await(starting, 50*time.Millisecond, c.answers); err != nil {
		return nil, errors.Join(fmt.Errorf("start the collector: %w; its log is %s", err, cfg.Log), c.Stop())
	}
	return c, nil
}

// URL is where it takes OTLP.
func (c *Collector) URL() string { return "http://" + c.address }

// PID is its process's.
func (c *Collector) PID() int { return c.process.PID() }

// Stop has it write what it has, for 5 s at most, and ends it.
func (c *Collector) Stop() error {
	if err := c.process.Stop(stopGrace); err != nil {
		return fmt.Errorf("stop the collector: %w", err)
	}
	return nil
}

// answers says whether it takes OTLP: there it allows POST alone.
func (c *Collector) answers(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL()+"/v1/traces", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // it was only asked for its status
	return resp.StatusCode == http.StatusMethodNotAllowed
}

// Build returns the program that is made of the source as it is. One process builds it,
// the others wait.
func Build(ctx context.Context, cfg Config) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"main.go", "go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(cfg.Source, name))
		if err != nil {
			return "", err
		}
		sum.Write(b)
	}
	dir := filepath.Join(cfg.Cache, "collector")
	program := filepath.Join(dir, "collector-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		return program, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make its cache: %w", err)
	}
	unlock, err := download.Lock(ctx, program+".lock", func() {})
	if err != nil {
		return "", fmt.Errorf("lock its cache: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		return program, err
	}
	compiler, err := exec.LookPath("go")
	if err != nil {
		return "", errors.New("it needs Go, and there is none on PATH")
	}
	if cfg.Building != nil {
		cfg.Building()
	}
	cmd := exec.CommandContext(ctx, compiler, "build", "-trimpath", "-ldflags=-s", "-o", program+".new", ".")
	cmd.Dir = cfg.Source
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out[max(0, len(out)-1000):])
	}
	return program, os.Rename(program+".new", program)
}
