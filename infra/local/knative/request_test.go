package knative

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestRecordThatIsNoEventBecomesOne(t *testing.T) {
	s := &source{Source: Source{Name: "src"}, namespace: "ns"}
	at := time.Date(2026, 11, 25, 10, 0, 0, 5e6, time.UTC)
	r := &kgo.Record{
		Topic: topic, Partition: 2, Offset: 7, Key: []byte("k"), Timestamp: at,
		Headers: []kgo.RecordHeader{{Key: "X-Trace_ID", Value: []byte("abc")}, {Key: "Content-Type", Value: []byte("Text/Plain")}, {Key: "ce_id", Value: []byte("alone")}},
	}
	got := s.header(r)
	want := map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "partition:2/offset:7", "Ce-Type": "dev.knative.kafka.event",
		"Ce-Source": "/apis/v1/namespaces/ns/kafkasources/src#t", "Ce-Subject": "partition:2#7", "Ce-Time": "2026-11-25T10:00:00.005Z",
		"Ce-Key": "k", "Ce-Partitionkey": "k", "Ce-Kafkaheaderxtraceid": "abc", "Ce-Kafkaheaderceid": "alone", "Content-Type": "text/plain",
		"Ce-Knativekafkapartition": "2", "Ce-Knativekafkaoffset": "7",
	}
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, got.Get(name), value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d headers, want %d: %v", len(got), len(want), got)
	}
}

func TestOverridesOverwriteAndValuesFitAHeader(t *testing.T) {
	s := &source{Source: Source{Extensions: map[string]string{"mayrepeat": "no"}}}
	r := record(1)
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_subject", Value: []byte("owner/naïve\r\nX: y")})
	h := s.header(r)
	if got := h.Get("Ce-Mayrepeat"); got != "no" {
		t.Errorf("mayrepeat is %q", got)
	}
	if got := h.Get("Ce-Subject"); got != "owner/na?ve??X: y" {
		t.Errorf("subject is %q", got)
	}
}
