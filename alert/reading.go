package alert

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/m7pulse/m7pulse/deadletters"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
)

// Reading is what was measured at one time. A figure that could not be read is missing.
type Reading struct {
	Figures map[string]float64
	Details map[string]string // what a signal says besides, by figure
}

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
	r := Reading{map[string]float64{}, map[string]string{}}
	var down []string
	for _, source := range []struct {
		name string
		read func(context.Context, time.Time, Reading) error
	}{{"Kafka", s.readKafka}, {"Redis", s.readRedis}, {"ClickHouse", s.readClickHouse}, {"Iceberg", s.readIceberg}} {
		limited, cancel := context.WithTimeout(ctx, readLimit)
		if err := source.read(limited, now, r); err != nil {
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
		s.readLag(limited, now, r)
	}
	s.readHome(r)
	return r
}

func (s Sources) readKafka(ctx context.Context, _ time.Time, r Reading) error {
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

// readRedis finds the user with the fewest points left of an hour that is not over.
func (s Sources) readRedis(ctx context.Context, now time.Time, r Reading) error {
	client, err := redisclient.New(s.Env["REDIS_URL"])
	if err != nil {
		return err
	}
	defer client.Close()
	var one sync.Mutex // the masters of a cluster answer beside each other
	left, of := 1.0, ""
	err = redisclient.EachMaster(ctx, client, func(ctx context.Context, server redis.UniversalClient) error {
		keys := server.Scan(ctx, 0, "github:pipeline:budget:{*}*", 500).Iterator()
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
			one.Lock()
			if err1 == nil && err2 == nil && time.UnixMilli(reset).After(now) && remaining/pointsOfAnHour < left {
				left, of = remaining/pointsOfAnHour, strings.TrimPrefix(key, "github:pipeline:budget:")
			}
			one.Unlock()
		}
		return keys.Err()
	})
	if err != nil {
		return err
	}
	r.Figures["quota_left_ratio"], r.Details["quota_left_ratio"] = left, " It is "+of
	return nil
}

// readClickHouse asks one query. A store without our schema yet has none of its figures.
func (s Sources) readClickHouse(ctx context.Context, now time.Time, r Reading) error {
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

func (s Sources) readFigures(ctx context.Context, conn driver.Conn, now time.Time, r Reading) error {
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
	if kind != stack.Recorded { // nothing is due in a recording
		r.Figures["late_seconds"] = 0
		if due := now.UTC().Truncate(s.Period); f.Newest.Before(due) {
			r.Figures["late_seconds"] = now.Sub(due).Seconds()
		}
	}
	r.Figures["owners_failed"], r.Figures["owners_incomplete"] = float64(f.Failed), float64(f.Incomplete)
	r.Figures["completeness_ratio"] = 1
	if f.Expected > 0 {
		r.Figures["completeness_ratio"] = float64(f.Seen) / float64(f.Expected)
		r.Details["completeness_ratio"] = fmt.Sprintf(" Seen: %d of %d", f.Seen, f.Expected)
	}
	r.Figures["hot_cold_differences"], r.Figures["quality_failures"], r.Figures["event_coverage_failures"] = float64(f.HotCold), float64(f.Critical), float64(f.Coverage)
	r.Figures["disk_free_ratio"] = f.Free
	return nil
}

func (s Sources) readIceberg(ctx context.Context, _ time.Time, _ Reading) error {
	at, err := pipeline.IcebergLocation(ctx, s.Env)
	if err != nil {
		return err
	}
	c, closeCatalog, err := sinkiceberg.Open(ctx, at)
	if err != nil {
		return err
	}
	_, err = sinkiceberg.LoadSnapshot(ctx, c, sinkiceberg.TableSweeps)
	return errors.Join(err, closeCatalog())
}

func (s Sources) readLag(ctx context.Context, now time.Time, r Reading) {
	p, err := pipeline.Open(ctx, s.Env)
	if err != nil {
		return // a store has gone since: the next reading says so
	}
	defer p.Close()
	oldest, function, err := p.Oldest(ctx)
	if err != nil {
		return
	}
	r.Figures["lag_seconds"] = 0
	if function != "" {
		r.Figures["lag_seconds"] = max(0, now.Sub(oldest).Seconds())
		r.Details["lag_seconds"] = " It is " + function
	}
}

func (s Sources) readHome(r Reading) {
	var stat unix.Statfs_t
	if s.Home == "" || unix.Statfs(s.Home, &stat) != nil || stat.Blocks == 0 {
		return
	}
	free := float64(stat.Bavail) / float64(stat.Blocks)
	if other, known := r.Figures["disk_free_ratio"]; !known || free < other {
		r.Figures["disk_free_ratio"], r.Details["disk_free_ratio"] = free, " It is that of "+s.Home
	}
}
