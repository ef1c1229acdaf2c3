package knative

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// progress keeps, for each partition, up to which offset all records are done,
// though they finish in any order. It holds only those on their way.
type progress struct {
	mu         sync.Mutex
	partitions map[int32]*partition
}

type partition struct {
	open   map[int64]struct{} // taken and not done
	next   int64              // behind the last one taken
	stored int64              // committed
}

func newProgress() *progress {
	return &progress{partitions: map[int32]*partition{}}
}

// track notes a record. It returns false for one that is not to be delivered: the
// marker of a transaction.
func (p *progress) track(r *kgo.Record) (*partition, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.partitions[r.Partition]
	if of == nil {
		of = &partition{open: map[int64]struct{}{}, stored: -1}
		p.partitions[r.Partition] = of
	}
	of.next = r.Offset + 1
	if r.Attrs.IsControl() {
		return of, false
	}
	of.open[r.Offset] = struct{}{}
	return of, true
}

// done notes that a record was delivered or given up. For a partition that was
// revoked meanwhile this has no effect.
func (p *progress) done(it item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(it.of.open, it.record.Offset)
}

// position is the first offset that is not done.
func (of *partition) position() int64 {
	first := of.next
	for offset := range of.open {
		first = min(first, offset)
	}
	return first
}

// positions returns how far each partition is done.
func (p *progress) positions() map[int32]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[int32]int64, len(p.partitions))
	for n, of := range p.partitions {
		out[n] = of.position()
	}
	return out
}

// uncommitted returns the positions that have moved since they were committed.
func (p *progress) uncommitted() map[int32]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[int32]int64{}
	for n, of := range p.partitions {
		if at := of.position(); at > of.stored {
			out[n] = at
		}
	}
	return out
}

func (p *progress) committed(offsets map[int32]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, at := range offsets {
		if of := p.partitions[n]; of != nil {
			of.stored = at
		}
	}
}

func (p *progress) forget(partitions []int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range partitions {
		delete(p.partitions, n)
	}
}

// commitOffsets commits in the name of the group's member.
func commitOffsets(ctx context.Context, client *kgo.Client, topic string, offsets map[int32]int64) error {
	at := make(map[int32]kgo.EpochOffset, len(offsets))
	for n, offset := range offsets {
		at[n] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	var failed error
	client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{topic: at},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			failed = err
			if err != nil {
				return
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						failed = errors.Join(failed, fmt.Errorf("%s/%d: %w", topic, p.Partition, err))
					}
				}
			}
		})
	return failed
}
