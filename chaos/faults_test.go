package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/event"
)

// fault breaks something for a while. It ends by itself when ctx does. errMissed
// says that it found nothing to break.
type fault struct {
	name  string
	throw func(ctx context.Context, p *pipeline, random *rand.Rand) error
}

// between is a time from a to b.
func between(random *rand.Rand, a, b time.Duration) time.Duration {
	return a + time.Duration(random.Int64N(int64(b-a)))
}

// faults are all that is thrown at the pipeline.
func faults(p *pipeline) (all []fault) {
	add := func(name string, throw func(ctx context.Context, p *pipeline, random *rand.Rand) error) {
		all = append(all, fault{name, throw})
	}
	for _, f := range functions {
		add("kill -9: "+f, func(ctx context.Context, p *pipeline, random *rand.Rand) error {
			_, err := p.signal(ctx, f, syscall.SIGKILL)
			return err
		})
		add("SIGTERM: "+f, func(ctx context.Context, p *pipeline, random *rand.Rand) error {
			_, err := p.signal(ctx, f, syscall.SIGTERM)
			return err
		})
		add("two replicas: "+f, func(ctx context.Context, p *pipeline, random *rand.Rand) error {
			s, err := p.replica(f)
			if err != nil {
				return err
			}
			pause(ctx, between(random, 500*time.Millisecond, 4*time.Second))
			if random.IntN(2) == 0 {
				return s.Signal(syscall.SIGKILL)
			}
			_ = s.Stop(15 * time.Second)
			return nil
		})
		add("zombie: "+f, func(ctx context.Context, p *pipeline, random *rand.Rand) error {
			return p.zombie(ctx, f, between(random, 500*time.Millisecond, 3*time.Second))
		})
		if f == "notify" {
			continue // it has no bulk jobs
		}
		add("bulk job beside it: "+f, func(ctx context.Context, p *pipeline, random *rand.Rand) error {
			s, err := p.replica(f, "drain")
			if err != nil {
				return err
			}
			select {
			case <-s.Done():
			case <-ctx.Done():
				_ = s.Stop(15 * time.Second)
			}
			return nil
		})
	}
	for _, f := range []string{"sink-clickhouse", "sink-iceberg"} {
		// Longer than the writer's lease, its insert's limit, and a commit.
		add("long zombie: "+f, func(ctx context.Context, p *pipeline, random *rand.Rand) error {
			return p.zombie(ctx, f, 25*time.Second)
		})
	}
	// Longer than the group's session timeout: the broker gives the process's
	// partitions away, and the process learns of it when it goes on.
	add("long stop: aggregate", func(ctx context.Context, p *pipeline, _ *rand.Rand) error {
		pid, err := p.signal(ctx, "aggregate", syscall.SIGSTOP)
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.stopped = append(p.stopped, pid)
		p.mu.Unlock()
		pause(ctx, 14*time.Second)
		_ = syscall.Kill(-pid, syscall.SIGCONT)
		return nil
	})
	for name, l := range p.links {
		for _, n := range []struct {
			name  string
			throw func(ctx context.Context, random *rand.Rand) error
		}{
			{"outage", func(ctx context.Context, random *rand.Rand) error {
				return l.down(ctx, between(random, 200*time.Millisecond, 4*time.Second))
			}},
			{"slow", func(ctx context.Context, random *rand.Rand) error {
				return l.toxic(ctx, between(random, time.Second, 3*time.Second), "downstream", "latency",
					fmt.Sprintf(`"latency":%d,"jitter":%d`, 50+random.IntN(500), 50))
			}},
			{"resets", func(ctx context.Context, random *rand.Rand) error {
				return l.toxic(ctx, between(random, 200*time.Millisecond, 2*time.Second), "downstream", "reset_peer", fmt.Sprintf(`"timeout":%d`, random.IntN(50)))
			}},
			{"half answers", func(ctx context.Context, random *rand.Rand) error {
				return l.toxic(ctx, between(random, 200*time.Millisecond, 2*time.Second), "downstream", "limit_data", fmt.Sprintf(`"bytes":%d`, 1+random.IntN(2000)))
			}},
			{"half requests", func(ctx context.Context, random *rand.Rand) error {
				return l.toxic(ctx, between(random, 200*time.Millisecond, 2*time.Second), "upstream", "limit_data", fmt.Sprintf(`"bytes":%d`, 1+random.IntN(20000)))
			}},
			// So slow that a block does not get through in its time.
			{"long starvation", func(ctx context.Context, random *rand.Rand) error {
				return l.toxic(ctx, 25*time.Second, "upstream", "bandwidth", `"rate":2`)
			}},
			{"black hole", func(ctx context.Context, random *rand.Rand) error {
				return l.toxic(ctx, between(random, 200*time.Millisecond, 2*time.Second), "downstream", "timeout", `"timeout":0`)
			}},
		} {
			add(n.name+": "+name, func(ctx context.Context, p *pipeline, random *rand.Rand) error { return n.throw(ctx, random) })
		}
	}
	for _, e := range effects() {
		for _, after := range []bool{false, true} {
			when := "before"
			if after {
				when = "after"
			}
			add(fmt.Sprintf("kill -9 %s %s: %s", when, e.what, e.function), func(ctx context.Context, p *pipeline, _ *rand.Rand) error {
				ctx, cancel := context.WithTimeout(ctx, effectLimit)
				defer cancel()
				if !p.links[e.server].gate.set(ctx, &trap{sees: e.sees, after: after, spring: func() { _, _ = p.signal(ctx, e.function, syscall.SIGKILL) }}) {
					return errMissed
				}
				return nil
			})
		}
	}
	add("kill -9 after the catalog's commit: sink-iceberg", func(ctx context.Context, p *pipeline, _ *rand.Rand) error {
		ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
		defer cancel()
		log := p.catalogFile() + "-wal"
		for was := written(log); ctx.Err() == nil; time.Sleep(time.Millisecond) {
			if written(log).After(was) {
				_, err := p.signal(ctx, "sink-iceberg", syscall.SIGKILL)
				return err
			}
		}
		return errMissed
	})
	add("lock held: catalog", func(ctx context.Context, p *pipeline, random *rand.Rand) error {
		return p.lockCatalog(ctx, between(random, 500*time.Millisecond, 8*time.Second))
	})
	add("foreign commit: catalog", func(ctx context.Context, p *pipeline, random *rand.Rand) error { return p.foreign(ctx, random) })
	add("compaction: sink-iceberg", func(ctx context.Context, p *pipeline, _ *rand.Rand) error { return p.maintain(ctx) })
	add("compaction by command: catalog", func(ctx context.Context, p *pipeline, _ *rand.Rand) error {
		if _, err := p.pulse(ctx, "maintain", "--json"); err != nil {
			return errMissed // the catalog was locked or full, or the round was over first
		}
		return nil
	})
	add("restart that loses the last second and all scripts: redis", func(ctx context.Context, p *pipeline, random *rand.Rand) error {
		return p.restartRedis(ctx, between(random, 100*time.Millisecond, time.Second))
	})
	add("emptied for a while: registry", func(ctx context.Context, p *pipeline, random *rand.Rand) error {
		return p.emptyRegistry(ctx, between(random, time.Second, 3*time.Second))
	})
	for _, topic := range []string{event.TopicBaseRepos, event.TopicProcessedRepos, event.TopicSweeps} {
		add("widened: "+topic, func(ctx context.Context, p *pipeline, _ *rand.Rand) error { return p.widen(ctx, topic) })
	}
	for _, topic := range []string{event.TopicBaseRepos, event.TopicProcessedRepos} {
		add("flood of invalid records: "+topic, func(ctx context.Context, p *pipeline, random *rand.Rand) error {
			return p.flood(ctx, topic, 500, random)
		})
	}
	add("wiped: redis", func(ctx context.Context, p *pipeline, _ *rand.Rand) error {
		if err := p.redis.FlushAll(ctx).Err(); err != nil {
			return errMissed // it was being restarted
		}
		return nil
	})
	for name, d := range p.disks {
		if d.small {
			add("disk full: "+name, func(ctx context.Context, p *pipeline, random *rand.Rand) error {
				if err := d.fill(); err != nil {
					return err
				}
				defer d.free()
				pause(ctx, between(random, 500*time.Millisecond, 3*time.Second))
				return nil
			})
		}
	}
	return all
}

// effectLimit is how long a fault waits for its effect: past the load, for a
// machine that is slow works off most of it then.
const effectLimit = 20 * time.Second

// effect is a step of a function that changes something outside of it, as it is
// seen on its way to a server.
type effect struct {
	function, server, what string
	sees                   func([]byte) bool
}

// effects are all steps between which a process may end.
func effects() []effect {
	insert := func(table string) func([]byte) bool { return contains("INSERT", table) }
	put := func(ending string) func([]byte) bool { return contains("PUT /", ending) }
	return []effect{
		{"aggregate", "kafka", "Produce", request(0)},
		{"aggregate", "kafka", "TxnOffsetCommit", request(28)},
		{"aggregate", "kafka", "EndTxn", request(26)},
		{"aggregate", "redis", "histories", contains("evalsha", "github:pipeline:history")},
		{"aggregate", "redis", "positions", contains("evalsha", "github:pipeline:state")},
		{"sink-clickhouse", "redis", "the lease", contains("evalsha", "writer:{sink-clickhouse}")},
		{"sink-clickhouse", "clickhouse", "state rows", insert("pulse.github_processed_repos")},
		{"sink-clickhouse", "clickhouse", "series rows", insert("pulse.github_metrics_timeseries")},
		{"sink-clickhouse", "clickhouse", "ledger rows", insert("pulse.sweeps")},
		{"sink-clickhouse", "clickhouse", "the marker", insert("pulse.sink_commits")},
		{"notify", "redis", "the outbox", contains("evalsha", "github:pipeline:notify}:seen")},
		{"notify", "target", "a message", contains("POST")},
		{"sink-iceberg", "object store", "a data file", put(".parquet")},
		{"sink-iceberg", "object store", "a manifest", put(".avro")},
		{"sink-iceberg", "object store", "the metadata", put(".metadata.json")},
	}
}

// zombie stops a function's process for a time, has another at work meanwhile,
// and then lets it go on with what it had in hand.
func (p *pipeline) zombie(ctx context.Context, function string, d time.Duration) error {
	pid, err := p.signal(ctx, function, syscall.SIGSTOP)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.stopped = append(p.stopped, pid)
	p.mu.Unlock()
	s, err := p.replica(function)
	if err != nil {
		return err
	}
	pause(ctx, d)
	_ = syscall.Kill(-pid, syscall.SIGCONT)
	pause(ctx, 2*time.Second)
	_ = s.Stop(15 * time.Second)
	return nil
}

// foreign commits to one of the tables as somebody else would, who knows nothing
// of our offsets.
func (p *pipeline) foreign(ctx context.Context, random *rand.Rand) error {
	name := []string{"base_repos", "processed_repos", "sweeps"}[random.IntN(3)]
	t, err := p.catalog.LoadTable(ctx, table.Identifier{"github", name})
	if err != nil {
		return errMissed // not there yet
	}
	tx := t.NewTransaction()
	if err := tx.SetProperties(iceberg.Properties{"somebody.else": fmt.Sprint(random.Int())}); err != nil {
		return err
	}
	if _, err := tx.Commit(ctx); err != nil {
		return errMissed // the sink was faster
	}
	return nil
}

// maintain has the cold store's files compacted while all goes on.
func (p *pipeline) maintain(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cluster.URL("sink-iceberg"), strings.NewReader(`{"do":"maintain"}`))
	if err != nil {
		return err
	}
	for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "chaos", "Ce-Source": "/chaos", "Ce-Type": "dev.knative.sources.ping", "Content-Type": "application/json"} {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return errMissed
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return errMissed
	}
	return nil
}

// written is when a file was last written.
func written(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
