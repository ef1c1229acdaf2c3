package event

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TypeDeadLetter is the type of an event that tells why a record could not be
// processed.
const TypeDeadLetter = "dev.m7pulse.dead_letter.v1"

// TypeLetterSettled is the type of an event that tells what became of a dead
// letter.
const TypeLetterSettled = "dev.m7pulse.dead_letter.settled.v1"

// DeadLetterTopic is where the poison of a topic goes.
func DeadLetterTopic(topic string) string { return topic + ".dlq" }

// DeadLetter is a record that cannot be processed, in readable form, with all
// that is needed to mend and send it again. Its id is the place it came from,
// so the same record reported twice is one dead letter.
type DeadLetter struct {
	Reason    string              `json:"reason"`
	Stage     string              `json:"stage"` // the function that met it
	Topic     string              `json:"topic"`
	Partition int32               `json:"partition"`
	Offset    int64               `json:"offset"`
	Time      time.Time           `json:"time"` // the record's own
	SchemaID  *uint32             `json:"schema_id,omitempty"`
	Headers   map[string][]string `json:"headers,omitempty"`
	Key       string              `json:"key,omitempty"`
	Text      string              `json:"text,omitempty"` // the value, where it is readable
	Key64     []byte              `json:"key_base64"`
	Value64   []byte              `json:"value_base64"` // the original bytes
}

// ID is the identity of the dead letter: topic/partition/offset.
func (d *DeadLetter) ID() string { return fmt.Sprintf("%s/%d/%d", d.Topic, d.Partition, d.Offset) }

// NewDeadLetter describes a record that a stage could not process.
func NewDeadLetter(stage string, r *kgo.Record, reason error) *DeadLetter {
	d := &DeadLetter{
		Reason: reason.Error(), Stage: stage,
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp.UTC(),
		Key64: r.Key, Value64: r.Value,
	}
	if len(r.Value) >= frame && r.Value[0] == 0 {
		id := binary.BigEndian.Uint32(r.Value[1:])
		d.SchemaID = &id
	}
	if len(r.Headers) > 0 {
		d.Headers = map[string][]string{}
		for _, h := range r.Headers {
			d.Headers[h.Key] = append(d.Headers[h.Key], string(h.Value))
		}
	}
	if utf8.Valid(r.Key) {
		d.Key = string(r.Key)
	}
	if utf8.Valid(r.Value) {
		d.Text = string(r.Value)
	}
	return d
}

// Record is the dead letter as a record of its topic.
func (d *DeadLetter) Record() (*kgo.Record, error) {
	value, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode the dead letter of %s: %w", d.ID(), err)
	}
	return &kgo.Record{
		Topic: DeadLetterTopic(d.Topic),
		Key:   []byte(d.ID()),
		Value: value,
		Headers: []kgo.RecordHeader{
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte(d.ID())},
			{Key: "ce_type", Value: []byte(TypeDeadLetter)},
			{Key: "ce_source", Value: []byte("/m7pulse/" + d.Stage)},
			{Key: "ce_subject", Value: []byte(d.Topic)},
			{Key: "content-type", Value: []byte(ContentJSON)},
		},
	}, nil
}

// Original is the record that the letter was written of, to be sent again: the
// same key, value and headers, marked as one that may repeat, for a stage that
// had no trouble with it has it already.
func (d *DeadLetter) Original() *kgo.Record {
	r := &kgo.Record{Topic: d.Topic, Key: d.Key64, Value: d.Value64, Timestamp: d.Time}
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		if strings.EqualFold(name, "ce_"+MayRepeat) {
			continue
		}
		for _, value := range d.Headers[name] {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
	}
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_" + MayRepeat, Value: []byte("true")})
	return r
}

// What may become of a dead letter.
const (
	Retried = "retried" // its record was sent again
	Dropped = "dropped"
)

// LetterSettled says what became of a dead letter. It stands in the same topic,
// behind it.
type LetterSettled struct {
	ID  string    `json:"id"`
	How string    `json:"how"` // Retried or Dropped
	At  time.Time `json:"at"`
}

// Settle is the record that settles the letter.
func (d *DeadLetter) Settle(how string, at time.Time) (*kgo.Record, error) {
	value, err := json.Marshal(LetterSettled{d.ID(), how, at.UTC()})
	if err != nil {
		return nil, fmt.Errorf("settle the dead letter of %s: %w", d.ID(), err)
	}
	return &kgo.Record{
		Topic: DeadLetterTopic(d.Topic),
		Key:   []byte(d.ID()),
		Value: value,
		Headers: []kgo.RecordHeader{
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte(d.ID() + "#" + how)},
			{Key: "ce_type", Value: []byte(TypeLetterSettled)},
			{Key: "ce_source", Value: []byte("/m7pulse/pulse")},
			{Key: "ce_subject", Value: []byte(d.Topic)},
			{Key: "content-type", Value: []byte(ContentJSON)},
		},
	}, nil
}
