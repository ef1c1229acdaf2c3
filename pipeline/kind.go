package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// kindLimit is how long a store may take to say, or to note, what it holds.
const kindLimit = 20 * time.Second

// kindStore is a store that remembers where its data comes from.
type kindStore interface {
	// Kind is what the store holds, or "" if that was not noted.
	Kind(ctx context.Context) (string, error)
	// KeepKind notes the kind; what was noted before stays. It is safe to repeat.
	KeepKind(ctx context.Context, kind string) error
}

// KeepKind notes the kind of the stack that is started in every store whose
// address is given. If one of them holds another kind, it refuses the start and
// changes none.
func KeepKind(ctx context.Context, env map[string]string, kind stack.Kind) error {
	ctx, cancel := context.WithTimeout(ctx, kindLimit)
	defer cancel()
	stores, closers, err := openKindStores(ctx, env)
	defer func() {
		for _, c := range closers {
			_ = c() // all has been read and written
		}
	}()
	if err != nil {
		return err
	}
	admit := func() error {
		var errs []error
		for name, s := range stores {
			holds, err := s.Kind(ctx)
			if err != nil {
				errs = append(errs, fmt.Errorf("read what kind of data %s holds: %w", name, err))
				continue
			}
			errs = append(errs, kind.Admit(name, stack.Kind(holds)))
		}
		return errors.Join(errs...)
	}
	if err := admit(); err != nil {
		return err
	}
	for name, s := range stores {
		if err := s.KeepKind(ctx, string(kind)); err != nil {
			return fmt.Errorf("note what kind of data %s holds: %w", name, err)
		}
	}
	return admit() // another start may have been first
}

// openKindStores opens the stores whose addresses are given, by the names of their
// variables.
func openKindStores(ctx context.Context, env map[string]string) (stores map[string]kindStore, closers []func() error, err error) {
	stores = map[string]kindStore{}
	if env["KAFKA_BROKERS"] != "" {
		cfg, err := stack.KafkaOf(ctx, env)
		if err != nil {
			return stores, closers, err
		}
		stores["KAFKA_BROKERS"] = kafkaKind{cfg}
	}
	if address := env["REDIS_URL"]; address != "" {
		list, err := sweep.OpenOwners(address)
		if err != nil {
			return stores, closers, err
		}
		stores["REDIS_URL"] = list
		closers = append(closers, list.Close)
	}
	if address := env["CLICKHOUSE_URL"]; address != "" {
		conn, err := sinkclickhouse.Open(address)
		if err != nil {
			return stores, closers, err
		}
		stores["CLICKHOUSE_URL"] = sinkclickhouse.Origin{Conn: conn}
		closers = append(closers, conn.Close)
	}
	if env["ICEBERG_CATALOG_URI"] != "" {
		at, err := IcebergLocation(ctx, env)
		if err != nil {
			return stores, closers, err
		}
		catalog, closeCatalog, err := sinkiceberg.Open(ctx, at)
		if err != nil {
			return stores, closers, fmt.Errorf("ICEBERG_CATALOG_URI: %w", err)
		}
		stores["ICEBERG_CATALOG_URI"] = sinkiceberg.Origin{Catalog: catalog}
		closers = append(closers, closeCatalog)
	}
	return stores, closers, nil
}

// topicKind says in its first record what the data in this Kafka is; later records
// are ignored.
const topicKind = "m7pulse.kind"

type kafkaKind struct{ cfg kafka.Config }

// Kind reads the first record of the topic.
func (k kafkaKind) Kind(ctx context.Context) (kind string, err error) {
	client, err := kafka.NewProducer(k.cfg)
	if err != nil {
		return "", err
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(ctx, topicKind)
	if err != nil {
		return "", err
	}
	if topic := topics[topicKind]; errors.Is(topic.Err, kerr.UnknownTopicOrPartition) {
		return "", nil
	} else if topic.Err != nil {
		return "", topic.Err
	}
	ends, err := kafka.Ends(ctx, k.cfg, topicKind)
	if err != nil {
		return "", err
	}
	p := kafka.Partition{Topic: topicKind}
	err = kafka.ReadRange(ctx, k.cfg, p, 0, min(1, ends[p]), func(records []*kgo.Record, _ int64) error {
		for _, r := range records {
			kind = string(r.Value)
		}
		return nil
	})
	return kind, err
}

// KeepKind appends a record, unless there is one.
func (k kafkaKind) KeepKind(ctx context.Context, kind string) error {
	if holds, err := k.Kind(ctx); err != nil || holds != "" {
		return err
	}
	client, err := kafka.NewProducer(k.cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	forever := "-1"
	_, err = kadm.NewClient(client).CreateTopic(ctx, 1, -1, map[string]*string{"retention.ms": &forever, "retention.bytes": &forever}, topicKind)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return err
	}
	return client.ProduceSync(ctx, &kgo.Record{Topic: topicKind, Value: []byte(kind)}).FirstErr()
}
