package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// After a kill, kfake takes a transaction that was open for aborted, but writes no marker that says so. The same transactional id then goes on under the
// same producer id, and a reader of committed records treats its next transaction as part of the aborted one: committed records are not seen. So after
// a kill the broker first runs on a port that nobody knows, and the markers are written.

const (
	runningFile = "running"     // exists while a broker runs: one that is found at Open says that it was killed
	stableFile  = "stable.json" // up to where each partition has no open transaction, as of the last Close
)

// stable is topic id → partition → offset. Topics that it lacks are new since.
type stable map[string]map[int32]int64

// recoverTransactions ends the transactions that a kill has left open.
func recoverTransactions(ctx context.Context, addr, dir string) error {
	known := stable{}
	text, err := os.ReadFile(filepath.Join(dir, stableFile))
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", stableFile, err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer client.Close()
	ends, from, err := unread(ctx, client, known)
	if err != nil {
		return err
	}
	client.AddConsumePartitions(from)
	open := map[string]map[int32]map[int64]int16{} // topic → partition → producer id → epoch
	for len(ends) > 0 {
		wait, cancel := context.WithTimeout(ctx, time.Minute) // for one answer, not for all
		fetches := client.PollFetches(wait)
		cancel()
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read what was open: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if open[r.Topic] == nil {
				open[r.Topic] = map[int32]map[int64]int16{}
			}
			if open[r.Topic][r.Partition] == nil {
				open[r.Topic][r.Partition] = map[int64]int16{}
			}
			switch {
			case r.Attrs.IsControl():
				delete(open[r.Topic][r.Partition], r.ProducerID)
			case r.Attrs.IsTransactional():
				open[r.Topic][r.Partition][r.ProducerID] = r.ProducerEpoch
			}
			if end, ok := ends[r.Topic][r.Partition]; ok && r.Offset+1 >= end {
				if delete(ends[r.Topic], r.Partition); len(ends[r.Topic]) == 0 {
					delete(ends, r.Topic)
				}
			}
		})
	}
	return abort(ctx, client, open)
}

// unread says what to read: where each partition with records past its stable offset ends, and from where.
func unread(ctx context.Context, client *kgo.Client, known stable) (map[string]map[int32]int64, map[string]map[int32]kgo.Offset, error) {
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("list topics: %w", err)
	}
	starts, err := listOffsets(ctx, admin.ListStartOffsets, topics)
	if err != nil {
		return nil, nil, err
	}
	ends, err := listOffsets(ctx, admin.ListEndOffsets, topics)
	if err != nil {
		return nil, nil, err
	}
	to, from := map[string]map[int32]int64{}, map[string]map[int32]kgo.Offset{}
	for topic, partitions := range ends {
		for partition, end := range partitions {
			start := max(starts[topic][partition], known[topics[topic].ID.String()][partition])
			if start >= end {
				continue
			}
			if to[topic] == nil {
				to[topic], from[topic] = map[int32]int64{}, map[int32]kgo.Offset{}
			}
			to[topic][partition], from[topic][partition] = end, kgo.NewOffset().At(start)
		}
	}
	return to, from, nil
}

// abort writes the markers.
func abort(ctx context.Context, client *kgo.Client, open map[string]map[int32]map[int64]int16) error {
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	for topic, partitions := range open {
		for partition, producers := range partitions {
			for id, epoch := range producers {
				t := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
				t.Topic, t.Partitions = topic, []int32{partition}
				m := kmsg.NewWriteTxnMarkersRequestMarker()
				m.ProducerID, m.ProducerEpoch, m.Committed, m.Topics = id, epoch, false, append(m.Topics, t)
				req.Markers = append(req.Markers, m)
			}
		}
	}
	if len(req.Markers) == 0 {
		return nil
	}
	for _, shard := range client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return fmt.Errorf("abort what was open: %w", shard.Err)
		}
		for _, m := range shard.Resp.(*kmsg.WriteTxnMarkersResponse).Markers {
			for _, t := range m.Topics {
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						return fmt.Errorf("abort what was open in %s/%d: %w", t.Topic, p.Partition, err)
					}
				}
			}
		}
	}
	return nil
}

// saveStable keeps the offsets up to which nothing is open, for the next recovery to start from. A broker that is closed keeps open transactions itself.
func saveStable(ctx context.Context, addr, dir string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	offsets, err := listOffsets(ctx, admin.ListCommittedOffsets, topics)
	if err != nil {
		return err
	}
	now := stable{}
	for topic, partitions := range offsets {
		now[topics[topic].ID.String()] = partitions
	}
	text, err := json.Marshal(now)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, stableFile)
	if err := os.WriteFile(path+".tmp", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// listOffsets asks for one offset of every partition.
func listOffsets(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics kadm.TopicDetails) (map[string]map[int32]int64, error) {
	offsets := map[string]map[int32]int64{}
	if len(topics) == 0 { // asked for none, it would list all
		return offsets, nil
	}
	listed, err := list(ctx, topics.Names()...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	listed.Each(func(o kadm.ListedOffset) {
		if offsets[o.Topic] == nil {
			offsets[o.Topic] = map[int32]int64{}
		}
		offsets[o.Topic][o.Partition] = o.Offset
	})
	return offsets, nil
}
