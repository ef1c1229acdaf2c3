package kafka

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// Poison are records that can never be processed, in the order of each partition.
type Poison []poisoned

type poisoned struct {
	record *kgo.Record
	reason error
}

// Letters writes the dead letters of one stage. A letter's id is the record's
// place, so that a reader counts one that was written twice as one.
//
// Blocks are tried again with their poison, as often as it takes, but a letter is
// written once by each process: it remembers up to which offset all poison of a
// partition is durable. What it cannot know is what a process before it wrote
// that ended between a letter and the offsets of its block.
type Letters struct {
	stage  string
	client *kgo.Client

	mu     sync.Mutex
	buried Offsets // behind the last poison whose letter, and all before it, is durable
}

// NewLetters returns the letters of a stage, over a producer of their own.
func NewLetters(cfg Config, stage string) (*Letters, error) {
	client, err := NewProducer(cfg)
	if err != nil {
		return nil, err
	}
	return &Letters{stage: stage, client: client, buried: Offsets{}}, nil
}

// Close lets go of the connection.
func (l *Letters) Close() { l.client.Close() }

// Bury writes poison to the dead letters of its topics, all together, and returns
// once that is durable. When it fails, a later call goes on behind what was
// written.
func (l *Letters) Bury(ctx context.Context, poison Poison) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	failed := make([]error, len(poison))
	var written sync.WaitGroup
	for i, bad := range poison {
		r := bad.record
		if r.Offset < l.buried[Partition{r.Topic, r.Partition}] {
			continue
		}
		letter, err := event.NewDeadLetter(l.stage, r, bad.reason).Record()
		if err != nil {
			failed[i] = err
			continue
		}
		written.Add(1)
		l.client.Produce(ctx, letter, func(_ *kgo.Record, err error) {
			failed[i] = err
			written.Done()
		})
	}
	written.Wait()
	var first error
	gaps := map[Partition]bool{}
	for i, bad := range poison {
		r := bad.record
		p := Partition{r.Topic, r.Partition}
		if failed[i] != nil && first == nil {
			first = fmt.Errorf("write the dead letter of %s/%d/%d: %w", r.Topic, r.Partition, r.Offset, failed[i])
		}
		gaps[p] = gaps[p] || failed[i] != nil
		if !gaps[p] {
			l.buried[p] = max(l.buried[p], r.Offset+1)
		}
	}
	return first
}
