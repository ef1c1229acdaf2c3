package kafka

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// Invalid are records that can never be processed, in order within each partition.
type Invalid []invalidRecord

type invalidRecord struct {
	record *kgo.Record
	reason error
}

// DeadLetters writes the dead letters of one stage. A dead letter's id is the
// position of its record, so that a reader can count one that was written twice once.
//
// A block may be tried many times, but one process writes the dead letter of a record
// once: it remembers up to which offset those of a partition are durable. A dead
// letter is written twice if a process ended between writing it and storing the
// offsets of its block.
type DeadLetters struct {
	stage  string
	client *kgo.Client

	mu      sync.Mutex
	written Offsets // all dead letters of records before these are durable
}

// NewDeadLetters returns the dead letters of a stage, with a producer of their own.
// Close closes it.
func NewDeadLetters(cfg Config, stage string) (*DeadLetters, error) {
	client, err := NewProducer(cfg)
	if err != nil {
		return nil, err
	}
	return &DeadLetters{stage: stage, client: client, written: Offsets{}}, nil
}

// Close closes the producer.
func (l *DeadLetters) Close() { l.client.Close() }

// Write writes the dead letters of records to those of their topics, and returns once
// they are durable. It is safe to repeat: after an error, a later call leaves out what
// has been written.
func (l *DeadLetters) Write(ctx context.Context, invalid Invalid) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	failed := make([]error, len(invalid))
	var written sync.WaitGroup
	for i, v := range invalid {
		r := v.record
		if r.Offset < l.written[Partition{r.Topic, r.Partition}] {
			continue
		}
		letter, err := event.NewDeadLetter(l.stage, r, v.reason).Record()
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
	for i, v := range invalid {
		r := v.record
		p := Partition{r.Topic, r.Partition}
		if failed[i] != nil && first == nil {
			first = fmt.Errorf("write the dead letter of %s/%d/%d: %w", r.Topic, r.Partition, r.Offset, failed[i])
		}
		gaps[p] = gaps[p] || failed[i] != nil
		if !gaps[p] {
			l.written[p] = max(l.written[p], r.Offset+1)
		}
	}
	return first
}
