// Package redis runs the Redis of a local stack: redis-server in a process of its own where it is on PATH, else miniredis in this process.
//
// redis-server keeps its data in an append-only file, synced every second, refuses writes rather than evict, listens on 127.0.0.1, and dies with this
// process (on linux; elsewhere it outlives a kill of it). miniredis keeps nothing: its users must be able to fill it again. It runs scripts at
// about a tenth of the speed, expires keys up to 200 ms late, and lacks functions, BITFIELD and client-side caching.
package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/freeport"
)

// Config says where Redis keeps its data and listens.
type Config struct {
	Dir  string // made if it is not there
	Port int    // 0: any free one
}

// A Server runs until it is closed.
type Server struct {
	addr, kind string
	done       <-chan struct{}
	stop       func() error
}

// Start runs a Redis and returns once it answers.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, errors.New("redis: a data directory is needed")
	}
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		binary = ""
	}
	if cfg.Port != 0 {
		return startAt(ctx, binary, cfg)
	}
	// Another process may take a free port before this one listens there.
	var s *Server
	for range portTries {
		if cfg.Port, err = freeport.Find(); err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
		if s, err = startAt(ctx, binary, cfg); err == nil || ctx.Err() != nil {
			break
		}
	}
	return s, err
}

// portTries is how many free ports are tried.
const portTries = 3

func startAt(ctx context.Context, binary string, cfg Config) (*Server, error) {
	if binary == "" {
		return startMini(cfg)
	}
	return startServer(ctx, binary, cfg)
}

// Addr is what a client connects to.
func (s *Server) Addr() string { return s.addr }

// Kind is "redis-server 7.0.15", or "miniredis".
func (s *Server) Kind() string { return s.kind }

// Done is closed once it has ended, by Close or by itself.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close stops it; redis-server writes what it has first.
func (s *Server) Close() error { return s.stop() }

// stopGrace is how long redis-server may take to write what it has.
const stopGrace = 10 * time.Second

func startServer(ctx context.Context, binary string, cfg Config) (*Server, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("redis: make the data directory: %w", err)
	}
	log := new(tail)
	cmd := exec.Command(binary, arguments(cfg)...)
	cmd.Stdout, cmd.Stderr = log, log
	process, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return nil, fmt.Errorf("redis: start %s: %w", binary, err)
	}
	s := &Server{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port)), done: process.Done()}
	s.stop = sync.OnceValue(func() error {
		select {
		case <-s.done:
			return fmt.Errorf("redis: redis-server had ended: %v: %s", process.Err(), log)
		default:
		}
		if err := process.Stop(stopGrace); err != nil {
			return fmt.Errorf("redis: stop redis-server: %w", err)
		}
		if err := process.Err(); err != nil {
			return fmt.Errorf("redis: redis-server ended: %w: %s", err, log)
		}
		return nil
	})
	version, err := s.ready(ctx, process)
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("redis: redis-server on %s, port %d: %w: %s", cfg.Dir, cfg.Port, err, log)
	}
	s.kind = "redis-server " + version
	return s, nil
}

func arguments(cfg Config) []string {
	return []string{
		"--port", strconv.Itoa(cfg.Port),
		"--bind", "127.0.0.1",
		"--dir", cfg.Dir,
		"--appendonly", "yes",
		"--appendfsync", "everysec",
		"--save", "",
		"--maxmemory-policy", "noeviction",
		"--daemonize", "no",
		"--logfile", "",
		"--loglevel", "notice",
	}
}

// ready waits until the process that was started answers; another server may have its port.
func (s *Server) ready(ctx context.Context, p *child.Process) (version string, err error) {
	client := redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1, DialTimeout: time.Second})
	defer client.Close()
	err = p.Await(ctx, 10*time.Millisecond, func(ctx context.Context) bool {
		return listens(s.addr) && client.Ping(ctx).Err() == nil // it answers no PING while it loads its data
	})
	if err != nil {
		return "", err
	}
	info, err := client.InfoMap(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	if got := info["Server"]["process_id"]; got != strconv.Itoa(p.PID()) {
		return "", fmt.Errorf("another Redis, process %s, answers there", got)
	}
	return info["Server"]["redis_version"], nil
}

// listens spares go-redis, which logs it, a connection that is refused.
func listens(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func startMini(cfg Config) (*Server, error) {
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr(net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port))); err != nil {
		return nil, fmt.Errorf("redis: start miniredis: %w", err)
	}
	done := make(chan struct{})
	s := &Server{addr: mini.Addr(), kind: "miniredis", done: done}
	s.stop = sync.OnceValue(func() error {
		close(done)
		mini.Close()
		return nil
	})
	go func() { // keys expire only by FastForward; miniredis's own clock would check every key at every command
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-s.done:
				return
			case <-tick.C:
				now := time.Now()
				mini.FastForward(now.Sub(last))
				last = now
			}
		}
	}()
	return s, nil
}

// A tail keeps the end of what a process says, for the error when it fails.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - 4096; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String is the last three lines, in one.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(string(bytes.TrimSpace(t.text)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}
