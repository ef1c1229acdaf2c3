package aggregate_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// effects are the commands that change Redis.
func effect(command string) bool { return command == "EVALSHA" || command == "EVAL" }

var failPointStep = flag.Int64("failpoints.step", 3, "take the first effect, and then each so many effects later")

// TestFailPoints has something happen at each effect in turn, the first, the
// second and so on by failpoints.step, while three repositories are computed in blocks of four
// records. Afterwards every row is there, once, as the definitions say.
func TestFailPoints(t *testing.T) {
	for name, fault := range map[string]func(w *world, n int64) (happened func() bool){
		// From the n-th effect on Redis answers no more, and the process ends: as
		// a kill between two effects. The next finds what was done before.
		"the process dies": func(w *world, n int64) func() bool {
			var count atomic.Int64
			w.redis.Server().SetPreHook(func(c *server.Peer, command string, _ ...string) bool {
				if effect(command) {
					count.Add(1)
				}
				if count.Load() < n {
					return false
				}
				c.WriteError("ERR killed")
				return true
			})
			f := aggregate.New()
			if err := f.Start(context.Background(), w.env); err != nil {
				w.t.Fatal(err)
			}
			for deadline := time.Now().Add(10 * time.Second); count.Load() < n && !w.settled() && time.Now().Before(deadline); {
				time.Sleep(5 * time.Millisecond)
			}
			if err := f.Stop(context.Background()); err != nil {
				w.t.Fatal(err)
			}
			w.redis.Server().SetPreHook(nil)
			return func() bool { return count.Load() >= n }
		},
		// Redis loses all before the n-th command, beneath the running process.
		"Redis is wiped": func(w *world, n int64) func() bool {
			var count atomic.Int64
			w.redis.Server().SetPreHook(func(_ *server.Peer, command string, _ ...string) bool {
				if (command == "GET" || command == "HMGET" || effect(command)) && count.Add(1) == n {
					w.redis.FlushAll()
				}
				return false
			})
			return func() bool { return count.Load() >= n }
		},
		// The broker breaks off the n-th request of a transaction.
		"Kafka breaks off": func(w *world, n int64) func() bool {
			var count atomic.Int64
			for _, key := range []kmsg.Key{kmsg.Produce, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
				w.cluster.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
					w.cluster.KeepControl()
					if count.Add(1) == n {
						return nil, errors.New("broken off"), true
					}
					return nil, nil, false
				})
			}
			return func() bool { return count.Load() >= n }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n int64
			for n = 1; n <= 40; n += *failPointStep {
				w := newWorld(t)
				w.env["AGGREGATE_BLOCK_RECORDS"] = "4"
				pasts := [][]event.RepoObserved{daily(1, 5), daily(2, 5), daily(3, 5)}
				w.send(slices.Concat(pasts...)...)
				happened := fault(w, n)
				w.run()
				if err := w.exactly(pasts); err != nil {
					t.Fatalf("at effect %d: %v", n, err)
				}
				if !happened() {
					break
				}
			}
			t.Logf("%d fail points", n-1)
			if n < 5 {
				t.Errorf("only %d fail points", n-1)
			}
		})
	}
}

// settled says whether the group has committed all.
func (w *world) settled() bool {
	ends, err := kafka.Ends(context.Background(), w.kafka, event.TopicBaseRepos)
	if err != nil {
		return false
	}
	done, err := kafka.Committed(context.Background(), w.kafka, aggregate.Group, event.TopicBaseRepos)
	return err == nil && done.Covers(ends)
}

// exactly says what is wrong with the rows.
func (w *world) exactly(pasts [][]event.RepoObserved) error {
	rows := w.rows()
	got := series(rows)
	n := 0
	for _, all := range pasts {
		for i, o := range all {
			n++
			row, ok := got[o.Key()]
			if !ok {
				return fmt.Errorf("%s at %s is missing", o.NameWithOwner, o.ObservedAt)
			}
			same(w.t, "row", row, slowly(all[:i], o))
			if row.Revision != int64(i+1) || row.Late {
				return fmt.Errorf("%s at %s: revision %d, late %v", o.NameWithOwner, o.ObservedAt, row.Revision, row.Late)
			}
		}
	}
	if len(rows) != n {
		return fmt.Errorf("%d rows of %d observations", len(rows), n)
	}
	return nil
}
