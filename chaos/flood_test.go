package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/shared/event"
)

// ordinary bounds the functions' blocks as the functions do by themselves.
func ordinary() map[string]string { return map[string]string{} }

// flooded is how many invalid records a flood has: a block of ordinary size and
// more.
const flooded = 20_000

// TestFloodOfInvalidRecordsBecomesDeadLettersAndStopsNothing writes
// invalid records by the ten thousands
// while Kafka is far away: a dead letter that waited for the one before it would
// not get through in a block's time.
func TestFloodOfInvalidRecordsBecomesDeadLettersAndStopsNothing(t *testing.T) {
	long(t)
	t.Parallel()
	for _, err := range throughFlood(t.Context(), t, absolute(t, programs)) {
		t.Error(err)
	}
}

func throughFlood(ctx context.Context, t *testing.T, programs string) []error {
	t.Helper()
	p := newPipeline(t, programs, 1, ordinary())
	random := rand.New(rand.NewPCG(*seed, 5))
	l := newLoad(t, p, random)
	if err := l.batch(ctx); err != nil {
		return []error{err}
	}
	for _, topic := range []string{event.TopicBaseRepos, event.TopicProcessedRepos} {
		if err := p.flood(ctx, topic, flooded, random); err != nil {
			return []error{fmt.Errorf("write a flood to %s: %w", topic, err)}
		}
	}
	far, near := context.WithCancel(ctx)
	slowed := make(chan error, 1)
	go func() {
		slowed <- p.links["kafka"].toxic(far, settleLimit, "downstream", "latency", `"latency":5`)
	}()
	for _, f := range functions { // in the middle of it
		pause(ctx, time.Second)
		_, _ = p.signal(ctx, f, syscall.SIGKILL)
	}
	err := l.batch(ctx)
	errs := l.settled(ctx)
	near()
	if e := <-slowed; e != nil {
		errs = append(errs, e)
	}
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}

// TestBlockThatCannotBeDoneInItsTimeIsTriedSmaller leads the sink to ClickHouse by
// a line so thin that a whole block takes longer than it is given.
func TestBlockThatCannotBeDoneInItsTimeIsTriedSmaller(t *testing.T) {
	// Each block that is too large costs 32 s: its time, and the wait until its insert
	// can no longer land. That is too long for every run of long-test.
	if *rounds == 1 && !*broken {
		t.Skip("with -chaos.rounds, as `make chaos` runs it: five minutes of waiting")
	}
	t.Parallel()
	for _, err := range throughThinLine(t.Context(), t, absolute(t, programs)) {
		t.Error(err)
	}
}

func throughThinLine(ctx context.Context, t *testing.T, programs string) []error {
	t.Helper()
	p := newPipeline(t, programs, 1, ordinary())
	l := newLoad(t, p, rand.New(rand.NewPCG(*seed, 6)))
	thin, wide := context.WithCancel(ctx)
	narrowed := make(chan error, 1)
	go func() {
		narrowed <- p.links["clickhouse"].toxic(thin, 10*time.Minute, "upstream", "bandwidth", `"rate":10`) // KB/s
	}()
	pause(ctx, 100*time.Millisecond)
	for range 50 {
		if err := l.batch(ctx); err != nil {
			wide()
			return []error{err}
		}
	}
	stored := p.someStored(ctx, 8*time.Minute)
	wide()
	errs := l.settled(ctx)
	for _, err := range []error{stored, <-narrowed} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// someStored wakes the functions until ClickHouse has rows, for some time at most.
func (p *pipeline) someStored(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := sinkclickhouse.Open(p.direct["CLICKHOUSE_URL"])
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		var rows uint64
		if err := conn.QueryRow(ctx, "SELECT count() FROM pulse.github_metrics_timeseries").Scan(&rows); err == nil && rows > 0 {
			return nil
		}
		_, _ = p.pulse(ctx, "wake") // a function that is behind says so
		pause(ctx, time.Second)
		if ctx.Err() != nil {
			return fmt.Errorf("ClickHouse has no row after %s", limit)
		}
	}
}
