package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// KeyedTable is a table that a sink fills with records that are known by a key: the
// events of feeds, or signals.
type KeyedTable interface {
	// System says which store it is in: Iceberg.
	System() string
	// Account counts all records, by the day of the time in their key.
	Account(ctx context.Context) (*account.Account, error)
}

// Keyed is what an audit says of the events of feeds, or of signals.
type Keyed struct {
	Kafka   int64            `json:"kafka"`         // distinct
	Records int64            `json:"kafka_records"` // with repeats
	Tables  map[string]int64 `json:"tables"`        // distinct, by store
}

// Events compares the events of feeds at a moment, and says where Kafka and the stores
// differ: see keyed.
func Events(ctx context.Context, log Log, at Moment) (*Keyed, []string, error) {
	sums := account.NewSummer()
	return keyed(ctx, log, at.Ends, event.TopicEvents, "events", at.Events, func(r *kgo.Record, to account.Counter) error {
		e, err := log.Codec.GitHubEvent(ctx, r)
		if err == nil && !log.Purged.has(e.Owner, e.ObservedAt) && !log.Forgotten.In(e) {
			key, sum := sums.Event(e)
			to.Add(key, "", sum)
		}
		return err
	})
}

// signals compares the signals: see keyed.
func signals(ctx context.Context, log Log, ends kafka.Offsets, tables []KeyedTable) (*Keyed, []string, error) {
	sums := account.NewSummer()
	return keyed(ctx, log, ends, event.TopicSignals, "signals", tables, func(r *kgo.Record, to account.Counter) error {
		s, err := log.Codec.Signal(ctx, r)
		if err == nil && !log.Purged.has(s.Owner, s.ObservedAt) {
			key, sum := sums.Signal(s)
			to.Add(key, "", sum)
		}
		return err
	})
}

// keyed counts what Kafka and every table hold of a topic, and says where they differ:
// each record must be once in every table, with the same values. What Kafka's retention
// has deleted is compared between the tables alone.
func keyed(ctx context.Context, log Log, ends kafka.Offsets, topic, what string, tables []KeyedTable, add func(*kgo.Record, account.Counter) error) (*Keyed, []string, error) {
	count := account.NewCount()
	err := log.read(ctx, topic, ends, func(r *kgo.Record) error { return add(r, count) })
	inKafka, counted := count.Account() // it closes its file, whatever has failed
	if err != nil {
		return nil, nil, err
	}
	if counted != nil {
		return nil, nil, counted
	}
	truncated, err := kafka.Truncated(ctx, log.Kafka, topic)
	if err != nil {
		return nil, nil, err
	}
	held := map[string]*account.Account{}
	for _, t := range tables {
		if held[t.System()], err = t.Account(ctx); err != nil {
			return nil, nil, err
		}
	}
	out, differences := compareKeyed(what, inKafka, held, truncated)
	return out, differences, nil
}

func compareKeyed(what string, inKafka *account.Account, tables map[string]*account.Account, truncated bool) (*Keyed, []string) {
	out := &Keyed{Kafka: inKafka.Total.Distinct, Records: inKafka.Total.Rows, Tables: map[string]int64{}}
	days := map[string]bool{}
	for day := range inKafka.Days {
		days[day] = true
	}
	var differences []string
	systems := slices.Sorted(maps.Keys(tables))
	for _, system := range systems {
		t := tables[system]
		out.Tables[system] = t.Total.Distinct
		if n := t.Total.Duplicates(); n != 0 {
			differences = append(differences, fmt.Sprintf("%s: %s holds %d rows twice", what, system, n))
		}
		for day := range t.Days {
			days[day] = true
		}
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		want, from := inKafka.Days[day], "Kafka"
		if truncated && len(systems) > 0 {
			want, from = tables[systems[0]].Days[day], systems[0]
			if n := inKafka.Days[day].Distinct; n > want.Distinct {
				differences = append(differences, fmt.Sprintf("%s of %s: %s holds %d, Kafka %d", what, day, from, want.Distinct, n))
			}
		}
		for _, system := range systems {
			switch got := tables[system].Days[day]; {
			case got.Distinct != want.Distinct:
				differences = append(differences, fmt.Sprintf("%s of %s: %s holds %d, %s %d", what, day, system, got.Distinct, from, want.Distinct))
			case got.Observed != want.Observed:
				differences = append(differences, fmt.Sprintf("%s of %s: %s and %s differ in values", what, day, system, from))
			}
		}
	}
	return out, differences
}
