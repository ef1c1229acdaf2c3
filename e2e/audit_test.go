package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// TestAuditIsCleanDuringASweepAndFindsOneValueThatDiffers: pages come all the time
// that the stores are counted. Then one field of one row is changed at a time: a
// flag, a rate, and a null that becomes the text by which others show it.
func TestAuditIsCleanDuringASweepAndFindsOneValueThatDiffers(t *testing.T) {
	long(t)
	p := newPulse(t)
	p.run("up", "--detach", "--empty")
	ctx, stop := context.WithCancel(context.Background())
	var sweep sync.WaitGroup
	if err := p.page(0); err != nil {
		t.Fatal(err)
	}
	p.want(pageSize, pageSize)
	pages := 1
	sweep.Go(func() {
		for ; ctx.Err() == nil; pages++ {
			if err := p.page(pages); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(3 * time.Second):
			}
		}
	})
	for range 4 {
		if out, err := p.try("audit", "--wait"); err != nil {
			t.Errorf("audit during a sweep: %v\n%s", err, out)
		}
	}
	stop()
	sweep.Wait()
	if a := p.audit(); a.Observations != int64(pages*pageSize) || !a.Clean {
		t.Errorf("after %d pages: %+v", pages, a)
	}

	const table = "pulse.github_metrics_timeseries"
	hour := p.query("SELECT max(observed_at) FROM " + table)
	for _, c := range []struct{ column, changed, was, what string }{
		{"late", "NOT late", "NOT late", "other velocities in ClickHouse"},
		{"is_renamed", "NOT is_renamed", "NOT is_renamed", "other velocities in ClickHouse"},
		{"stars_delta_1h", "stars_delta_1h + 1", "stars_delta_1h - 1", "other velocities in ClickHouse"},
		{"is_fork", "NOT is_fork", "NOT is_fork", "other counters in ClickHouse"},
		{"company", "'-'", "NULL", "other counters in ClickHouse"},
	} {
		set := func(value string) {
			t.Helper()
			p.exec(fmt.Sprintf("ALTER TABLE %s UPDATE %s = %s WHERE repo_id = 1 AND observed_at = '%s' SETTINGS mutations_sync = 2", table, c.column, value, hour))
		}
		set(c.changed)
		out, err := p.try("audit")
		if err == nil || strings.Count(out, "repository 1 at ") != 1 || !strings.Contains(out, c.what) {
			t.Errorf("%s is now %s: %v\n%s", c.column, c.changed, err, out)
		}
		set(c.was)
	}
	if out, err := p.try("audit"); err != nil {
		t.Errorf("all put back: %v\n%s", err, out)
	}
}

const pageSize = 100

// page has Kafka hold one more reading of some repositories, an hour later than
// the one before.
func (p *pulse) page(number int) error {
	codec, err := event.NewCodec(p.address("SCHEMA_REGISTRY_URL"))
	if err != nil {
		return err
	}
	producer, err := kafka.NewProducer(kafka.Config{Brokers: []string{p.address("KAFKA_BROKERS")}})
	if err != nil {
		return err
	}
	defer producer.Close()
	for id := range int64(pageSize) {
		o := event.RepoObserved{
			ID: 1 + id, NameWithOwner: fmt.Sprintf("o/r%d", id), Owner: "o", Name: fmt.Sprintf("r%d", id), Stars: int64(number) * id,
			ObservedAt: time.Date(2026, 1, 1, number, 0, 0, 0, time.UTC), SweepID: "s", Source: "replay",
		}
		r, err := codec.Record(context.Background(), &o, false)
		if err != nil {
			return err
		}
		producer.Produce(context.Background(), r, nil)
	}
	return producer.Flush(context.Background())
}
