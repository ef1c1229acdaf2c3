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

// EventTable is a table that a sink fills with the events of feeds.
type EventTable interface {
	// System says which store it is in: Iceberg.
	System() string
	// Account counts all events, by the day on which they happened.
	Account(ctx context.Context) (*account.Account, error)
}

// Events is what an audit says of the events of feeds.
type Events struct {
	Kafka   int64            `json:"kafka"`         // distinct
	Records int64            `json:"kafka_records"` // with repeats
	Tables  map[string]int64 `json:"tables"`        // distinct, by store
}

// events counts what Kafka and every table hold of the events of feeds, and says where
// they differ: each event must be once in every table, with the same values. What
// Kafka's retention has deleted is compared between the tables alone.
func events(ctx context.Context, log Log, ends kafka.Offsets, tables []EventTable) (*Events, []string, error) {
	count, sums := account.NewCount(), account.NewSummer()
	err := log.read(ctx, event.TopicEvents, ends, func(r *kgo.Record) error {
		e, err := log.Codec.GitHubEvent(ctx, r)
		if err != nil {
			return err
		}
		if !log.Purged.has(e.Owner, e.ObservedAt) {
			key, sum := sums.Event(e)
			count.Add(key, "", sum)
		}
		return nil
	})
	inKafka, counted := count.Account() // it closes its file, whatever has failed
	if err != nil {
		return nil, nil, err
	}
	if counted != nil {
		return nil, nil, counted
	}
	truncated, err := kafka.Truncated(ctx, log.Kafka, event.TopicEvents)
	if err != nil {
		return nil, nil, err
	}
	held := map[string]*account.Account{}
	for _, t := range tables {
		if held[t.System()], err = t.Account(ctx); err != nil {
			return nil, nil, err
		}
	}
	out, differences := compareEvents(inKafka, held, truncated)
	return out, differences, nil
}

func compareEvents(inKafka *account.Account, tables map[string]*account.Account, truncated bool) (*Events, []string) {
	out := &Events{Kafka: inKafka.Total.Distinct, Records: inKafka.Total.Rows, Tables: map[string]int64{}}
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
			differences = append(differences, fmt.Sprintf("events: %s holds %d rows twice", system, n))
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
				differences = append(differences, fmt.Sprintf("events of %s: %s holds %d, Kafka %d", day, from, want.Distinct, n))
			}
		}
		for _, system := range systems {
			switch got := tables[system].Days[day]; {
			case got.Distinct != want.Distinct:
				differences = append(differences, fmt.Sprintf("events of %s: %s holds %d, %s %d", day, system, got.Distinct, from, want.Distinct))
			case got.Observed != want.Observed:
				differences = append(differences, fmt.Sprintf("events of %s: %s and %s differ in values", day, system, from))
			}
		}
	}
	return out, differences
}
