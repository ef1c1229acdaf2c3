package event

import (
	"crypto/rand"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// bells ends the name of a topic of bells.
const bells = ".bells"

// BellTopic is the topic in which a topic has its bells, or "" for a topic whose
// own records are its bells, because they are few.
func BellTopic(topic string) string {
	switch topic {
	case TopicBaseRepos, TopicProcessedRepos:
		return topic + bells
	}
	return ""
}

// RungBy is the topic whose bells are in a topic: of github.base_repos.bells it
// is github.base_repos. A topic that holds no bells has none.
func RungBy(bellTopic string) (topic string, ok bool) {
	topic, ok = strings.CutSuffix(bellTopic, bells)
	return topic, ok && BellTopic(topic) == bellTopic
}

// NewBell returns a bell of a topic, to be produced once for any number of
// records, in their transaction or after they are durable: whoever hears it finds
// them in the log. It is nil for a topic without a topic of bells. Nothing looks
// at what is in a bell; it is an event so that a KafkaSource passes it on as it is.
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
