package sinkiceberg

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// offsetsKey is the property, of a table and of each snapshot's summary, that
// holds how far its topic is stored. The two are written in one commit; another
// writer's commit drops the summary's, so both are read.
const offsetsKey = "m7pulse.offsets"

// offsets are the next offsets by partition under a topic's id, cumulative:
// every commit repeats all of them, so that the current snapshot is enough.
type offsets struct {
	TopicID string          `json:"topic_id"`
	Next    map[int32]int64 `json:"next"`
}

// readOffsets reads a table's offsets; a table without any has none.
func readOffsets(t *table.Table) (offsets, error) {
	o := offsets{Next: map[int32]int64{}}
	sources := []iceberg.Properties{t.Properties()}
	if s := t.CurrentSnapshot(); s != nil && s.Summary != nil {
		sources = append(sources, s.Summary.Properties)
	}
	for _, props := range sources {
		text, ok := props[offsetsKey]
		if !ok {
			continue
		}
		var stored offsets
		if err := json.Unmarshal([]byte(text), &stored); err != nil {
			return o, fmt.Errorf("read %s of table %v: %w", offsetsKey, t.Identifier(), err)
		}
		if o.TopicID != "" && stored.TopicID != o.TopicID {
			return o, fmt.Errorf("%w: table %v holds offsets of two topic ids, %s and %s", kafka.ErrFatal, t.Identifier(), o.TopicID, stored.TopicID)
		}
		o.TopicID = stored.TopicID
		for p, next := range stored.Next {
			o.Next[p] = max(o.Next[p], next)
		}
	}
	return o, nil
}

// advanced returns the offsets after a block.
func (o offsets) advanced(topicID string, b kafka.Block) offsets {
	out := offsets{TopicID: topicID, Next: maps.Clone(o.Next)}
	for p, next := range b.Next {
		out.Next[p.Number] = max(out.Next[p.Number], next)
	}
	return out
}

// covers reports whether all of a block is stored already.
func (o offsets) covers(b kafka.Block) bool {
	for p, next := range b.Next {
		if o.Next[p.Number] < next {
			return false
		}
	}
	return true
}

// notBehind reports whether no partition is behind earlier offsets, under the same
// topic id.
func (o offsets) notBehind(before offsets) bool {
	for p, next := range before.Next {
		if now, ok := o.Next[p]; !ok || now < next {
			return false
		}
	}
	return o.TopicID == before.TopicID || before.TopicID == ""
}

// precede reports whether no record of a block is stored yet. There may be a gap
// between the last block and this one, of records that were deleted or aborted.
func (o offsets) precede(b kafka.Block) bool {
	for p, first := range b.First {
		if o.Next[p.Number] > first {
			return false
		}
	}
	return true
}

func (o offsets) properties() (iceberg.Properties, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode offsets: %w", err)
	}
	return iceberg.Properties{offsetsKey: string(text)}, nil
}
