// Package retention says of each store how long it keeps what is in it, how much there
// is, and how much has outlived that and goes when the store cleans up next. It changes
// nothing.
package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/m7pulse/m7pulse/infra/knative"
)

// Kept is something that a store keeps.
type Kept struct {
	Store  string        `json:"store"`
	What   string        `json:"what"` // a topic, a table, a kind of keys
	For    time.Duration `json:"-"`    // Forever, or as the store itself says
	Count  int64         `json:"count"`
	Unit   string        `json:"unit"` // of Count: records, rows, keys
	Bytes  int64         `json:"bytes"`
	Oldest *time.Time    `json:"oldest"` // nil: there is nothing, or it is not known
	Due    int64         `json:"due"`    // of Count: older than For
	Days   *float64      `json:"days"`   // For, null for ever
}

// Forever is how long something is kept that no store deletes by itself.
const Forever time.Duration = -1

// Read looks at Kafka's topics, ClickHouse's tables and Redis' keys, as env names them.
// A store that does not answer is an error, and the others are read all the same.
// Iceberg is maintained by a function of its own, which says what it will do.
func Read(ctx context.Context, env map[string]string, topics []knative.Topic) (all []Kept, err error) {
	now := time.Now()
	for _, store := range []struct {
		name string
		read func() ([]Kept, error)
	}{
		{"Kafka", func() ([]Kept, error) { return readKafka(ctx, env, topics, now) }},
		{"ClickHouse", func() ([]Kept, error) { return readClickHouse(ctx, env["CLICKHOUSE_URL"]) }},
		{"Redis", func() ([]Kept, error) { return readRedis(ctx, env["REDIS_URL"]) }},
	} {
		kept, failed := store.read()
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("read what %s keeps: %w", store.name, failed))
		}
		for _, k := range kept {
			k.Store = store.name
			if k.For != Forever {
				days := k.For.Hours() / 24
				k.Days = &days
			}
			all = append(all, k)
		}
	}
	return all, err
}
