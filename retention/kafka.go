package retention

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/infra/knative"
	"github.com/m7pulse/m7pulse/infra/local/stack"
)

// readKafka says of each topic how long the broker keeps its records. The broker deletes
// whole segments, so some records that are due stay until the rest of theirs is.
func readKafka(ctx context.Context, env map[string]string, topics []knative.Topic, now time.Time) ([]Kept, error) {
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(cfg.Options(), kgo.WithLogger(nil))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var all []Kept
	for _, t := range topics {
		k, err := readTopic(ctx, admin, t.Name, now)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			continue // no function has written to it yet
		}
		if err != nil {
			return all, fmt.Errorf("topic %s: %w", t.Name, err)
		}
		all = append(all, k)
	}
	return all, nil
}

func readTopic(ctx context.Context, admin *kadm.Client, topic string, now time.Time) (k Kept, err error) {
	k = Kept{What: topic, Unit: "records", For: Forever}
	if k.For, err = retentionOf(ctx, admin, topic); err != nil {
		return k, err
	}
	starts, err := listed(admin.ListStartOffsets(ctx, topic))
	if err != nil {
		return k, err
	}
	ends, err := listed(admin.ListEndOffsets(ctx, topic))
	if err != nil {
		return k, err
	}
	oldest, err := listed(admin.ListOffsetsAfterMilli(ctx, 0, topic))
	if err != nil {
		return k, err
	}
	starts.Each(func(start kadm.ListedOffset) {
		end, _ := ends.Lookup(topic, start.Partition)
		k.Count += end.Offset - start.Offset
		if first, ok := oldest.Lookup(topic, start.Partition); ok && first.Timestamp >= 0 && end.Offset > start.Offset {
			if at := time.UnixMilli(first.Timestamp).UTC(); k.Oldest == nil || at.Before(*k.Oldest) {
				k.Oldest = &at
			}
		}
	})
	if k.For != Forever {
		within, err := listed(admin.ListOffsetsAfterMilli(ctx, now.Add(-k.For).UnixMilli(), topic))
		if err != nil {
			return k, err
		}
		starts.Each(func(start kadm.ListedOffset) {
			if first, ok := within.Lookup(topic, start.Partition); ok {
				k.Due += max(0, first.Offset-start.Offset)
			}
		})
	}
	set := kadm.TopicsSet{}
	set.Add(topic)
	disks, err := admin.DescribeAllLogDirs(ctx, set)
	if err != nil {
		return k, err
	}
	disks.Each(func(d kadm.DescribedLogDir) { k.Bytes += d.Size() }) // of all replicas
	return k, nil
}

func retentionOf(ctx context.Context, admin *kadm.Client, topic string) (time.Duration, error) {
	all, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return 0, err
	}
	config, err := all.On(topic, nil)
	if err == nil {
		err = config.Err
	}
	if err != nil {
		return 0, err
	}
	for _, c := range config.Configs {
		if c.Key != "retention.ms" {
			continue
		}
		ms, err := strconv.ParseInt(c.MaybeValue(), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("retention.ms: %w", err)
		}
		if ms < 0 {
			return Forever, nil
		}
		return time.Duration(ms) * time.Millisecond, nil
	}
	return 0, errors.New("the broker does not say its retention.ms")
}

// listed is what was listed, of all partitions or of none.
func listed(offsets kadm.ListedOffsets, err error) (kadm.ListedOffsets, error) {
	return offsets, errors.Join(err, offsets.Error())
}
