package event

import (
	"crypto/rand"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// bells ends the name of a topic of bells.
const bells = ".bells"

// BellTopic returns the topic of a topic's bells, or "" for one whose own records are
// its bells, because they are few.
func BellTopic(topic string) string {
	switch topic {
	case TopicBaseRepos, TopicProcessedRepos, TopicEvents:
		return topic + bells
	}
	return ""
}

// TopicOfBell returns the topic whose bells a topic holds: github.base_repos for
// github.base_repos.bells. ok is false for a topic that does not hold bells.
func TopicOfBell(bellTopic string) (topic string, ok bool) {
	topic, ok = strings.CutSuffix(bellTopic, bells)
	return topic, ok && BellTopic(topic) == bellTopic
}

// NewBell returns a bell for a topic, to be written once for any number of records, in
// their transaction or after they are durable, so that they can be read when the bell
// arrives. It is nil for a topic without a topic of bells. The content of a bell is
// never read; it is a CloudEvent so that a KafkaSource passes it on unchanged.
func NewBell(topic string) *kgo.Record {
	to := BellTopic(topic)
	if to == "" {
		return nil
	}
	header := func(key, value string) kgo.RecordHeader {
		return kgo.RecordHeader{Key: key, Value: []byte(value)}
	}
	return &kgo.Record{Topic: to, Value: []byte("{}"), Headers: []kgo.RecordHeader{
		header("ce_specversion", "1.0"), header("ce_id", rand.Text()), header("ce_source", "/m7pulse/"+topic),
		header("ce_type", TypeBell), header("content-type", "application/json"),
	}}
}
