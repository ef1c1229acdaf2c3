package knative

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// How CloudEvents are written in the headers of a Kafka record.
const (
	attributePrefix = "ce_"
	contentType     = "content-type"
)

// header makes the HTTP header of a record's event. The body is the record's
// value as it is.
func (s *source) header(r *kgo.Record) http.Header {
	// One array for all values: a header holds each as a slice of one.
	w := headerWriter{
		header: make(http.Header, len(r.Headers)+len(s.Extensions)+8),
		values: make([]string, 0, len(r.Headers)+len(s.Extensions)+8),
	}
	if isEvent(r) {
		for _, h := range r.Headers {
			if name, ok := strings.CutPrefix(h.Key, attributePrefix); ok {
				w.attribute(name, string(h.Value))
			} else if strings.EqualFold(h.Key, contentType) {
				w.set("Content-Type", string(h.Value))
			}
		}
	} else {
		s.wrap(&w, r)
	}
	w.set("Ce-Knativekafkapartition", strconv.Itoa(int(r.Partition)))
	w.set("Ce-Knativekafkaoffset", strconv.FormatInt(r.Offset, 10))
	for name, value := range s.Extensions {
		w.attribute(name, value)
	}
	return w.header
}

// wrap makes an event of a record that is none, as the real KafkaSource does.
func (s *source) wrap(w *headerWriter, r *kgo.Record) {
	partition, offset := strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10)
	w.set("Ce-Specversion", "1.0")
	w.set("Ce-Id", "partition:"+partition+"/offset:"+offset)
	w.set("Ce-Type", "dev.knative.kafka.event")
	w.set("Ce-Source", "/apis/v1/namespaces/"+s.namespace+"/kafkasources/"+s.Name+"#"+r.Topic)
	w.set("Ce-Subject", "partition:"+partition+"#"+offset)
	w.set("Ce-Time", r.Timestamp.UTC().Format(time.RFC3339Nano))
	if r.Key != nil {
		w.set("Ce-Key", string(r.Key))
		w.set("Ce-Partitionkey", string(r.Key))
	}
	for _, h := range r.Headers {
		if strings.EqualFold(h.Key, contentType) {
			w.set("Content-Type", strings.ToLower(string(h.Value)))
			continue
		}
		w.attribute("kafkaheader"+strings.Map(attributeRune, strings.ToLower(h.Key)), string(h.Value))
	}
}

// isEvent says whether a record is a CloudEvent in binary mode with all that
// one must have. Structured mode, which nothing of ours writes, is treated as no
// event: this is where the emulation differs from the real thing.
func isEvent(r *kgo.Record) bool {
	var version, id, source, kind bool
	for _, h := range r.Headers {
		name, ok := strings.CutPrefix(h.Key, attributePrefix)
		if !ok {
			continue
		}
		switch name {
		case "specversion":
			version = string(h.Value) == "1.0" || string(h.Value) == "0.3"
		case "id":
			id = len(h.Value) > 0
		case "source":
			source = len(h.Value) > 0
		case "type":
			kind = len(h.Value) > 0
		default:
			if name == "" || strings.Map(attributeRune, name) != name {
				return false
			}
		}
	}
	return version && id && source && kind
}

// attributeRune drops what the name of a CloudEvents attribute cannot hold.
func attributeRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return -1
}

// attributeHeader is the canonical HTTP header of an attribute.
func attributeHeader(name string) string {
	switch name { // the names in every event, without making a string
	case "specversion":
		return "Ce-Specversion"
	case "id":
		return "Ce-Id"
	case "source":
		return "Ce-Source"
	case "type":
		return "Ce-Type"
	case "subject":
		return "Ce-Subject"
	case "time":
		return "Ce-Time"
	case topicExtension:
		return "Ce-Kafkatopic"
	}
	return "Ce-" + strings.ToUpper(name[:1]) + name[1:]
}

type headerWriter struct {
	header http.Header
	values []string
}

func (w *headerWriter) attribute(name, value string) { w.set(attributeHeader(name), value) }

// set writes a header; a name that is there already gets the new value.
func (w *headerWriter) set(name, value string) {
	w.values = append(w.values, printable(value))
	n := len(w.values)
	w.header[name] = w.values[n-1 : n : n]
}

// printable replaces what an HTTP header cannot hold: the real KafkaSource
// mangles it too, and a refused header would be tried again for minutes.
func printable(value string) string {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return strings.Map(func(r rune) rune {
				if r < ' ' || r > '~' {
					return '?'
				}
				return r
			}, value)
		}
	}
	return value
}
