// Package stack is the whole of M7 Pulse on one machine: the servers, embedded
// or real, and over them the functions as the manifests say.
package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/functions/notify"
	"github.com/m7pulse/m7pulse/infra/local/kafka"
	"github.com/m7pulse/m7pulse/infra/local/knative"
	"github.com/m7pulse/m7pulse/infra/local/redis"
	"github.com/m7pulse/m7pulse/infra/local/registry"
	sharedkafka "github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Config says what to bring up.
type Config struct {
	Root string // the repository: where the manifests are
	Home Home
	Self string            // the pulse binary: it runs functions and embedded servers
	Env  map[string]string // the environment; an address in it replaces an embedded server
	Say  func(format string, args ...any)
	// Fetching, if not nil, is called with the bytes unpacked so far while the ClickHouse
	// engine is fetched.
	Fetching func(done, total int64)

	Trace     bool // start a Collector, unless the environment names one, and send spans to it
	IdleAfter time.Duration
	DropBells float64 // for tests, see knative.Config
	BellRate  float64 // likewise, its Rate
}

// Server is one server that the functions need.
type Server struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"` // what it really is
	Address string `json:"address"`
	PID     int    `json:"pid,omitempty"` // of a process of its own
	RSS     int64  `json:"resident_bytes,omitempty"`
}

// Stack is a stack that is up.
type Stack struct {
	Cluster *knative.Cluster
	Env     map[string]string // every address by name
	Servers []Server

	home    Home
	closers []func(context.Context) error // run last to first
}

// Live says whether a stack reads GitHub itself: it needs a token for that.
func Live(env map[string]string) bool { return env["GITHUB_TOKEN"] != "" }

// OwnersFile is the file that lists whom to sweep: that of the environment, ""
// for none, or owners.yaml in the root where the environment does not say.
func OwnersFile(env map[string]string, root string) string {
	return fileOf(env, "OWNERS_FILE", filepath.Join(root, "owners.yaml"))
}

// SignalsFile is the file with the rules of notify: that of the environment, or
// signals.yaml in the root, which need not be there.
func SignalsFile(env map[string]string, root string) string {
	return fileOf(env, "SIGNALS_FILE", filepath.Join(root, "signals.yaml"))
}

// fileOf is the file that a variable names, "" for none, or another one where the
// environment does not say.
func fileOf(env map[string]string, variable, otherwise string) string {
	file, ok := env[variable]
	if !ok {
		return otherwise
	}
	if file == "" {
		return ""
	}
	if abs, err := filepath.Abs(file); err == nil { // functions may have another working directory
		return abs
	}
	return file
}

// Up brings a stack up. On an error nothing of it is left running.
func Up(ctx context.Context, cfg Config) (_ *Stack, err error) {
	topology, err := knative.Load(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("manifests:\n%w", err)
	}
	lock, err := cfg.Home.lock()
	if err != nil {
		return nil, err
	}
	if err := cfg.Home.keepKind(KindOf(cfg.Env)); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &Stack{home: cfg.Home, Env: map[string]string{}}
	s.onClose(func(context.Context) error { return lock.Close() })
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	known, err := cfg.Home.ports()
	if err != nil {
		return nil, err
	}
	for _, start := range []func(context.Context, Config, *ports) error{s.startKafka, s.startRegistry, s.startRedis, s.startClickHouse, s.startCollector, s.placeIceberg} {
		if err := start(ctx, cfg, known); err != nil {
			return nil, err
		}
	}
	if err := s.startFunctions(ctx, cfg, topology, known); err != nil {
		return nil, err
	}
	if err := s.startControl(ctx, cfg, known); err != nil {
		return nil, err
	}
	if err := errors.Join(known.save(), cfg.Home.writeEnv(s.Env)); err != nil {
		return nil, err
	}
	s.onClose(func(context.Context) error { return os.Remove(cfg.Home.EnvFile()) })
	return s, nil
}

func (s *Stack) onClose(f func(context.Context) error) { s.closers = append(s.closers, f) }

// Close takes the stack down: the functions finish their current work, then
// the servers stop.
func (s *Stack) Close(ctx context.Context) error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c(ctx))
	}
	return errors.Join(errs...)
}

// use takes a server's address from the environment, if it is there.
func (s *Stack) use(cfg Config, server string, names ...string) bool {
	if cfg.Env[names[0]] == "" {
		return false
	}
	for _, n := range names {
		if v := cfg.Env[n]; v != "" {
			s.Env[n] = v
		}
	}
	s.Servers = append(s.Servers, Server{Name: server, Kind: "real", Address: public(cfg.Env[names[0]])})
	return true
}

// public is an address without what may be a password: it is shown and logged.
func public(address string) string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return address
	}
	rest, _, _ = strings.Cut(rest, "?")
	host, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndex(host, "@"); at >= 0 {
		host = host[at+1:]
	}
	if path != "" {
		host += "/" + path
	}
	return scheme + "://" + host
}

func (s *Stack) startKafka(ctx context.Context, cfg Config, ports *ports) error {
	if s.use(cfg, "kafka", "KAFKA_BROKERS", "KAFKA_TLS", "KAFKA_SASL_MECHANISM", "KAFKA_SASL_USER", "KAFKA_SASL_PASSWORD") {
		return nil
	}
	port, err := ports.get("kafka")
	if err != nil {
		return err
	}
	broker, err := kafka.Open(ctx, kafka.Config{Dir: cfg.Home.path("kafka"), Port: port})
	if err != nil {
		return fmt.Errorf("start the embedded kafka: %w", err)
	}
	s.onClose(func(context.Context) error { return broker.Close() })
	s.Env["KAFKA_BROKERS"] = broker.Addr()
	s.Servers = append(s.Servers, Server{Name: "kafka", Kind: "embedded kfake", Address: broker.Addr()})
	return nil
}

func (s *Stack) startRegistry(ctx context.Context, cfg Config, ports *ports) error {
	if s.use(cfg, "schema registry", "SCHEMA_REGISTRY_URL") {
		return nil
	}
	reg, err := registry.Open(cfg.Home.path("registry"))
	if err != nil {
		return fmt.Errorf("start the embedded schema registry: %w", err)
	}
	s.onClose(func(context.Context) error { return reg.Close() })
	address, err := s.listen(ports, "registry", reg.Handler())
	if err != nil {
		return err
	}
	s.Env["SCHEMA_REGISTRY_URL"] = "http://" + address
	s.Servers = append(s.Servers, Server{Name: "schema registry", Kind: "embedded srfake", Address: "http://" + address})
	return nil
}

// listen serves a handler on a server's port until the stack is closed.
func (s *Stack) listen(ports *ports, server string, h http.Handler) (address string, err error) {
	port, err := ports.get(server)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return "", fmt.Errorf("listen for the %s: %w", server, err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("server stopped", "server", server, "error", err)
		}
	}()
	s.onClose(srv.Shutdown)
	return l.Addr().String(), nil
}

func (s *Stack) startRedis(ctx context.Context, cfg Config, ports *ports) error {
	if s.use(cfg, "redis", "REDIS_URL") {
		return nil
	}
	port, err := ports.get("redis")
	if err != nil {
		return err
	}
	server, err := redis.Start(ctx, redis.Config{Dir: cfg.Home.path("redis"), Port: port})
	if err != nil {
		return fmt.Errorf("start redis: %w", err)
	}
	s.onClose(func(context.Context) error { return server.Close() })
	s.Env["REDIS_URL"] = "redis://" + server.Addr()
	s.Servers = append(s.Servers, Server{Name: "redis", Kind: server.Kind(), Address: server.Addr()})
	return nil
}

// placeIceberg needs no server: the embedded catalog is a SQLite file, and the
// warehouse a folder.
func (s *Stack) placeIceberg(_ context.Context, cfg Config, _ *ports) error {
	if s.use(cfg, "iceberg", "ICEBERG_CATALOG_URI", "ICEBERG_WAREHOUSE", "S3_ENDPOINT", "S3_REGION", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY") {
		return nil
	}
	dir, err := filepath.Abs(cfg.Home.path("iceberg"))
	if err != nil {
		return fmt.Errorf("place iceberg: %w", err)
	}
	s.Env["ICEBERG_CATALOG_URI"] = "sqlite://" + dir + "/catalog.db"
	s.Env["ICEBERG_WAREHOUSE"] = "file://" + dir + "/warehouse"
	s.Servers = append(s.Servers, Server{Name: "iceberg", Kind: "embedded SQLite catalog", Address: s.Env["ICEBERG_CATALOG_URI"]})
	return nil
}

func (s *Stack) startFunctions(ctx context.Context, cfg Config, topology *knative.Topology, ports *ports) error {
	env := map[string]string{"ICEBERG_WAREHOUSE": "", "S3_ENDPOINT": "", "S3_REGION": "us-east-1", "S3_ACCESS_KEY_ID": "", "S3_SECRET_ACCESS_KEY": ""}
	for name, value := range s.Env {
		env[name] = value
	}
	own := map[string]map[string]string{
		// On one machine somebody is waiting for the table.
		"sink-iceberg": {"SINK_ICEBERG_INTERVAL": "2s", "SINK_ICEBERG_QUIET": "100ms"},
		"fetch-org":    {},
		"api":          {"API_PROXIES": "1"}, // the stack's own, which starts the function
	}
	for _, name := range []string{"API_RATE", "API_ORIGINS"} {
		if v, ok := cfg.Env[name]; ok {
			env[name] = v
		}
	}
	if Live(cfg.Env) {
		env["GITHUB_TOKEN"] = cfg.Env["GITHUB_TOKEN"]
		env["OWNERS"], env["BOTS"] = cfg.Env["OWNERS"], cfg.Env["BOTS"]
		own["fetch-org"]["OWNERS_FILE"] = OwnersFile(cfg.Env, cfg.Root)
		for _, name := range []string{"GITHUB_GRAPHQL_URL", "FEED_INTERVAL"} {
			if v := cfg.Env[name]; v != "" {
				env[name] = v
			}
		}
	} else {
		// Without a token there is nothing to read.
		topology.Ticks = slices.DeleteFunc(topology.Ticks, func(t knative.Tick) bool { return t.Function == "fetch-org" || t.Function == "fetch-events" })
	}
	own["notify"] = map[string]string{"SIGNALS": cfg.Env["SIGNALS"], "SIGNALS_FILE": SignalsFile(cfg.Env, cfg.Root)}
	rules, err := notify.ReadRules(own["notify"]["SIGNALS"], own["notify"]["SIGNALS_FILE"])
	if err != nil {
		return fmt.Errorf("rules of notify: %w", err)
	}
	if len(rules.Targets) == 0 { // there is nobody to send anything to
		topology.Ticks = slices.DeleteFunc(topology.Ticks, func(t knative.Tick) bool { return t.Function == "notify" })
		topology.Sources = slices.DeleteFunc(topology.Sources, func(s knative.Source) bool { return s.Function == "notify" })
	}
	fixed := map[string]int{}
	for _, f := range topology.Functions {
		own[f.Name] = withTelemetry(own[f.Name], cfg.Env, s.Env)
		port, err := ports.get(f.Name)
		if err != nil {
			return err
		}
		fixed[f.Name] = port
	}
	kafkaConfig, err := s.Kafka(ctx)
	if err != nil {
		return err
	}
	programs := map[string]string{}
	for _, f := range topology.Functions {
		if programs[f.Name], err = Program(f.Name); err != nil {
			return err
		}
	}
	s.Cluster, err = knative.New(knative.Config{
		Topology: topology, Kafka: kafkaConfig,
		Command: func(function string) []string { return []string{programs[function]} },
		Env:     env, FunctionEnv: own, Ports: fixed, LogDir: cfg.Home.LogDir(),
		IdleAfter: cfg.IdleAfter, DropBells: cfg.DropBells, Rate: cfg.BellRate, Seed: 1,
	})
	if err != nil {
		return fmt.Errorf("prepare the functions: %w", err)
	}
	s.onClose(s.Cluster.Stop)
	if err := s.Cluster.Start(ctx); err != nil {
		return fmt.Errorf("start the sources: %w", err)
	}
	for _, f := range topology.Functions {
		s.Env[strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))+"_URL"] = s.Cluster.URL(f.Name)
	}
	return nil
}

// withTelemetry adds the standard variables of OpenTelemetry to those of a function.
func withTelemetry(own map[string]string, from ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, env := range from {
		for name, value := range env {
			if strings.HasPrefix(name, "OTEL_") {
				all[name] = value
			}
		}
	}
	maps.Copy(all, own)
	return all
}

// Kafka is how to reach the stack's Kafka.
func (s *Stack) Kafka(ctx context.Context) (sharedkafka.Config, error) { return KafkaOf(ctx, s.Env) }

// Self is the path of this program, not of a link that it was started by, as package
// managers make them: what belongs to it is beside the program. os.Executable follows a
// link on Linux, and does not on macOS.
func Self() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the path of pulse: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", fmt.Errorf("follow the path of pulse: %w", err)
	}
	return self, nil
}

// Program is the path of a function's own program: beside this one.
func Program(function string) (string, error) {
	self, err := Self()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), function)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the program of function %s is not beside %s: run `make build`", function, self)
	}
	return path, nil
}

// kafkaOnly lets the Kafka part of a configuration be loaded by itself.
type kafkaOnly struct{ sharedkafka.Config }

// KafkaOf reads how to reach Kafka from a stack's addresses.
func KafkaOf(ctx context.Context, env map[string]string) (sharedkafka.Config, error) {
	c, err := serve.Load[kafkaOnly](ctx, env)
	return c.Config, err
}
