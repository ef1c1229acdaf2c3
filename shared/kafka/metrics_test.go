package kafka_test

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// measured are the metrics of a drain of one topic, by name.
func measured(t *testing.T, d *kafka.Drain, topic string) map[string]*dto.Metric {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(d.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.Metric{}
	for _, f := range families {
		if m := f.Metric[0]; len(f.Metric) != 1 || m.Label[0].GetName() != "topic" || m.Label[0].GetValue() != topic {
			t.Errorf("%s has %v", f.GetName(), f.Metric)
		}
		all[f.GetName()] = f.Metric[0]
	}
	return all
}

// What a bell waits for is measured once the bell is answered: its answer sends it.
func TestBlocksAreMeasuredBeforeTheirBellsAreAnswered(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 3, "in", "out")
	produce(t, cfg, "in", 0, 1000)
	s := &memoryStore{fail: errors.New("the store is away")}
	storing := drainInto(t, cfg, s)
	defer stop(t, storing)
	if storing.Wake(t.Context()) == nil {
		t.Error("nothing has failed")
	}
	s.set(nil)
	wake(t, storing)
	transacting, err := kafka.NewTransactDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, "in", kafka.Group{Name: "g", Member: "0"}, (&doubling{committed: map[string]int{}}).transform)
	if err != nil {
		t.Fatal(err)
	}
	transacting.Start()
	defer stop(t, transacting)
	wake(t, transacting)
	for name, d := range map[string]*kafka.Drain{"storing": storing, "transacting": transacting} {
		m := measured(t, d, "in")
		records, seconds := m["m7pulse_block_records"].GetHistogram(), m["m7pulse_block_seconds"].GetHistogram()
		if records.GetSampleSum() != 1000 || records.GetSampleCount() < 10 || seconds.GetSampleCount() != records.GetSampleCount() || seconds.GetSampleSum() <= 0 {
			t.Errorf("%s: records of blocks %v, seconds %v", name, records, seconds)
		}
	}
	if n := measured(t, storing, "in")["m7pulse_block_failures_total"].GetCounter().GetValue(); n < 1 {
		t.Errorf("%g failures", n)
	}
}
