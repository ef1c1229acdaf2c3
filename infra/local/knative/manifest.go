package knative

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"

	"sigs.k8s.io/yaml"
)

// The structs below name exactly the fields that the emulation implements. Decoding
// is strict, so a manifest cannot ask for anything that would be ignored.

type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
}

type namespace struct {
	object
}

type configMap struct {
	object
	Data map[string]string `json:"data"`
}

type kafkaTopic struct {
	object
	Spec struct {
		TopicName  string                     `json:"topicName"`
		Partitions int32                      `json:"partitions"`
		Replicas   int16                      `json:"replicas"`
		Config     map[string]json.RawMessage `json:"config"`
	} `json:"spec"`
}

type sink struct {
	Ref struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Name       string `json:"name"`
	} `json:"ref"`
}

type overrides struct {
	Extensions map[string]string `json:"extensions"`
}

type pingSource struct {
	object
	Spec struct {
		Schedule    string    `json:"schedule"`
		Timezone    string    `json:"timezone"`
		ContentType string    `json:"contentType"`
		Data        string    `json:"data"`
		CEOverrides overrides `json:"ceOverrides"`
		Sink        sink      `json:"sink"`
	} `json:"spec"`
}

type kafkaSource struct {
	object
	Spec struct {
		BootstrapServers []string `json:"bootstrapServers"`
		Topics           []string `json:"topics"`
		ConsumerGroup    string   `json:"consumerGroup"`
		Consumers        int      `json:"consumers"`
		InitialOffset    string   `json:"initialOffset"`
		Ordering         string   `json:"ordering"`
		Delivery         struct {
			Retry         *int   `json:"retry"`
			BackoffPolicy string `json:"backoffPolicy"`
			BackoffDelay  string `json:"backoffDelay"`
			Timeout       string `json:"timeout"`
		} `json:"delivery"`
		CEOverrides overrides `json:"ceOverrides"`
		Sink        sink      `json:"sink"`
	} `json:"spec"`
}

type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Resources  []string `json:"resources"`
}

// document is one YAML document of a file.
type document struct {
	file string
	head object
	raw  []byte
}

var separator = regexp.MustCompile(`(?m)^---[ \t]*$`)

// readManifests returns the documents of every YAML file in dir, by file name.
func readManifests(root, dir string, faults *faults) []document {
	paths, err := filepath.Glob(filepath.Join(root, dir, "*.yaml"))
	if err != nil || len(paths) == 0 {
		faults.add(dir, "", "no manifests are here")
		return nil
	}
	sort.Strings(paths)
	var docs []document
	for _, path := range paths {
		file := filepath.Join(dir, filepath.Base(path))
		text, err := os.ReadFile(path)
		if err != nil {
			faults.add(file, "", "%v", err)
			continue
		}
		for _, part := range separator.Split(string(text), -1) {
			d := document{file: file, raw: []byte(part)}
			asJSON, err := yaml.YAMLToJSONStrict(d.raw)
			if err != nil {
				faults.add(file, "", "%v", err)
				continue
			}
			if bytes.Equal(asJSON, []byte("null")) {
				continue // comments only
			}
			if err := json.Unmarshal(asJSON, &d.head); err != nil {
				faults.add(file, "", "%v", err)
				continue
			}
			docs = append(docs, d)
		}
	}
	return docs
}

// decode reads a document into a kind. A field that the kind does not have is a
// fault, so that a misspelt one cannot vanish.
func decode[T any](d document, faults *faults) (T, bool) {
	var v T
	if err := yaml.UnmarshalStrict(d.raw, &v); err != nil {
		faults.add(d.file, d.head.name(), "%v", err)
		return v, false
	}
	return v, true
}

func (o object) name() string { return fmt.Sprintf("%s %s", o.Kind, o.Metadata.Name) }
