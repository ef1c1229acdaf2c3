package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/m7pulse/m7pulse/deadletters"
	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/quota"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Reading is what was measured at one time. A figure that could not be read is missing.
type Reading struct {
	Figures map[string]float64
	Details map[string]string // what a signal says besides, by figure
	Gauges  []serve.Gauge     // figures that no alert goes by, named like those that one does
}

// gauge adds a figure that no alert goes by.
func (r *Reading) gauge(name, help string, value float64, labels map[string]string) {
	r.Gauges = append(r.Gauges, serve.Gauge{Name: figures + name, Help: help, Labels: labels, Value: value})
}

// The gauges of a reading: each has one name and one sentence.
const (
	lagRecords   = "lag_records"
	lagRecordsIs = "Records of a topic that a function has not stored."
	lagOldest    = "lag_oldest_seconds"
	lagOldestIs  = "Age of the oldest of these records, in seconds; 0 if there is none."
	rows         = "rows"
	rowsIs       = "Rows of a table in a store; those that ClickHouse has twice until it merges them count twice."
)

// Sources are where the figures come from.
type Sources struct {
	Env    map[string]string // the addresses of the stores
	Home   string            // a folder on the disk of embedded servers; "" if there are none
	Kind   stack.Kind        // what the data is; "": as ClickHouse has noted
	Period time.Duration     // of the sweeps
}

// readLimit is how long one source may take; all of a reading takes less than a minute.
const readLimit = 10 * time.Second

// Read measures everything, at the time now. It opens what it needs and closes it: a
// store that was away a minute ago is asked anew.
func (s Sources) Read(ctx context.Context, now time.Time) Reading {
	r := Reading{Figures: map[string]float64{}, Details: map[string]string{}}
	var down []string
	for _, source := range []struct {
		name string
		read func(context.Context, time.Time, *Reading) error
	}{{"Kafka", s.readKafka}, {"Redis", s.readRedis}, {"ClickHouse", s.readClickHouse}, {"Iceberg", s.readIceberg}} {
		limited, cancel := context.WithTimeout(ctx, readLimit)
		if err := source.read(limited, now, &r); err != nil {
			down = append(down, source.name) // the error may quote an address: pulse doctor says it
		}
		cancel()
	}
	if ctx.Err() != nil {
		return Reading{} // stopped in the middle: nothing is down
	}
	r.Figures["stores_down"] = float64(len(down))
	r.Details["stores_down"] = " It is " + strings.Join(down, ", ")
	if len(down) == 0 {
		limited, cancel := context.WithTimeout(ctx, 2*readLimit)
		defer cancel()
		s.readLag(limited, now, &r)
	}
	s.readConnect(ctx, &r)
	s.readHome(&r)
	return r
}

func (s Sources) readKafka(ctx context.Context, _ time.Time, r *Reading) error {
	cfg, err := stack.KafkaOf(ctx, s.Env)
	if err != nil {
		return err
	}
	if _, err := kafka.Ends(ctx, cfg, event.TopicSweeps); err != nil {
		return err
	}
	if n, err := deadletters.Waiting(ctx, cfg); err == nil {
		r.Figures["dead_letters"] = float64(n)
	}
	return nil
}

// pointsOfAnHour are what GitHub gives a user.
const pointsOfAnHour = 5000

// readRedis finds the user with the fewest points left of an hour that is not over, and
// what each has left of the minute's work.
func (s Sources) readRedis(ctx context.Context, now time.Time, r *Reading) error {
	client, err := redisclient.New(s.Env["REDIS_URL"])
	if err != nil {
		return err
	}
	defer client.Close()
	var one sync.Mutex // the masters of a cluster answer beside each other
	left, of, memory := 1.0, "", 0.0
	work := map[string]time.Duration{}
	err = redisclient.EachMaster(ctx, client, func(ctx context.Context, server redis.UniversalClient) error {
		if used, err := redisclient.Memory(ctx, server); err == nil { // else the user may not ask for it
			one.Lock()
			memory += used
			one.Unlock()
		}
		keys := server.Scan(ctx, 0, quota.Prefix+"{*}*", 500).Iterator()
		for keys.Next(ctx) {
			key := keys.Val()
			if strings.HasSuffix(key, ":log") {
				continue
			}
			budget, err := server.HMGet(ctx, key, "remaining", "reset").Result()
			if err != nil {
				return err
			}
			remaining, err1 := strconv.ParseFloat(fmt.Sprint(budget[0]), 64)
			reset, err2 := strconv.ParseInt(fmt.Sprint(budget[1]), 10, 64)
			taken, err := quota.Work(ctx, server, key, now)
			if err != nil {
				return err
			}
			one.Lock()
			if user := strings.TrimPrefix(key, quota.Prefix); !strings.HasSuffix(key, "}:rest") { // REST has no limit of work
				work[strings.Trim(user, "{}")] = taken
			}
			if err1 == nil && err2 == nil && time.UnixMilli(reset).After(now) && remaining/pointsOfAnHour < left {
				left, of = remaining/pointsOfAnHour, strings.TrimPrefix(key, quota.Prefix)
			}
			one.Unlock()
		}
		return keys.Err()
	})
	if err != nil {
		return err
	}
	r.Figures["quota_left_ratio"], r.Details["quota_left_ratio"] = left, " It is "+of
	if memory > 0 {
		r.gauge("redis_memory_bytes", "Memory that Redis uses for data, of all its masters.", memory, nil)
	}
	for user, taken := range work {
		r.gauge("github_work_seconds_left", "Seconds of work of the minute that a user of GitHub has left.", max(0, github.WorkOfAMinute-taken).Seconds(), map[string]string{"user": user})
	}
	return nil
}

// readClickHouse asks one query. A store without our schema yet has none of its figures.
func (s Sources) readClickHouse(ctx context.Context, now time.Time, r *Reading) error {
	conn, err := sinkclickhouse.Open(s.Env["CLICKHOUSE_URL"])
	if err != nil {
		return err
	}
	defer conn.Close()
	empty, err := sinkclickhouse.Empty(ctx, conn)
	if err != nil || empty {
		return err
	}
	return s.readFigures(ctx, conn, now, r)
}

func (s Sources) readFigures(ctx context.Context, conn driver.Conn, now time.Time, r *Reading) error {
	kind := s.Kind
	if kind == "" {
		noted, err := sinkclickhouse.Origin{Conn: conn}.Kind(ctx)
		if err != nil {
			return err
		}
		kind = stack.Kind(noted)
	}
	f, err := sinkclickhouse.ReadFigures(ctx, conn, now)
	if err != nil {
		return err
	}
	if !kind.Ends() { // else nothing is due
		r.Figures["late_seconds"] = late(f.Newest, now, s.Period).Seconds()
	}
	r.Figures["owners_failed"], r.Figures["owners_incomplete"] = float64(f.Failed), float64(f.Incomplete)
	r.Figures["completeness_ratio"] = 1
	if f.Expected > 0 {
		r.Figures["completeness_ratio"] = float64(f.Seen) / float64(f.Expected)
		r.Details["completeness_ratio"] = fmt.Sprintf(" Seen: %d of %d", f.Seen, f.Expected)
	}
	r.Figures["hot_cold_differences"], r.Figures["quality_failures"], r.Figures["event_coverage_failures"] = float64(f.HotCold), float64(f.Critical), float64(f.Coverage)
	r.Figures["disk_free_ratio"] = f.Free
	if f.Swept.Unix() > 0 {
		r.gauge("sweep_age_seconds", "Seconds since the last sweep of an owner has ended, of those of the last 3 days.", now.Sub(f.Swept).Seconds(), nil)
	}
	for table, n := range f.Rows {
		r.gauge(rows, rowsIs, float64(n), map[string]string{"store": "hot", "table": table})
	}
	return nil
}

// late is for how long the newest observation is not the one that was due: since the
// first tick of which none is stored. It goes on through the ticks after that one, or
// the alert would end at each of them.
func late(newest, now time.Time, period time.Duration) time.Duration {
	due := newest.UTC().Truncate(period).Add(period)
	if newest.Unix() <= 0 { // there is none at all: the time since the last two ticks says enough
		due = now.UTC().Truncate(period).Add(-period)
	}
	return max(0, now.Sub(due))
}

func (s Sources) readIceberg(ctx context.Context, _ time.Time, r *Reading) error {
	at, err := pipeline.IcebergLocation(ctx, s.Env)
	if err != nil {
		return err
	}
	c, closeCatalog, err := sinkiceberg.Open(ctx, at)
	if err != nil {
		return err
	}
	for _, table := range sinkiceberg.Tables() {
		at, err := sinkiceberg.LoadSnapshot(ctx, c, table)
		if err != nil {
			return errors.Join(err, closeCatalog())
		}
		if n, err := at.Rows(); err == nil { // else the summary is not ours, and the store is there all the same
			r.gauge(rows, rowsIs, float64(n), map[string]string{"store": "cold", "table": table})
		}
	}
	return closeCatalog()
}

func (s Sources) readLag(ctx context.Context, now time.Time, r *Reading) {
	p, err := pipeline.Open(ctx, s.Env)
	if err != nil {
		return // a store has gone since: the next reading says so
	}
	defer p.Close()
	lags, err := p.Lags(ctx)
	if err != nil {
		return
	}
	r.Figures["lag_seconds"] = 0
	for _, lag := range lags {
		r.gauge(lagRecords, lagRecordsIs, float64(lag.Records), map[string]string{"reader": lag.Function, "topic": lag.Topic})
		age := 0.0
		if !lag.Oldest.IsZero() {
			age = max(0, now.Sub(lag.Oldest).Seconds())
		}
		r.gauge(lagOldest, lagOldestIs, age, map[string]string{"reader": lag.Function, "topic": lag.Topic})
		if age > r.Figures["lag_seconds"] {
			r.Figures["lag_seconds"], r.Details["lag_seconds"] = age, " It is "+lag.Function
		}
	}
}

// readConnect asks the worker of Kafka Connect, if there is one, how its connectors are.
func (s Sources) readConnect(ctx context.Context, r *Reading) {
	worker := s.Env["CONNECT_URL"]
	if worker == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	connectors, err := readConnectors(ctx, worker)
	if err != nil {
		if ctx.Err() != nil && ctx.Err() != context.DeadlineExceeded {
			return // the watch is stopped
		}
		r.Figures["connect_failures"], r.Details["connect_failures"] = 1, " The worker does not answer"
		return
	}
	var failed []string
	for _, name := range slices.Sorted(maps.Keys(connectors)) {
		c := connectors[name].Status
		if c.Connector.State == stateFailed {
			failed = append(failed, name)
		}
		for _, task := range c.Tasks {
			if task.State == stateFailed {
				failed = append(failed, fmt.Sprintf("task %d of %s", task.ID, name))
			}
		}
	}
	r.Figures["connect_failures"] = float64(len(failed))
	r.Details["connect_failures"] = " It is " + strings.Join(failed, ", ")
}

// stateFailed is that of a connector or a task that has ended by an error. Other states
// are those of work, of a start, and of a pause that somebody asked for.
const stateFailed = "FAILED"

// connector is what a worker says of one, at GET /connectors?expand=status.
type connector struct {
	Status struct {
		Connector struct{ State string }
		Tasks     []struct {
			ID    int
			State string
		}
	}
}

// connectorsLimit bounds what a worker may say of its connectors: a failed task has its
// stack trace in it.
const connectorsLimit = 4 << 20

func readConnectors(ctx context.Context, worker string) (all map[string]connector, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(worker, "/")+"/connectors?expand=status", nil)
	if err != nil {
		return nil, fmt.Errorf("ask Kafka Connect for its connectors: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask Kafka Connect for its connectors: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask Kafka Connect for its connectors: %s", answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, connectorsLimit)).Decode(&all); err != nil {
		return nil, fmt.Errorf("read the connectors of Kafka Connect: %w", err)
	}
	return all, nil
}

func (s Sources) readHome(r *Reading) {
	var stat unix.Statfs_t
	if s.Home == "" || unix.Statfs(s.Home, &stat) != nil || stat.Blocks == 0 {
		return
	}
	free := float64(stat.Bavail) / float64(stat.Blocks)
	if other, known := r.Figures["disk_free_ratio"]; !known || free < other {
		r.Figures["disk_free_ratio"], r.Details["disk_free_ratio"] = free, " It is that of "+s.Home
	}
}
