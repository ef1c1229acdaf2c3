package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TypeDeadLetter is the type of an event that holds a record that could not be
// processed, and the reason.
const TypeDeadLetter = "dev.m7pulse.dead_letter.v1"

// TypeLetterSettled is the type of an event that marks a dead letter as retried or
// dropped.
const TypeLetterSettled = "dev.m7pulse.dead_letter.settled.v1"

// OnlyPart is the extension of a record that is sent again for one part alone.
const OnlyPart = "onlypart"

// DeadLetterTopic returns the topic of a topic's dead letters.
func DeadLetterTopic(topic string) string { return topic + ".dlq" }

// DeadLetter is a record that cannot be processed, in readable form, with all
// that is needed to correct it and send it again. Its id is the record's position, and
// the part if there is one, so what is reported twice is one dead letter.
type DeadLetter struct {
	Reason string `json:"reason"`
	Stage  string `json:"stage"` // the function that could not process it
	// Part is what of the record could not be done, where the stage does several things
	// with one that may fail apart: the name of a target of notify. "": all of it.
	Part      string              `json:"part,omitempty"`
	Topic     string              `json:"topic"`
	Partition int32               `json:"partition"`
	Offset    int64               `json:"offset"`
	Time      time.Time           `json:"time"` // the record's own
	SchemaID  *uint32             `json:"schema_id,omitempty"`
	Headers   map[string][]string `json:"headers,omitempty"`
	Key       string              `json:"key,omitempty"`
	Text      string              `json:"text,omitempty"` // the value, where it is readable and small enough
	Key64     []byte              `json:"key_base64"`
	Value64   []byte              `json:"value_base64"` // the original bytes
	Cut       *Cut                `json:"cut,omitempty"`
}

// Cut says that a dead letter holds only part of its record, because the whole would
// be larger than Kafka accepts: key, headers and value may be cut. The whole record is
// at its position as long as its topic retains it.
type Cut struct {
	Bytes  int    `json:"value_bytes"`  // of the whole value
	SHA256 string `json:"value_sha256"` // of the whole value, in hex
}

// ID is the identity of the dead letter: topic/partition/offset, and /part.
func (d *DeadLetter) ID() string {
	id := fmt.Sprintf("%s/%d/%d", d.Topic, d.Partition, d.Offset)
	if d.Part != "" {
		id += "/" + d.Part
	}
	return id
}

// NewDeadLetter describes a record that a stage could not process.
func NewDeadLetter(stage string, r *kgo.Record, reason error) *DeadLetter {
	d := &DeadLetter{
		Reason: shorten(reason.Error(), maxReasonText), Stage: stage,
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp.UTC(),
		Key64: r.Key, Value64: r.Value,
	}
	if len(r.Value) >= frame && r.Value[0] == 0 {
		id := binary.BigEndian.Uint32(r.Value[1:])
		d.SchemaID = &id
	}
	d.Headers = headersOf(r.Headers)
	if utf8.Valid(r.Key) {
		d.Key = string(r.Key)
	}
	if utf8.Valid(r.Value) {
		d.Text = string(r.Value)
	}
	return d
}

func headersOf(headers []kgo.RecordHeader) map[string][]string {
	if len(headers) == 0 {
		return nil
	}
	all := map[string][]string{}
	for _, h := range headers {
		all[h.Key] = append(all[h.Key], string(h.Value))
	}
	return all
}

// Record returns the dead letter as a record of its topic, of at most MaxRecord bytes:
// if it would be larger, the readable text is left out, then parts of the original,
// as Cut says.
func (d *DeadLetter) Record() (*kgo.Record, error) {
	value, err := json.Marshal(d)
	if err == nil && len(value) > maxLetter {
		value, err = d.fit()
	}
	if err != nil {
		return nil, fmt.Errorf("encode the dead letter of %s: %w", d.ID(), err)
	}
	return d.record(d.ID(), TypeDeadLetter, d.Stage, value), nil
}

// record is an event of the dead letter, from a stage.
func (d *DeadLetter) record(id, ceType, stage string, value []byte) *kgo.Record {
	return &kgo.Record{
		Topic: DeadLetterTopic(d.Topic),
		Key:   []byte(d.ID()),
		Value: value,
		Headers: []kgo.RecordHeader{
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte(id)},
			{Key: "ce_type", Value: []byte(ceType)},
			{Key: "ce_source", Value: []byte("/m7pulse/" + stage)},
			{Key: "ce_subject", Value: []byte(d.Topic)},
			{Key: "content-type", Value: []byte(ContentJSON)},
		},
	}
}

// Limits of a letter, in bytes.
const (
	maxLetter     = MaxRecord - 4<<10 // room for its own attributes
	maxReasonText = 4 << 10
	// maxCutKey and maxCutHeaders bound the key and the headers of a letter that is
	// cut. JSON takes up to six times as much.
	maxCutKey     = 4 << 10
	maxCutHeaders = 32 << 10
)

// fit returns the dead letter in at most maxLetter bytes of JSON.
func (d *DeadLetter) fit() ([]byte, error) {
	small := *d
	small.Text = ""
	if value, err := json.Marshal(&small); err != nil || len(value) <= maxLetter {
		return value, err
	}
	digest := sha256.Sum256(d.Value64)
	small.Cut = &Cut{Bytes: len(d.Value64), SHA256: hex.EncodeToString(digest[:])}
	small.Key64 = d.Key64[:min(len(d.Key64), maxCutKey)]
	small.Key = shorten(d.Key, maxCutKey)
	small.Headers = map[string][]string{}
	room := maxCutHeaders
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		for _, v := range d.Headers[name] {
			const each = 16 // JSON's punctuation
			if room -= len(name) + len(v) + each; room >= 0 {
				small.Headers[name] = append(small.Headers[name], v)
			}
		}
	}
	small.Value64 = nil
	rest, err := json.Marshal(&small)
	if err != nil {
		return nil, err
	}
	room = (maxLetter - len(rest)) / 4 * 3 // base64 makes four bytes of three
	small.Value64 = d.Value64[:min(len(d.Value64), room)]
	return json.Marshal(&small)
}

// shorten returns a text cut to at most some number of bytes, between two characters.
// The result is valid UTF-8.
func shorten(text string, bytes int) string {
	if len(text) > bytes {
		for bytes > 0 && !utf8.RuneStart(text[bytes]) {
			bytes--
		}
		text = text[:bytes]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// Restore fills in what was cut from a dead letter, from the record at its position.
// Any other record, or one with another value, is refused with ErrInvalid.
func (d *DeadLetter) Restore(r *kgo.Record) error {
	if d.Cut == nil {
		return nil
	}
	digest := sha256.Sum256(r.Value)
	if r.Topic != d.Topic || r.Partition != d.Partition || r.Offset != d.Offset || hex.EncodeToString(digest[:]) != d.Cut.SHA256 {
		return fmt.Errorf("restore the dead letter of %s: %w: %s/%d/%d is another record", d.ID(), ErrInvalid, r.Topic, r.Partition, r.Offset)
	}
	d.Key64, d.Value64, d.Headers, d.Cut = r.Key, r.Value, headersOf(r.Headers), nil
	return nil
}

// Original returns the record that the dead letter was written for, to be sent again:
// the same key, value and headers, marked as MayRepeat, for another stage may have
// processed it already, and with OnlyPart if the letter is of a part. One that was cut
// has to be restored first.
func (d *DeadLetter) Original() (*kgo.Record, error) {
	if d.Cut != nil {
		return nil, fmt.Errorf("the dead letter of %s holds only a part of its record", d.ID())
	}
	r := &kgo.Record{Topic: d.Topic, Key: d.Key64, Value: d.Value64, Timestamp: d.Time}
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		if strings.EqualFold(name, "ce_"+MayRepeat) || strings.EqualFold(name, "ce_"+OnlyPart) {
			continue
		}
		for _, value := range d.Headers[name] {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
	}
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_" + MayRepeat, Value: []byte("true")})
	if d.Part != "" {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_" + OnlyPart, Value: []byte(d.Part)})
	}
	return r, nil
}

// How a dead letter is settled.
const (
	Retried = "retried" // its record was sent again
	Dropped = "dropped"
)

// LetterSettled says how a dead letter was settled. It is written to the same topic.
type LetterSettled struct {
	ID  string    `json:"id"`
	How string    `json:"how"` // Retried or Dropped
	At  time.Time `json:"at"`
}

// Settle returns the record that settles the dead letter.
func (d *DeadLetter) Settle(how string, at time.Time) (*kgo.Record, error) {
	value, err := json.Marshal(LetterSettled{d.ID(), how, at.UTC()})
	if err != nil {
		return nil, fmt.Errorf("settle the dead letter of %s: %w", d.ID(), err)
	}
	return d.record(d.ID()+"#"+how, TypeLetterSettled, "pulse", value), nil
}
