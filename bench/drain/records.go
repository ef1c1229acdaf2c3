package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/replay"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// days is how long each repository's series is: whatever the count of records,
// there is one for each day.
const days = 144

// partitions of the topics, as in the manifests.
const partitions = 12

// produce fills the topic with n observations: every recorded series is cut
// into pieces of consecutive days, each piece is one repository, moved to the
// same calendar window, and repeats under new ids as often as needed. They
// come day by day, all repositories within a day, as sweeps would send them.
func produce(ctx context.Context, cfg kafka.Config, codec *event.Codec, recording string, n int) error {
	pieces, err := cut(recording)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(cfg.Options(), kgo.ProducerBatchCompression(kgo.SnappyCompression()), kgo.ProducerLinger(20*time.Millisecond))...)
	if err != nil {
		return err
	}
	defer client.Close()
	repositories := (n + days - 1) / days
	var failed kgo.FirstErrPromise
	first := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -days-1)
	for i := range n {
		day, repository := i/repositories, i%repositories
		o := pieces[repository%len(pieces)][day]
		o.ID = int64(1_000_000 + repository)
		if round := repository / len(pieces); round > 0 {
			o.Owner += "-" + strconv.Itoa(round)
			o.NameWithOwner = o.Owner + "/" + o.Name
		}
		o.ObservedAt = first.AddDate(0, 0, day).Add(24 * time.Hour * time.Duration(repository) / time.Duration(repositories)).Truncate(time.Millisecond)
		if o.Forks == nil {
			o.Forks = new(int64)
		}
		r, err := codec.Record(ctx, &o, false)
		if err != nil {
			return err
		}
		client.Produce(ctx, r, failed.Promise())
	}
	return failed.Err()
}

// cut reads the recording and cuts its series.
func cut(recording string) ([][]event.RepoObserved, error) {
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
		for piece := range slices.Chunk(all, days) {
			if len(piece) == days {
				pieces = append(pieces, piece)
			}
		}
	}
	if len(pieces) == 0 {
		return nil, fmt.Errorf("%s has no series of %d days", recording, days)
	}
	return pieces, nil
}

// recreate makes topics anew, empty.
func recreate(ctx context.Context, admin *kadm.Client, topics ...string) error {
	if _, err := admin.DeleteTopics(ctx, topics...); err != nil {
		return fmt.Errorf("delete %v: %w", topics, err)
	}
	for _, topic := range topics {
		var err error
		for range 100 {
			if _, err = admin.CreateTopic(ctx, partitions, 1, nil, topic); err == nil {
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
		if err != nil {
			return fmt.Errorf("create %s: %w", topic, err)
		}
	}
	return nil
}

// forget removes a consumer group. A broker that has just started needs a
// moment before it knows its groups.
func forget(ctx context.Context, admin *kadm.Client, group string) (err error) {
	for range 50 {
		if _, err = admin.DeleteGroup(ctx, group); err == nil || errors.Is(err, kerr.GroupIDNotFound) {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return fmt.Errorf("delete the group %s: %w", group, err)
}
