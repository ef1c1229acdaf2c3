// Package kafka runs the Kafka broker of a local stack in this process: kfake, of the Kafka client's own project, on a data directory.
//
// Clients cannot tell it from one broker of a cluster in what the pipeline uses: topic ids, keys and partitions, idempotent and transactional producers,
// consumer groups with their offsets, retention. Limits: one broker, no replicas, plain text on 127.0.0.1 only; one process per directory, which is for
// the caller to see to; memory grows with the open segments, not with the log. A record is acknowledged once the kernel has it: a kill of the process loses
// none, a power cut may, unless Config.Sync is set.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Config says where the broker keeps its data and listens.
type Config struct {
	Dir  string       // made if it is not there
	Port int          // 0: any free one; see Broker.Port
	Sync bool         // fsync every batch: survives a power cut, and makes small batches ten times slower
	Log  *slog.Logger // slog.Default()
}

// A Broker runs until it is closed.
type Broker struct {
	cluster *kfake.Cluster
	dir     string
	addr    string
	port    int
	closed  func() error
}

// settings are those of the broker that differ from its defaults.
func settings() map[string]string {
	const year = 365 * 24 * time.Hour
	return map[string]string{
		"log.cleaner.backoff.ms":         "60000",                                           // how often retention and compaction run: not hourly
		"offsets.retention.minutes":      strconv.Itoa(int(10 * year / time.Minute)),        // a stack that slept for weeks goes on where it was
		"transactional.id.expiration.ms": strconv.FormatInt((10 * year).Milliseconds(), 10), // and its producers are still fenced
		"group.min.session.timeout.ms":   "1000",                                            // a consumer may ask to be missed sooner
	}
}

// Open starts a broker on what is in the directory, and ends the transactions that a kill has left open there. Topics are made by who needs them: none is
// made because a client asks for it.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Dir == "" {
		return nil, errors.New("kafka: a data directory is needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("kafka: make the data directory: %w", err)
	}
	running := filepath.Join(cfg.Dir, runningFile)
	if _, err := os.Stat(running); err == nil {
		hidden := cfg
		hidden.Port = 0
		b, err := start(hidden)
		if err != nil {
			return nil, err
		}
		if err := recoverTransactions(ctx, b.addr, cfg.Dir); err != nil {
			b.cluster.Close()
			return nil, fmt.Errorf("kafka: recover %s: %w", cfg.Dir, err)
		}
		if err := b.Close(); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(running, nil, 0o644); err != nil {
		return nil, fmt.Errorf("kafka: mark the data directory: %w", err)
	}
	return start(cfg)
}

func start(cfg Config) (*Broker, error) {
	options := []kfake.Opt{
		kfake.DataDir(cfg.Dir),
		kfake.Ports(cfg.Port), // one port is one broker; kfake listens on 127.0.0.1
		kfake.ClusterID("m7pulse-local"),
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.BrokerConfigs(settings()),
		kfake.WithLogger(logger{cfg.Log}),
	}
	if cfg.Sync {
		options = append(options, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		return nil, fmt.Errorf("kafka: start the broker on %s, port %d: %w", cfg.Dir, cfg.Port, err)
	}
	BoundFetches(cluster)
	addr := cluster.ListenAddrs()[0]
	_, text, err := net.SplitHostPort(addr)
	var port int
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		cluster.Close()
		return nil, fmt.Errorf("kafka: the broker's address: %w", err)
	}
	b := &Broker{cluster: cluster, dir: cfg.Dir, addr: addr, port: port}
	b.closed = sync.OnceValue(b.close)
	return b, nil
}

// Addr is what a client connects to.
func (b *Broker) Addr() string { return b.addr }

// Port is the one it listens on. Clients remember it: use it again when the broker starts again.
func (b *Broker) Port() int { return b.port }

// Close stops the broker. After an error, the next Open recovers as after a kill.
func (b *Broker) Close() error { return b.closed() }

func (b *Broker) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := saveStable(ctx, b.addr, b.dir)
	b.cluster.Close()
	if err == nil {
		err = os.Remove(filepath.Join(b.dir, runningFile))
	}
	if err != nil {
		return fmt.Errorf("kafka: close %s: %w", b.dir, err)
	}
	return nil
}

// A logger passes on what needs somebody's eyes.
type logger struct{ log *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("kafka: " + fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("kafka: " + fmt.Sprintf(format, args...))
	}
}
