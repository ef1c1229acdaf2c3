// Package series is what the benchmarks have in common: recorded series as
// material, topics that begin empty, a schema registry and a Kafka.
package series

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/infra/local/kafka"
	"github.com/m7pulse/m7pulse/infra/local/registry"
	"github.com/m7pulse/m7pulse/replay"
	"github.com/m7pulse/m7pulse/shared/event"
)

// Cut reads a recording and cuts each repository's series into pieces of some
// consecutive observations.
func Cut(recording string, length int) ([][]event.RepoObserved, error) {
	series := map[int64][]event.RepoObserved{}
	for e, err := range replay.Read(filepath.Clean(recording)) {
		if err != nil {
			return nil, err
		}
		var o event.RepoObserved
		if err := e.DataAs(&o); err != nil {
			return nil, err
		}
		o.Normalize()
		series[o.ID] = append(series[o.ID], o)
	}
	var pieces [][]event.RepoObserved
	for _, id := range slices.Sorted(maps.Keys(series)) {
		all := series[id]
		slices.SortFunc(all, func(a, b event.RepoObserved) int { return a.ObservedAt.Compare(b.ObservedAt) })
		for piece := range slices.Chunk(all, length) {
			if len(piece) == length {
				pieces = append(pieces, piece)
			}
		}
	}
	if len(pieces) == 0 {
		return nil, fmt.Errorf("%s has no series of %d observations", recording, length)
	}
	return pieces, nil
}

// Partitions of the topics, as in the manifests.
const Partitions = 12

// Recreate deletes topics and creates them again, empty.
func Recreate(ctx context.Context, admin *kadm.Client, topics ...string) error {
	if _, err := admin.DeleteTopics(ctx, topics...); err != nil {
		return fmt.Errorf("delete %v: %w", topics, err)
	}
	for _, topic := range topics {
		var err error
		for range 100 {
			if _, err = admin.CreateTopic(ctx, Partitions, 1, nil, topic); err == nil {
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
		if err != nil {
			return fmt.Errorf("create %s: %w", topic, err)
		}
	}
	var err error
	for range 100 { // a broker may not know yet what its controller has made
		var ends kadm.ListedOffsets
		if ends, err = admin.ListEndOffsets(ctx, topics...); err == nil {
			err = ends.Error()
		}
		if err == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return fmt.Errorf("list the ends of %v: %w", topics, err)
}

// Forget removes a consumer group. A broker that has just started needs a
// moment before it knows its groups.
func Forget(ctx context.Context, admin *kadm.Client, group string) (err error) {
	for range 50 {
		if _, err = admin.DeleteGroup(ctx, group); err == nil || errors.Is(err, kerr.GroupIDNotFound) {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return fmt.Errorf("delete the group %s: %w", group, err)
}

// Registry serves an embedded schema registry that keeps its schemas in a folder.
func Registry(dir string) (url string, stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("make the registry's folder: %w", err)
	}
	r, err := registry.Open(dir)
	if err != nil {
		return "", nil, err
	}
	server := httptest.NewServer(r.Handler())
	return server.URL, func() error {
		server.Close()
		return r.Close()
	}, nil
}

// Kafka runs that of a local stack in this process, with the topics that aggregate
// writes to besides its own.
func Kafka(ctx context.Context) (address string, end func(), err error) {
	dir, err := os.MkdirTemp("", "m7pulse-bench-kafka-*")
	if err != nil {
		return "", nil, err
	}
	broker, err := kafka.Open(ctx, kafka.Config{Dir: dir})
	if err != nil {
		return "", nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	if err != nil {
		return "", nil, err
	}
	defer client.Close()
	topics := []string{event.TopicSignals, event.DeadLetterTopic(event.TopicBaseRepos)}
	return broker.Addr(), func() { _, _ = broker.Close(), os.RemoveAll(dir) }, Recreate(ctx, kadm.NewClient(client), topics...)
}
