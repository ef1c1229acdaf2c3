package knative

import (
	"slices"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
)

// topicExtension says to which topic a bell belongs.
const topicExtension = "kafkatopic"

func checkSources(sources []kept[kafkaSource], t *Topology, found *faults) []Source {
	var out []Source
	groups := map[string]string{}
	for _, k := range sources {
		s := k.doc.Spec
		checkObject(k.file, k.doc.object, t.Namespace, found)
		fault := func(field, format string, args ...any) { found.add(k.file, k.doc.name(), field+": "+format, args...) }
		checkSink(s.Sink, t, fault)
		checkExtensions(s.CEOverrides, fault)
		if got, want := strings.Join(s.BootstrapServers, ","), t.Config["KAFKA_BROKERS"]; got != want {
			fault("spec.bootstrapServers", "is %q, but KAFKA_BROKERS in the ConfigMap is %q", got, want)
		}
		if len(s.Topics) != 1 {
			fault("spec.topics", "there are %d, want 1: the extension %s can name only one", len(s.Topics), topicExtension)
		}
		for _, topic := range s.Topics {
			if !slices.ContainsFunc(t.Topics, func(have Topic) bool { return have.Name == topic }) {
				fault("spec.topics", "%s has no KafkaTopic", topic)
			}
			if of := event.BellTopic(topic); of != "" {
				fault("spec.topics", "%s has its bells in %s: one POST a record would go on long after the records are stored", topic, of)
			}
			if got := s.CEOverrides.Extensions[topicExtension]; got != topic {
				fault("spec.ceOverrides.extensions."+topicExtension, "is %q, want %q", got, topic)
			}
		}
		switch other := groups[s.ConsumerGroup]; {
		case s.ConsumerGroup == "":
			fault("spec.consumerGroup", "is missing: a made-up one would change when the source is made again")
		case other != "":
			fault("spec.consumerGroup", "%s is that of %s too, so each would get a part of the records", s.ConsumerGroup, other)
		}
		groups[s.ConsumerGroup] = k.doc.Metadata.Name
		if s.Consumers != 1 {
			fault("spec.consumers", "is %d, want 1", s.Consumers)
		}
		if s.InitialOffset != "latest" {
			fault("spec.initialOffset", "is %q, want latest: earliest rings for all that the topic has kept", s.InitialOffset)
		}
		if s.Ordering != "unordered" {
			fault("spec.ordering", "is %q, want unordered: ordered delivers 250 a second", s.Ordering)
		}
		out = append(out, Source{
			Name: k.doc.Metadata.Name, Function: s.Sink.Ref.Name, Topic: strings.Join(s.Topics, ","), Group: s.ConsumerGroup, Latest: s.InitialOffset == "latest",
			Extensions: s.CEOverrides.Extensions, Delivery: checkDelivery(k.doc, fault),
		})
	}
	return out
}

// The most retries: of an exponential policy so many that delay*2^retry is far from
// overflow, of a linear one so many that the last pause is still of use.
const (
	maxRetryExponential = 20
	maxRetryLinear      = 100
)

// checkDelivery asks for every field: as soon as one is set, the defaults of
// the others are gone.
func checkDelivery(k kafkaSource, fault func(field, format string, args ...any)) Delivery {
	s := k.Spec.Delivery
	var d Delivery
	maxRetry := maxRetryLinear
	switch s.BackoffPolicy {
	case "exponential":
		d.Exponential, maxRetry = true, maxRetryExponential
	case "linear":
	default:
		fault("spec.delivery.backoffPolicy", "is %q, want exponential or linear", s.BackoffPolicy)
	}
	if s.Retry == nil || *s.Retry < 0 || *s.Retry > maxRetry {
		fault("spec.delivery.retry", "want 0 to %d", maxRetry)
	} else {
		d.Retry = *s.Retry
	}
	for _, f := range []struct {
		field, text string
		to          *time.Duration
	}{
		{"spec.delivery.backoffDelay", s.BackoffDelay, &d.Delay},
		{"spec.delivery.timeout", s.Timeout, &d.Timeout},
	} {
		v, err := parseDuration(f.text)
		if err != nil {
			fault(f.field, "%v", err)
		} else if v <= 0 || v > time.Hour {
			fault(f.field, "%s is not between 0 and 1 h", f.text)
		}
		*f.to = v
	}
	return d
}
