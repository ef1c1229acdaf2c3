package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// gatherer collects what a client fetches into one block for each topic.
type gatherer struct {
	client *kgo.Client
	bounds Bounds
	size   *blockSize
}

func newGatherer(client *kgo.Client, bounds Bounds, size *blockSize) *gatherer {
	return &gatherer{client: client, bounds: bounds, size: size}
}

// next returns at least one block, within the bounds. When ctx ends it returns
// what it has, if anything, so that what was fetched is still processed.
func (g *gatherer) next(ctx context.Context) (map[string]*Block, error) {
	blocks := map[string]*Block{}
	readable := Offsets{} // the ends of what can be read
	records, bytes := 0, 0
	most, reduced := g.size.limit()
	var deadline, quiet time.Time
	for records < most && bytes < g.bounds.Bytes {
		poll, cancel := ctx, context.CancelFunc(func() {})
		if len(blocks) > 0 {
			poll, cancel = context.WithDeadline(ctx, quiet)
		}
		fetches := g.client.PollRecords(poll, most-records)
		cancel()
		if err := fetchError(fetches); err != nil {
			return nil, err
		}
		if len(blocks) == 0 && !fetches.Empty() {
			deadline = time.Now().Add(g.bounds.Age)
		}
		quiet = deadline
		if g.bounds.Quiet > 0 && g.bounds.Quiet < time.Until(deadline) {
			quiet = time.Now().Add(g.bounds.Quiet)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			readable[Partition{p.Topic, p.Partition}] = p.LastStableOffset
		})
		fetches.EachRecord(func(r *kgo.Record) {
			b := blocks[r.Topic]
			if b == nil {
				b = &Block{First: Offsets{}, Next: Offsets{}}
				blocks[r.Topic] = b
			}
			bytes += b.add(r)
			records++
		})
		over := fetches.Empty() || !time.Now().Before(deadline)
		if ctx.Err() != nil || len(blocks) > 0 && over {
			break
		}
	}
	if len(blocks) == 0 {
		return nil, ctx.Err()
	}
	for _, b := range blocks {
		if reduced {
			break // a store that waits for more records would make its blocks large again
		}
		for p, next := range b.Next {
			b.More = b.More || next < readable[p]
		}
	}
	return blocks, nil
}

// add adds a record to the block and returns its size in bytes. A control record
// only advances the offset.
func (b *Block) add(r *kgo.Record) int {
	p := Partition{r.Topic, r.Partition}
	if _, ok := b.First[p]; !ok {
		b.First[p] = r.Offset
	}
	b.Next[p] = r.Offset + 1
	if r.Attrs.IsControl() {
		return 0
	}
	b.Records = append(b.Records, r)
	return len(r.Key) + len(r.Value)
}

// fetchError returns the first error of a poll. That the poll's own time is over is
// not an error.
func fetchError(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
			continue
		}
		return fmt.Errorf("fetch %s/%d: %w", e.Topic, e.Partition, e.Err)
	}
	return nil
}
