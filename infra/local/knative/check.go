package knative

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/robfig/cron/v3"

	"github.com/m7pulse/m7pulse/shared/event"
)

// manifests are the documents of infra/knative by kind. Each entry keeps its
// file for the faults.
type manifests struct {
	namespaces []kept[namespace]
	configs    []kept[configMap]
	topics     []kept[kafkaTopic]
	ticks      []kept[pingSource]
	sources    []kept[kafkaSource]
}

type kept[T any] struct {
	file string
	doc  T
}

func keep[T any](to *[]kept[T], d document, found *faults) {
	if v, ok := decode[T](d, found); ok {
		*to = append(*to, kept[T]{d.file, v})
	}
}

func sortManifests(docs []document, found *faults) manifests {
	var m manifests
	var files, listed []string
	names := map[string]bool{}
	for _, d := range docs {
		if d.head.Kind == "Kustomization" {
			if k, ok := decode[kustomization](d, found); ok {
				for _, r := range k.Resources {
					listed = append(listed, filepath.Join(manifestDir, r))
				}
			}
			continue
		}
		if !slices.Contains(files, d.file) {
			files = append(files, d.file)
		}
		if names[d.head.name()] {
			found.add(d.file, d.head.name(), "is there twice")
		}
		names[d.head.name()] = true
		switch d.head.APIVersion + " " + d.head.Kind {
		case "v1 Namespace":
			keep(&m.namespaces, d, found)
		case "v1 ConfigMap":
			keep(&m.configs, d, found)
		case "kafka.strimzi.io/v1beta2 KafkaTopic":
			keep(&m.topics, d, found)
		case "sources.knative.dev/v1 PingSource":
			keep(&m.ticks, d, found)
		case "sources.knative.dev/v1 KafkaSource":
			keep(&m.sources, d, found)
		default:
			found.add(d.file, d.head.name(), "apiVersion %q and kind %q are none that is known here", d.head.APIVersion, d.head.Kind)
		}
	}
	for _, f := range files {
		if !slices.Contains(listed, f) {
			found.add(filepath.Join(manifestDir, "kustomization.yaml"), "resources", "%s is not listed, so a cluster would not get it", filepath.Base(f))
		}
	}
	for _, f := range listed {
		if !slices.Contains(files, f) {
			found.add(filepath.Join(manifestDir, "kustomization.yaml"), "resources", "%s is not there", filepath.Base(f))
		}
	}
	return m
}

// configName is the one ConfigMap that functions may refer to.
const configName = "m7pulse"

func checkConfig(m manifests, found *faults) (ns string, config map[string]string) {
	if len(m.namespaces) != 1 {
		found.add(manifestDir, "Namespace", "there are %d, want 1", len(m.namespaces))
	}
	for _, n := range m.namespaces {
		ns = n.doc.Metadata.Name
	}
	for _, c := range m.configs {
		if c.doc.Metadata.Name != configName {
			found.add(c.file, c.doc.name(), "metadata.name: the functions know only %q", configName)
			continue
		}
		checkObject(c.file, c.doc.object, ns, found)
		config = c.doc.Data
	}
	if config == nil {
		found.add(manifestDir, "ConfigMap "+configName, "is not there")
	}
	return ns, config
}

// checkUse finds settings that nothing uses.
func checkUse(configs []kept[configMap], functions []Function, found *faults) {
	used := map[string]bool{}
	for _, f := range functions {
		for _, e := range f.Env {
			used[e.Config] = true
		}
	}
	for _, c := range configs {
		for _, key := range slices.Sorted(maps.Keys(c.doc.Data)) {
			if !used[key] {
				found.add(c.file, c.doc.name(), "data.%s: no function refers to it", key)
			}
		}
	}
}

// dnsName is what Kubernetes takes for a name: a DNS subdomain.
var dnsName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

func checkObject(file string, o object, ns string, found *faults) {
	if len(o.Metadata.Name) > 253 || !dnsName.MatchString(o.Metadata.Name) {
		found.add(file, o.name(), "metadata.name: invalid DNS subdomain %q", o.Metadata.Name)
	}
	if o.Metadata.Namespace != ns {
		found.add(file, o.name(), "metadata.namespace: is %q, want %q", o.Metadata.Namespace, ns)
	}
}

// topicName is what Kafka takes for the name of a topic.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// deadLetters ends the name of the topic that takes what cannot be processed.
const deadLetters = ".dlq"

func checkTopics(topics []kept[kafkaTopic], ns string, found *faults) []Topic {
	var out []Topic
	names := map[string]bool{}
	for _, k := range topics {
		t := k.doc
		checkObject(k.file, t.object, ns, found)
		fault := func(field, format string, args ...any) { found.add(k.file, t.name(), field+": "+format, args...) }
		if t.Metadata.Labels["strimzi.io/cluster"] == "" {
			fault("metadata.labels", "strimzi.io/cluster is missing, so no topic operator would look at it")
		}
		if !topicName.MatchString(t.Spec.TopicName) {
			fault("spec.topicName", "invalid topic name %q", t.Spec.TopicName)
		}
		if names[t.Spec.TopicName] {
			fault("spec.topicName", "%s is there twice", t.Spec.TopicName)
		}
		names[t.Spec.TopicName] = true
		if t.Spec.Partitions < 1 {
			fault("spec.partitions", "is %d, want at least 1", t.Spec.Partitions)
		}
		topic := Topic{Name: t.Spec.TopicName, Partitions: t.Spec.Partitions, Replicas: t.Spec.Replicas, Config: map[string]string{}}
		if topic.Replicas == 0 {
			topic.Replicas = -1
		}
		for key, raw := range t.Spec.Config {
			topic.Config[key] = scalar(raw)
		}
		if policy := topic.Config["cleanup.policy"]; policy != "delete" {
			fault("spec.config.cleanup.policy", "is %q, want delete: compaction loses observations", policy)
		}
		if most := topic.Config["max.message.bytes"]; most != strconv.Itoa(event.TopicBatch) {
			fault("spec.config.max.message.bytes", "is %q, want %d: what is accepted at the door must fit in every topic", most, event.TopicBatch)
		}
		out = append(out, topic)
	}
	for _, k := range topics {
		name := k.doc.Spec.TopicName
		if _, bells := event.TopicOfBell(name); bells || strings.HasSuffix(name, deadLetters) {
			continue
		}
		if !names[name+deadLetters] {
			found.add(k.file, k.doc.name(), "no topic %s%s for dead letters", name, deadLetters)
		}
		if of := event.BellTopic(name); of != "" && !names[of] {
			found.add(k.file, k.doc.name(), "no topic %s for its bells", of)
		}
	}
	return out
}

// scalar gives a JSON string or number as text.
func scalar(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func checkTicks(ticks []kept[pingSource], t *Topology, found *faults) []Tick {
	var out []Tick
	for _, k := range ticks {
		s := k.doc.Spec
		checkObject(k.file, k.doc.object, t.Namespace, found)
		fault := func(field, format string, args ...any) { found.add(k.file, k.doc.name(), field+": "+format, args...) }
		checkSink(s.Sink, t, fault)
		checkExtensions(s.CEOverrides, fault)
		expression := s.Schedule
		if s.Timezone != "" {
			expression = "CRON_TZ=" + s.Timezone + " " + expression
		} else {
			expression = "CRON_TZ=UTC " + expression
		}
		schedule, err := cron.ParseStandard(expression)
		switch {
		case err != nil && strings.HasPrefix(err.Error(), "provided bad location"):
			fault("spec.timezone", "%v", err)
		case err != nil:
			fault("spec.schedule", "%v", err)
		case strings.Contains(s.Schedule, "@every"):
			fault("spec.schedule", "PingSource does not take @every")
		}
		if s.ContentType != "application/json" {
			fault("spec.contentType", "is %q, want application/json", s.ContentType)
		}
		var tick struct {
			Do string `json:"do"`
		}
		if err := json.Unmarshal([]byte(s.Data), &tick); err != nil {
			fault("spec.data", "is not JSON: %v", err)
		} else if !slices.Contains([]string{doSweep, doWake, doMaintain}, tick.Do) {
			fault("spec.data", "do is %q, want %q, %q or %q", tick.Do, doSweep, doWake, doMaintain)
		}
		out = append(out, Tick{
			Name: k.doc.Metadata.Name, Function: s.Sink.Ref.Name, Schedule: schedule,
			ContentType: s.ContentType, Data: []byte(s.Data), Extensions: s.CEOverrides.Extensions,
			do: tick.Do,
		})
	}
	return out
}

func checkSink(s sink, t *Topology, fault func(field, format string, args ...any)) {
	if s.Ref.APIVersion != "serving.knative.dev/v1" || s.Ref.Kind != "Service" {
		fault("spec.sink.ref", "is %s %s, want serving.knative.dev/v1 Service", s.Ref.APIVersion, s.Ref.Kind)
	}
	if _, err := t.Function(s.Ref.Name); err != nil {
		fault("spec.sink.ref.name", "%q has no %s/%s/func.yaml", s.Ref.Name, functionDir, s.Ref.Name)
	}
}

var extensionName = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

func checkExtensions(o overrides, fault func(field, format string, args ...any)) {
	for name := range o.Extensions {
		if !extensionName.MatchString(name) {
			fault("spec.ceOverrides.extensions", "invalid extension name %q: want at most 20 of a-z and 0-9", name)
		}
	}
}
