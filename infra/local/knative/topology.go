package knative

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// Topology is what the manifests say, checked and resolved.
type Topology struct {
	Namespace string
	Config    map[string]string // the ConfigMap m7pulse
	Functions []Function        // by name
	Topics    []Topic
	Ticks     []Tick
	Sources   []Source
}

// Function is what a func.yaml says.
type Function struct {
	Name     string
	Env      []EnvVar
	MinScale int
}

// EnvVar is one variable of a function: a plain value, or a key of the
// ConfigMap or of a Secret.
type EnvVar struct {
	Name   string
	Value  string
	Config string // a key of the ConfigMap
	Secret string // a key of a Secret
}

// Topic is a KafkaTopic.
type Topic struct {
	Name       string
	Partitions int32
	Replicas   int16 // -1: the broker's default
	Config     map[string]string
}

// Tick is a PingSource.
type Tick struct {
	Name        string
	Function    string
	Schedule    cron.Schedule
	ContentType string
	Data        []byte
	Extensions  map[string]string

	do string // what it asks for
}

// Source is a KafkaSource.
type Source struct {
	Name       string
	Function   string
	Topic      string
	Group      string
	Latest     bool // begins behind the records that are there when it is made
	Extensions map[string]string
	Delivery   Delivery
}

// Delivery says how often and when a source tries again.
type Delivery struct {
	Retry       int
	Exponential bool // delay*2^n before attempt n+1, else delay*n
	Delay       time.Duration
	Timeout     time.Duration // of one attempt
}

// wait is the pause before the nth retry, counted from 1.
func (d Delivery) wait(n int) time.Duration {
	if d.Exponential {
		return d.Delay << n
	}
	return d.Delay * time.Duration(n)
}

// Function finds a function by name.
func (t *Topology) Function(name string) (Function, error) {
	for _, f := range t.Functions {
		if f.Name == name {
			return f, nil
		}
	}
	return Function{}, fmt.Errorf("unknown function %q", name)
}

// The folders that Load reads, from the repository's root.
const (
	manifestDir = "infra/knative"
	functionDir = "functions"
)

// Load reads infra/knative/*.yaml and functions/*/func.yaml under root. It
// checks their form and their meaning, and its error has one line for each
// fault.
func Load(root string) (*Topology, error) {
	var found faults
	functions := readFunctions(root, &found)
	allRead := len(found.lines) == 0
	manifests := sortManifests(readManifests(root, manifestDir, &found), &found)
	t := &Topology{}
	t.Namespace, t.Config = checkConfig(manifests, &found)
	t.Functions = checkFunctions(functions, t.Config, &found)
	if allRead {
		checkUse(manifests.configs, t.Functions, &found)
	}
	t.Topics = checkTopics(manifests.topics, t.Namespace, &found)
	t.Ticks = checkTicks(manifests.ticks, t, &found)
	t.Sources = checkSources(manifests.sources, t, &found)
	if err := found.err(); err != nil {
		return nil, fmt.Errorf("the manifests are at fault:\n%w", err)
	}
	return t, nil
}
