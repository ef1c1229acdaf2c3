// Package knative holds the manifests that say which function gets which events, and
// which topics there are. A program that holds several functions routes by them.
package knative

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

//go:embed sources.yaml
var sources []byte

//go:embed ticks.yaml
var ticks []byte

//go:embed topics.yaml
var topics []byte

// Topic is a topic as its manifest wants it.
type Topic struct {
	Name       string
	Partitions int
	Config     map[string]string
}

// ReadTopics reads topics.yaml as it was when this program was built.
func ReadTopics() (out []Topic, err error) {
	err = each(topics, func(t topic) error {
		config := map[string]string{}
		for key, value := range t.Spec.Config {
			config[key] = fmt.Sprint(value)
		}
		out = append(out, Topic{t.Spec.TopicName, t.Spec.Partitions, config})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read topics.yaml: %w", err)
	}
	return out, nil
}

// topic is a KafkaTopic.
type topic struct {
	Spec struct {
		TopicName  string `yaml:"topicName"`
		Partitions int
		Config     map[string]any
	}
}

// Routes are the names of functions by what is sent to them, in the order of the
// manifests.
type Routes struct {
	ByTopic map[string][]string // the topics of sources.yaml: of bells where a topic has them
	ByTick  map[string][]string // what a tick of ticks.yaml asks for, such as "wake"
}

// ReadRoutes reads sources.yaml and ticks.yaml as they were when this program was
// built.
func ReadRoutes() (Routes, error) {
	r := Routes{ByTopic: map[string][]string{}, ByTick: map[string][]string{}}
	err := each(sources, func(s source) error {
		for _, topic := range s.Spec.Topics {
			r.ByTopic[topic] = append(r.ByTopic[topic], s.Spec.Sink.Ref.Name)
		}
		return nil
	})
	if err != nil {
		return Routes{}, fmt.Errorf("read sources.yaml: %w", err)
	}
	err = each(ticks, func(s source) error {
		var tick struct {
			Do string `json:"do"`
		}
		if err := json.Unmarshal([]byte(s.Spec.Data), &tick); err != nil {
			return fmt.Errorf("data of %s: %w", s.Metadata.Name, err)
		}
		if name := s.Spec.Sink.Ref.Name; !slices.Contains(r.ByTick[tick.Do], name) {
			r.ByTick[tick.Do] = append(r.ByTick[tick.Do], name)
		}
		return nil
	})
	if err != nil {
		return Routes{}, fmt.Errorf("read ticks.yaml: %w", err)
	}
	return r, nil
}

// Functions are the names of all that are sent anything, in order of name.
func (r Routes) Functions() []string {
	names := slices.Concat(slices.Collect(maps.Values(r.ByTopic))...)
	names = append(names, slices.Concat(slices.Collect(maps.Values(r.ByTick))...)...)
	slices.Sort(names)
	return slices.Compact(names)
}

// source is what routes follow from, of a KafkaSource or a PingSource.
type source struct {
	Metadata struct{ Name string }
	Spec     struct {
		Topics []string
		Data   string
		Sink   struct{ Ref struct{ Name string } }
	}
}

func each[T any](manifest []byte, do func(T) error) error {
	d := yaml.NewDecoder(bytes.NewReader(manifest))
	for {
		var s T
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := do(s); err != nil {
			return err
		}
	}
}
