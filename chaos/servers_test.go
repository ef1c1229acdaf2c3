package chaos

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/iceberg-go/catalog"
	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
	goredis "github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/clickhouse"
	broker "github.com/m7pulse/m7pulse/infra/local/kafka"
	"github.com/m7pulse/m7pulse/infra/local/knative"
	"github.com/m7pulse/m7pulse/infra/local/library"
	"github.com/m7pulse/m7pulse/infra/local/redis"
	"github.com/m7pulse/m7pulse/infra/local/registry"
	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/freeport"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// pipeline is the three functions that hold the stores' promises and the one that sends
// signals to people, as child processes, and the servers that they stand on, each behind a link that can be
// broken. What it holds is compared by `pulse audit`, which goes past the links
// (but for Kafka's, by which clients find the broker).
type pipeline struct {
	t        *testing.T
	dir      string
	programs string            // folder of pulse and of the functions
	blocks   map[string]string // what bounds the functions' blocks
	env      map[string]string // what the functions are given
	direct   map[string]string // the same addresses, past the links
	links    map[string]*link
	disks    map[string]*disk
	kafka    kafka.Config
	codec    *event.Codec
	registry string // host and port, past the link
	server   *redis.Server
	redis    *goredis.Client
	catalog  catalog.Catalog
	cluster  *knative.Cluster
	target   *target           // of notify
	rules    string            // by which notify sends
	reads    map[string]string // what fetch-org is given to read GitHub; nil: nothing is read

	restarting sync.Mutex // Redis, by one fault at a time
	emptying   sync.Mutex // the registry, by one fault at a time

	mu      sync.Mutex
	strays  []*stray // replicas beside the cluster's own
	stopped []int    // processes that were sent SIGSTOP
}

// functions of which a process may be broken.
var functions = []string{"aggregate", "sink-clickhouse", "sink-iceberg", "notify"}

// advertised is a listener that says it is elsewhere: Kafka tells its clients to
// come by the link.
type advertised struct {
	net.Listener
	at net.Addr
}

func (a advertised) Addr() net.Addr { return a.at }

// newPipeline brings all up, with the functions' programs of a folder. bells is
// the share of bells that ring, blocks what bounds the functions' blocks.
func newPipeline(t *testing.T, programs string, bells float64, blocks map[string]string) *pipeline {
	t.Helper()
	return newReadingPipeline(t, programs, bells, blocks, nil)
}

// newReadingPipeline is newPipeline with fetch-org, whose ticks are sent by the test.
func newReadingPipeline(t *testing.T, programs string, bells float64, blocks, reads map[string]string) *pipeline {
	t.Helper()
	dir, err := os.MkdirTemp("", "pulse-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	p := &pipeline{t: t, dir: dir, programs: programs, blocks: blocks, reads: reads, direct: map[string]string{}, links: map[string]*link{}, disks: map[string]*disk{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the functions logged: %s", filepath.Join(dir, "log"))
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for name, mib := range map[string]int{"redis": 64, "clickhouse": 384, "catalog": 16} {
		p.disks[name] = newDisk(t, filepath.Join(dir, name), mib)
	}
	p.startKafka()
	p.startRegistry()
	p.startRedis()
	p.startClickHouse()
	p.startStore()
	p.startTarget()
	p.startFunctions(bells)
	return p
}

func (p *pipeline) startKafka() {
	l := newLink(p.t, "kafka", "")
	at, err := net.ResolveTCPAddr("tcp", l.addr())
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		inner, err := net.Listen(network, address)
		if err != nil {
			return nil, err
		}
		l.gate.lead(inner.Addr().String())
		return advertised{inner, at}, nil
	}))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	broker.BoundFetches(c)
	p.links["kafka"] = l
	p.direct["KAFKA_BROKERS"] = l.addr()
	p.kafka = kafka.Config{Brokers: []string{l.addr()}}
}

func (p *pipeline) startRegistry() {
	r, err := registry.Open(filepath.Join(p.dir, "registry"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { r.Close() })
	srv := httptest.NewServer(r.Handler())
	p.t.Cleanup(srv.Close)
	p.direct["SCHEMA_REGISTRY_URL"] = srv.URL
	p.registry = srv.Listener.Addr().String()
	p.links["registry"] = newLink(p.t, "registry", p.registry)
	if p.codec, err = event.NewCodec(srv.URL); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pipeline) startRedis() {
	s, err := redis.Start(p.t.Context(), redis.Config{Dir: filepath.Join(p.dir, "redis")})
	if err != nil {
		p.t.Fatal(err)
	}
	p.server = s
	p.t.Cleanup(func() { p.server.Close() })
	if s.Kind() == "miniredis" {
		p.t.Log("NO redis-server ON PATH: miniredis takes the place of the real one")
	}
	p.direct["REDIS_URL"] = "redis://" + s.Addr()
	p.links["redis"] = newLink(p.t, "redis", s.Addr())
	p.redis = goredis.NewClient(&goredis.Options{Addr: s.Addr()})
	p.t.Cleanup(func() { p.redis.Close() })
}

// restartRedis ends Redis and starts it with the data that it had a while before,
// as after a power cut: its file is synced every second. Its scripts are gone.
func (p *pipeline) restartRedis(ctx context.Context, lost time.Duration) error {
	p.restarting.Lock()
	defer p.restarting.Unlock()
	data, was := filepath.Join(p.dir, "redis"), filepath.Join(p.dir, "redis-was")
	log := filepath.Join(data, "appendonlydir") // miniredis has none, and loses all
	if err := os.RemoveAll(was); err != nil {
		return err
	}
	if _, err := os.Stat(log); err == nil {
		if err := os.CopyFS(was, os.DirFS(log)); err != nil {
			return errMissed // it was rewritten at that moment
		}
	}
	pause(ctx, lost)
	_, port, err := net.SplitHostPort(p.server.Addr())
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	_ = p.server.Close() // it may complain of a full disk
	if _, err := os.Stat(was); err == nil {
		p.disks["redis"].free()
		if err := errors.Join(os.RemoveAll(log), os.CopyFS(log, os.DirFS(was))); err != nil {
			return err
		}
	}
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	for {
		s, err := redis.Start(starting, redis.Config{Dir: data, Port: number})
		if err == nil {
			p.server = s
			return nil
		}
		if starting.Err() != nil {
			return err
		}
		p.disks["redis"].free() // it does not start on a full disk
		pause(starting, 100*time.Millisecond)
	}
}

// emptyRegistry leads the functions to a registry that knows nothing, such as one
// that lost its disk, and then to theirs again. Their processes are killed each
// time: what they have read before would hide the change, and a drain that stopped
// waits for a person.
func (p *pipeline) emptyRegistry(ctx context.Context, d time.Duration) error {
	p.emptying.Lock()
	defer p.emptying.Unlock()
	dir, err := os.MkdirTemp(p.dir, "registry-")
	if err != nil {
		return err
	}
	empty, err := registry.Open(dir)
	if err != nil {
		return err
	}
	defer empty.Close()
	srv := httptest.NewServer(empty.Handler())
	defer srv.Close()
	lead := func(to string) error {
		l := p.links["registry"]
		l.one.Lock()
		defer l.one.Unlock()
		l.proxy.Stop()
		l.gate.lead(to)
		for _, f := range functions {
			_, _ = p.signal(ctx, f, syscall.SIGKILL)
		}
		return l.proxy.Start()
	}
	if err := lead(srv.Listener.Addr().String()); err != nil {
		return err
	}
	pause(ctx, d)
	return lead(p.registry)
}

// mostPartitions is up to where a topic is widened.
const mostPartitions = 15

// widen adds a partition to a topic: from then on a key may be in another one.
func (p *pipeline) widen(ctx context.Context, topic string) error {
	client, err := kgo.NewClient(p.kafka.Options()...)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil || topics[topic].Err != nil || len(topics[topic].Partitions) == 0 || len(topics[topic].Partitions) >= mostPartitions {
		return errMissed
	}
	answers, err := admin.CreatePartitions(ctx, 1, topic)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		return errMissed // Kafka was away
	}
	return nil
}

// flood writes records to one partition of a topic that can never be processed.
func (p *pipeline) flood(ctx context.Context, topic string, n int, random *rand.Rand) error {
	client, err := kafka.NewProducer(p.kafka)
	if err != nil {
		return err
	}
	defer client.Close()
	key := fmt.Appendf(nil, "flood %d", random.Uint64())
	var records []*kgo.Record
	for range n {
		records = append(records, &kgo.Record{Topic: topic, Key: key, Value: fmt.Appendf(nil, "invalid %d", random.Uint64())})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return errMissed // what of it was written is invalid all the same
	}
	return nil
}

func (p *pipeline) startClickHouse() {
	engine, err := library.Fetch(p.t.Context(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	address := free(p.t)
	cmd := clickhouse.Embedded(filepath.Join(p.programs, "pulse"), clickhouse.Config{Library: engine, DataDir: filepath.Join(p.dir, "clickhouse", "data"), Addr: address})
	var out bytes.Buffer // to be read once the process has ended
	cmd.Stdout, cmd.Stderr = &out, &out
	server, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = server.Stop(0) })
	starting, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	if err := server.AwaitHTTP(starting, "http://"+address+"/ping"); err != nil {
		_ = server.Stop(0)
		p.t.Fatalf("start clickhouse: %v\n%s", err, out.String())
	}
	p.direct["CLICKHOUSE_URL"] = "http://" + address
	p.links["clickhouse"] = newLink(p.t, "clickhouse", address)
}

// startStore is Iceberg: a SQLite catalog on a disk of its own, and an object
// store.
func (p *pipeline) startStore() {
	backend := s3mem.New()
	if err := backend.CreateBucket(p.t.Context(), "warehouse"); err != nil {
		p.t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{"chaos": "chaos"})).Server())
	p.t.Cleanup(srv.Close)
	p.direct["ICEBERG_CATALOG_URI"] = "sqlite://" + p.catalogFile()
	p.direct["ICEBERG_WAREHOUSE"] = "s3://warehouse"
	p.direct["S3_ENDPOINT"], p.direct["S3_REGION"] = srv.URL, "us-east-1"
	p.direct["S3_ACCESS_KEY_ID"], p.direct["S3_SECRET_ACCESS_KEY"] = "chaos", "chaos"
	p.links["object store"] = newLink(p.t, "object store", srv.Listener.Addr().String())
	c, closer, err := sinkiceberg.Open(p.t.Context(), sinkiceberg.Location{
		Catalog: p.direct["ICEBERG_CATALOG_URI"], Warehouse: "s3://warehouse", Endpoint: srv.URL, Region: "us-east-1", AccessKey: "chaos", SecretKey: "chaos",
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.catalog = c
	p.t.Cleanup(func() { _ = closer() })
}

func (p *pipeline) catalogFile() string { return filepath.Join(p.dir, "catalog", "catalog.db") }

// lockCatalog holds the catalog's lock for a time, longer maybe than a writer waits.
func (p *pipeline) lockCatalog(ctx context.Context, d time.Duration) error {
	db, err := sql.Open("sqlite", "file:"+p.catalogFile()+"?_pragma=busy_timeout(3000)")
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(context.Background(), "BEGIN IMMEDIATE"); err != nil {
		return nil // the sink has it itself
	}
	pause(ctx, d)
	_, err = conn.ExecContext(context.Background(), "ROLLBACK")
	return err
}

func (p *pipeline) startFunctions(bells float64) {
	topology, err := knative.Load("..")
	if err != nil {
		p.t.Fatal(err)
	}
	// Without a token there is nothing to read: fetch-org and fetch-events have tests of their own.
	topology.Ticks = slices.DeleteFunc(topology.Ticks, func(t knative.Tick) bool {
		return t.Function == "fetch-org" && p.reads == nil || t.Function == "fetch-events"
	})
	p.env = map[string]string{}
	for name, value := range p.direct {
		p.env[name] = value
	}
	p.env["SCHEMA_REGISTRY_URL"] = "http://" + p.links["registry"].addr()
	p.env["REDIS_URL"] = "redis://" + p.links["redis"].addr()
	p.env["CLICKHOUSE_URL"] = "http://" + p.links["clickhouse"].addr()
	p.env["S3_ENDPOINT"] = "http://" + p.links["object store"].addr()
	p.env["SIGNALS"] = p.rules
	own := map[string]map[string]string{}
	for _, f := range functions {
		own[f] = p.blocks
	}
	own["fetch-org"] = p.reads
	logs := filepath.Join(p.dir, "log")
	if err := os.Mkdir(logs, 0o755); err != nil { // a replica may be thrown in before the first function wakes
		p.t.Fatal(err)
	}
	p.cluster, err = knative.New(knative.Config{
		Topology: topology, Kafka: p.kafka, Env: p.env, FunctionEnv: own, LogDir: logs,
		Command:   func(f string) []string { return []string{filepath.Join(p.programs, f)} },
		IdleAfter: 5 * time.Second, DropBells: 1 - bells, Seed: 1,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cluster.Start(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		p.heal()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := p.cluster.Stop(ctx); err != nil {
			p.t.Log(err)
		}
	})
	p.startControl()
}

// small makes blocks so small that a round has many of each effect.
func small() map[string]string {
	return map[string]string{
		"AGGREGATE_BLOCK_RECORDS": "40", "SINK_CLICKHOUSE_BLOCK_RECORDS": "50", "SINK_CLICKHOUSE_BLOCK_AGE": "50ms",
		"SINK_ICEBERG_BLOCK_RECORDS": "80", "SINK_ICEBERG_INTERVAL": "500ms", "SINK_ICEBERG_QUIET": "100ms",
	}
}

// startControl makes the pipeline a stack for the commands of pulse, as `pulse up`
// does: its home has addresses and is locked, and `pulse audit --wait` can wake the
// functions.
func (p *pipeline) startControl() {
	lock, err := os.Create(filepath.Join(p.dir, "lock"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { lock.Close() })
	if _, err := fmt.Fprint(lock, os.Getpid()); err != nil {
		p.t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		p.t.Fatalf("lock the home: %v", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /wake/{function}", func(w http.ResponseWriter, r *http.Request) {
		if err := p.cluster.Wake(r.Context(), r.PathValue("function")); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	srv := httptest.NewServer(mux)
	p.t.Cleanup(srv.Close)
	var b strings.Builder
	for name, value := range p.direct {
		fmt.Fprintf(&b, "%s=%s\n", name, value)
	}
	fmt.Fprintf(&b, "PULSE_CONTROL_URL=%s\n", srv.URL)
	if err := os.WriteFile(filepath.Join(p.dir, "env"), []byte(b.String()), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// pulse runs a command of pulse on the pipeline.
func (p *pipeline) pulse(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.programs, "pulse"), args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		_, ours := p.direct[name]
		return ours
	}), "PULSE_HOME="+p.dir)
	cmd.Dir = ".."
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("pulse %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out, err
}

// status is how the functions fare; nobody is asked over a link that is broken.
func (p *pipeline) status() []knative.FunctionStatus {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s, _ := p.cluster.Status(ctx)
	return s.Functions
}

// pid is a function's process; it is woken if it has none.
func (p *pipeline) pid(ctx context.Context, function string) int {
	for woken := false; ; woken = true {
		for _, f := range p.status() {
			if f.Name == function && f.PID > 0 {
				return f.PID
			}
		}
		if !woken {
			go func() { _ = p.cluster.Wake(ctx, function) }()
		}
		pause(ctx, 50*time.Millisecond)
		if ctx.Err() != nil {
			return 0
		}
	}
}

// signal sends a function's process a signal, and says to which process.
func (p *pipeline) signal(ctx context.Context, function string, s syscall.Signal) (pid int, err error) {
	pid = p.pid(ctx, function)
	if pid == 0 {
		return 0, errMissed
	}
	if err := syscall.Kill(-pid, s); err != nil {
		return 0, errMissed // it has just ended by itself
	}
	return pid, nil
}

// errMissed: a fault found nothing to break.
var errMissed = errors.New("missed")

// stray is a replica that nobody wanted.
type stray struct{ *child.Process }

// replica starts one more process of a function, or one of its jobs.
func (p *pipeline) replica(function string, job ...string) (*stray, error) {
	log, err := os.OpenFile(filepath.Join(p.dir, "log", function+"-stray.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(p.programs, function), job...)
	cmd.Env = []string{"TZ=UTC", "LISTEN_ADDRESS=" + free(p.t), "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	for name, value := range p.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	for name, value := range p.blocks {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdout, cmd.Stderr = log, log
	process, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, err
	}
	s := &stray{process}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.strays = append(p.strays, s)
	return s, nil
}

// heal ends what faults may have left: stopped processes go on, strays end, disks
// have room.
func (p *pipeline) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pid := range p.stopped {
		_ = syscall.Kill(-pid, syscall.SIGCONT)
	}
	var ending sync.WaitGroup
	for _, s := range p.strays {
		ending.Go(func() { _ = s.Stop(15 * time.Second) })
	}
	ending.Wait()
	p.stopped, p.strays = nil, nil
	for _, d := range p.disks {
		d.free()
	}
}

// disk is a small file system of its own, where that is allowed.
type disk struct {
	path  string
	small bool
}

func newDisk(t *testing.T, path string, mib int) *disk {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &disk{path: path}
	if err := mount(path, mib); err != nil {
		t.Logf("NO FULL DISK of %s is tried: only root can mount a small one: %v", filepath.Base(path), err)
		return d
	}
	d.small = true
	t.Cleanup(func() {
		if err := unmount(path); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *disk) ballast() string { return filepath.Join(d.path, "ballast") }

// fill leaves no byte.
func (d *disk) fill() error {
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) free() {
	if err := os.Remove(d.ballast()); err != nil && !errors.Is(err, os.ErrNotExist) {
		slog.Error("free a disk", "error", err)
	}
}

func free(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}
