package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/bench/series"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// days is how long each repository's series is: whatever the count of records,
// there is one for each day.
const days = 144

// page is how many records a sweep produces at once.
const page = 25

// produce fills the topic with n observations: every recorded series is cut
// into pieces of consecutive days, each piece is one repository, moved to the
// same calendar window, and repeats under new ids as often as needed. They
// come day by day, all repositories within a day, as sweeps would send them; if they are
// traced, each page of them from a span of its own.
func produce(ctx context.Context, cfg kafka.Config, codec *event.Codec, recording string, n int, traced bool) error {
	pieces, err := series.Cut(recording, days)
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
		if traced {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_" + event.ExtTraceparent, Value: fmt.Appendf(nil, "00-%032x-%016x-01", i/repositories+1, i/page+1)})
		}
		client.Produce(ctx, r, failed.Promise())
	}
	return failed.Err()
}
