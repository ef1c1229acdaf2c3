package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/shared/event"
)

// bulkLimit is how long aggregate's bulk job may take for a few hundred records.
const bulkLimit = time.Minute

// TestHistoriesBeyondALogThatBeganAgainStopAggregate: a Kafka that lost its disk
// may keep a topic's id. Its offsets begin again at 0, and mean other records than
// those that Redis knows.
func TestHistoriesBeyondALogThatBeganAgainStopAggregate(t *testing.T) {
	long(t)
	t.Parallel()
	for _, err := range throughLogThatBeganAgain(t.Context(), t, absolute(t, programs)) {
		t.Error(err)
	}
}

// throughLogThatBeganAgain has Redis far beyond the log and the group's offsets
// lost, which is how both stand after such a loss.
func throughLogThatBeganAgain(ctx context.Context, t *testing.T, programs string) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	p := newPipeline(t, programs, 0, small()) // no bell rings: the bulk job alone is at work
	l := newLoad(t, p, rand.New(rand.NewPCG(*seed, 7)))
	if err := l.batch(ctx); err != nil {
		return []error{err}
	}
	if err := p.drainInBulk(ctx, "aggregate"); err != nil {
		return []error{err}
	}
	const state = "github:pipeline:state"
	fields, err := p.redis.HGetAll(ctx, state).Result()
	if err != nil {
		return []error{err}
	}
	beyond := map[string]string{}
	for name, value := range fields {
		if strings.Contains(name, "/") { // else it is no partition's
			at, err := strconv.Atoi(value)
			if err != nil {
				return []error{fmt.Errorf("read the position %s: %w", name, err)}
			}
			beyond[name] = strconv.Itoa(at + 5_000)
		}
	}
	if len(beyond) == 0 {
		return []error{errors.New("aggregate left no position in Redis")}
	}
	if err := p.redis.HSet(ctx, state, beyond).Err(); err != nil {
		return []error{err}
	}
	client, err := kgo.NewClient(p.kafka.Options()...)
	if err != nil {
		return []error{err}
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteGroup(ctx, aggregate.Group); err != nil {
		return []error{fmt.Errorf("delete the group: %w", err)}
	}

	if err := l.batch(ctx); err != nil {
		return []error{err}
	}
	var errs []error
	if err := p.drainInBulk(ctx, "aggregate"); err == nil {
		errs = append(errs, errors.New("aggregate went on with histories of another log"))
	}
	log, err := os.ReadFile(filepath.Join(p.dir, "log", "aggregate-stray.log"))
	if err != nil {
		errs = append(errs, err)
	}
	if !strings.Contains(string(log), "the broker has lost records") {
		errs = append(errs, errors.New("aggregate did not say that the broker has lost records"))
	}
	left, err := p.redis.HGetAll(ctx, state).Result()
	if err != nil {
		errs = append(errs, err)
	}
	maps.DeleteFunc(left, func(name, _ string) bool { return !strings.Contains(name, "/") })
	if !maps.Equal(left, beyond) {
		errs = append(errs, fmt.Errorf("the positions in Redis were %v, and are %v", beyond, left))
	}
	return errs
}

// TestBulkJobGoesOnAfterItsSessionExpired stops aggregate's bulk job in the
// middle of a transaction, for longer than its group waits for it.
func TestBulkJobGoesOnAfterItsSessionExpired(t *testing.T) {
	long(t)
	t.Parallel()
	for _, err := range throughExpiredSession(t.Context(), t, absolute(t, programs)) {
		t.Error(err)
	}
}

func throughExpiredSession(ctx context.Context, t *testing.T, programs string) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	p := newPipeline(t, programs, 0, small()) // no bell rings: the bulk job alone is at work
	l := newLoad(t, p, rand.New(rand.NewPCG(*seed, 8)))
	for range batches {
		if err := l.batch(ctx); err != nil {
			return []error{err}
		}
	}
	opened := make(chan *stray, 1)
	stopped := make(chan bool, 1)
	go func() {
		stopped <- p.links["kafka"].gate.set(ctx, &trap{sees: request(28), spring: func() { _ = (<-opened).Signal(syscall.SIGSTOP) }})
	}()
	s, err := p.replica("aggregate", "drain")
	if err != nil {
		return []error{err}
	}
	opened <- s
	if !<-stopped {
		return []error{errors.New("the bulk job committed nothing")}
	}
	pause(ctx, 14*time.Second)
	_ = s.Signal(syscall.SIGCONT)
	if err := s.succeeds(ctx); err != nil {
		return []error{err}
	}
	return l.settled(ctx)
}

// TestBulkJobGoesOnWithoutTheScriptsOfRedis has Redis forget its scripts again and
// again, as a restart makes it do. A function that is idle ends and comes back with
// them; a bulk job has to go on.
func TestBulkJobGoesOnWithoutTheScriptsOfRedis(t *testing.T) {
	long(t)
	t.Parallel()
	for _, err := range throughFlushedScripts(t.Context(), t, absolute(t, programs)) {
		t.Error(err)
	}
}

func throughFlushedScripts(ctx context.Context, t *testing.T, programs string) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	p := newPipeline(t, programs, 0, small()) // no bell rings: the bulk job alone is at work
	l := newLoad(t, p, rand.New(rand.NewPCG(*seed, 10)))
	for range batches {
		if err := l.batch(ctx); err != nil {
			return []error{err}
		}
	}
	s, err := p.replica("aggregate", "drain")
	if err != nil {
		return []error{err}
	}
	flushing, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for flushing.Err() == nil {
			_ = p.redis.ScriptFlush(flushing).Err() // the next one follows
			pause(flushing, 20*time.Millisecond)
		}
	}()
	if err := s.succeeds(ctx); err != nil {
		return []error{err}
	}
	stop()
	return l.settled(ctx)
}

// TestRowsOfAnOutputThatIsWidenedAreStoredAlike: the sinks read nothing until rows,
// what restates them and repeats have been written to a topic that grew meanwhile.
func TestRowsOfAnOutputThatIsWidenedAreStoredAlike(t *testing.T) {
	long(t)
	t.Parallel()
	for _, err := range throughWidenedOutput(t.Context(), t, absolute(t, programs)) {
		t.Error(err)
	}
}

func throughWidenedOutput(ctx context.Context, t *testing.T, programs string) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	p := newPipeline(t, programs, 0, small()) // no bell rings: aggregate's bulk mode alone is at work
	l := newLoad(t, p, rand.New(rand.NewPCG(*seed, 9)))
	for n := range batches {
		if err := l.batch(ctx); err != nil {
			return []error{err}
		}
		if err := p.drainInBulk(ctx, "aggregate"); err != nil {
			return []error{err}
		}
		if n%2 == 0 && n < 6 {
			if err := p.widen(ctx, event.TopicProcessedRepos); err != nil {
				return []error{fmt.Errorf("give %s a partition more: %w", event.TopicProcessedRepos, err)}
			}
		}
	}
	return l.settled(ctx)
}

// drainInBulk runs a function's bulk job to its end.
func (p *pipeline) drainInBulk(ctx context.Context, function string) error {
	s, err := p.replica(function, "drain")
	if err != nil {
		return err
	}
	return s.succeeds(ctx)
}

// succeeds waits for the end of a bulk job.
func (s *stray) succeeds(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bulkLimit)
	defer cancel()
	select {
	case <-s.Done():
	case <-ctx.Done():
		return fmt.Errorf("a bulk job did not end: %w", ctx.Err())
	}
	if !s.State().Success() {
		return fmt.Errorf("a bulk job ended with %s", s.State())
	}
	return nil
}
