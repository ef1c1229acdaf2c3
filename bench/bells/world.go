package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/bench/series"
	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/infra/local/redis"
	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// A full history: a reading on each of 61 days, then one in each of 49 hours.
// What comes after is a reading an hour.
const (
	dailySteps = 61
	fullSteps  = velocity.MaxPoints
	laterSteps = 200 // hours that are left until now
)

// world is a number of repositories with full histories in a Redis of its own.
type world struct {
	*bench
	repositories int
	sent         int // readings so far, one of each repository in turn
	pieces       [][]event.RepoObserved
	begins       time.Time // the first day
	producer     *kgo.Client
	codec        *event.Codec
	redis        *redis.Server
	ask          *goredis.Client
}

// settle makes a world: it fills the topic and has the bulk job work it off.
func (b *bench) settle(ctx context.Context, repositories int) (*world, error) {
	w := &world{bench: b, repositories: repositories}
	full := time.Now().UTC().Truncate(24 * time.Hour).Add(-laterSteps * time.Hour).Truncate(24 * time.Hour)
	w.begins = full.AddDate(0, 0, -dailySteps-2)
	var err error
	if w.pieces, err = series.Cut(b.recording, fullSteps); err != nil {
		return nil, err
	}
	if w.codec, err = event.NewCodec(b.registry); err != nil {
		return nil, err
	}
	if w.producer, err = kgo.NewClient(append(b.kafka.Options(), kgo.ProducerBatchCompression(kgo.SnappyCompression()))...); err != nil {
		return nil, err
	}
	if err := series.Forget(ctx, b.admin, aggregate.Group); err != nil {
		return nil, err
	}
	if err := series.Recreate(ctx, b.admin, event.TopicBaseRepos, event.TopicProcessedRepos, bells, event.BellTopic(event.TopicProcessedRepos)); err != nil {
		return nil, err
	}
	dir := filepath.Join(b.work, strconv.Itoa(repositories))
	if w.redis, err = redis.Start(ctx, redis.Config{Dir: dir}); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(w.redis.Kind(), "redis-server") {
		return nil, errors.New("redis-server is not on PATH")
	}
	w.ask = goredis.NewClient(&goredis.Options{Addr: w.redis.Addr()})
	empty, err := w.usage(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.read(ctx, fullSteps*repositories); err != nil {
		return nil, err
	}
	drain := exec.Command(b.program, "drain")
	drain.Env, drain.Stderr = w.environ(), os.Stderr
	if err := child.Run(ctx, drain, time.Minute); err != nil {
		return nil, fmt.Errorf("%s drain: %w", b.program, err)
	}
	used, err := w.usage(ctx)
	if err != nil {
		return nil, err
	}
	show("memory of redis", map[string]any{
		"repositories": repositories, "used_memory_dataset": used.dataset, "used_memory": used.memory, "resident": used.resident,
		"bytes_per_repository": (used.memory - empty.memory) / float64(repositories),
	})
	// The rows so far are in nobody's way but the disk's.
	if _, err := b.admin.DeleteRecords(ctx, w.ends(ctx, event.TopicProcessedRepos)); err != nil {
		return nil, fmt.Errorf("delete the rows so far: %w", err)
	}
	return w, nil
}

func (w *world) close() error {
	w.producer.Close()
	return errors.Join(w.ask.Close(), w.redis.Close())
}

// environ is the environment of a process of the function.
func (w *world) environ() []string {
	env := os.Environ()
	for name, value := range w.env() {
		env = append(env, name+"="+value)
	}
	return env
}

func (w *world) env() map[string]string {
	env := map[string]string{"KAFKA_BROKERS": strings.Join(w.kafka.Brokers, ","), "SCHEMA_REGISTRY_URL": w.registry, "REDIS_URL": "redis://" + w.redis.Addr()}
	if w.otlp != "" {
		env["OTEL_EXPORTER_OTLP_ENDPOINT"] = w.otlp
	}
	for _, e := range w.function.Env { // what its func.yaml says outright
		if e.Value != "" {
			env[e.Name] = e.Value
		}
	}
	return env
}

// read sends the next n readings.
func (w *world) read(ctx context.Context, n int) error {
	if w.sent+n > w.repositories*(fullSteps+laterSteps) {
		return fmt.Errorf("%d repositories have no %d readings until now: they would be dead letters", w.repositories, w.sent+n)
	}
	var failed kgo.FirstErrPromise
	for range n {
		r, err := w.next(ctx)
		if err != nil {
			return err
		}
		w.producer.Produce(ctx, r, failed.Promise())
	}
	return failed.Err()
}

// next is the next reading's record.
func (w *world) next(ctx context.Context) (*kgo.Record, error) {
	o := w.reading(w.sent/w.repositories, w.sent%w.repositories)
	w.sent++
	r, err := w.codec.Record(ctx, o, false)
	if err == nil && w.traced {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_" + event.ExtTraceparent, Value: fmt.Appendf(nil, "00-%032x-%016x-01", w.sent/w.repositories+1, w.sent/page+1)})
	}
	return r, err
}

// reading is what a repository shows in a step: that of a recorded one.
func (w *world) reading(step, repository int) *event.RepoObserved {
	piece := w.pieces[repository%len(w.pieces)]
	o := piece[step%len(piece)]
	o.ID = int64(1_000_000 + repository)
	o.Owner += "-" + strconv.Itoa(repository/len(w.pieces))
	o.NameWithOwner = o.Owner + "/" + o.Name
	o.ObservedAt = w.begins.AddDate(0, 0, min(step, dailySteps)).Add(time.Duration(max(0, step-dailySteps)) * time.Hour).
		Add(time.Hour * time.Duration(repository) / time.Duration(w.repositories)).Truncate(time.Millisecond)
	return &o
}

// usage is what Redis takes.
type usage struct{ dataset, memory, resident, cpu float64 }

func (w *world) usage(ctx context.Context) (u usage, err error) {
	info, err := w.ask.Info(ctx, "cpu", "memory").Result()
	if err != nil {
		return u, fmt.Errorf("ask redis for its usage: %w", err)
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		to := map[string]*float64{
			"used_memory_dataset": &u.dataset, "used_memory": &u.memory, "used_memory_rss": &u.resident,
			"used_cpu_sys": &u.cpu, "used_cpu_user": &u.cpu,
		}[name]
		if to == nil {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return u, fmt.Errorf("redis %s: %w", line, err)
		}
		*to += v
	}
	return u, nil
}

// cost answers how much CPU an event takes, that of Redis included, in µs. The
// events come as sweeps of the smaller world would bring them, so that blocks
// are alike in both worlds and no repository comes twice in one.
func (w *world) cost(ctx context.Context) (_ float64, err error) {
	cmd := exec.Command(w.program)
	cmd.Env = append(w.environ(), "LISTEN_ADDRESS=127.0.0.1:0")
	cmd.Stderr = os.Stderr
	function, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, function.Stop(time.Minute), function.Err()) }()
	if err := w.sweep(ctx); err != nil { // the first one pays for the start
		return 0, err
	}
	before, err := w.spent(ctx, function.PID())
	if err != nil {
		return 0, err
	}
	for range w.events / w.few {
		if err := w.sweep(ctx); err != nil {
			return 0, err
		}
	}
	after, err := w.spent(ctx, function.PID())
	if err != nil {
		return 0, err
	}
	each := 1e6 / float64(w.events)
	micros := (after.function + after.redis - before.function - before.redis) * each
	show("cost of an event", map[string]any{
		"repositories": w.repositories, "events": w.events, "cpu_us": micros,
		"cpu_us_function": (after.function - before.function) * each, "cpu_us_redis": (after.redis - before.redis) * each,
	})
	return micros, nil
}

// sweep sends as many events as the smaller world has repositories, and waits
// for their rows.
func (w *world) sweep(ctx context.Context) error {
	if err := w.read(ctx, w.few); err != nil {
		return err
	}
	return w.covered(ctx)
}

// spent is CPU seconds so far.
type spent struct{ function, redis float64 }

func (w *world) spent(ctx context.Context, pid int) (s spent, err error) {
	u, err := w.usage(ctx)
	if err != nil {
		return s, err
	}
	s.redis = u.cpu
	s.function, err = cpuOf(pid)
	return s, err
}

// covered waits until the function has committed all that is in the topic.
func (w *world) covered(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	target, err := kafka.Ends(ctx, w.kafka, event.TopicBaseRepos)
	if err != nil {
		return err
	}
	for {
		done, err := kafka.Committed(ctx, w.kafka, aggregate.Group, event.TopicBaseRepos)
		if err != nil {
			return err
		}
		if done.Covers(target) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("the function does not reach the end of its topic")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// cpuOf is the CPU seconds of a process so far.
func cpuOf(pid int) (float64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from the third on
	var ticks float64
	for _, f := range fields[11:13] {
		v, err := strconv.ParseFloat(string(f), 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += v
	}
	return ticks / 100, nil // USER_HZ is 100 on every Linux that Go runs on
}
