// Package replay sends recorded CloudEvents through the pipeline again: to
// Kafka, each to the topic of its type, or by HTTP to any address.
package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/types"
	"sigs.k8s.io/yaml"
)

// maxLine bounds one event in a file, in bytes.
const maxLine = 4 << 20

// Read yields the events of a file in its order. Its form is told by its name:
// .json is a JSON batch, .yaml and .yml the CloudEvents conformance form, all
// else JSON Lines; .gz besides any of these. An error names the file and line,
// and ends the file.
func Read(path string) iter.Seq2[cloudevents.Event, error] {
	return func(yield func(cloudevents.Event, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(cloudevents.Event{}, err)
			return
		}
		defer f.Close()
		var in io.Reader = f
		name := strings.ToLower(path)
		if rest, ok := strings.CutSuffix(name, ".gz"); ok {
			z, err := gzip.NewReader(f)
			if err != nil {
				yield(cloudevents.Event{}, fmt.Errorf("%s: %w", path, err))
				return
			}
			in, name = z, rest
		}
		decode := lines
		switch {
		case strings.HasSuffix(name, ".json"):
			decode = batch
		case strings.HasSuffix(name, ".yaml"), strings.HasSuffix(name, ".yml"):
			decode = conformance
		}
		for e, err := range decode(in) {
			if err == nil {
				err = check(&e)
			}
			if err != nil {
				yield(e, fmt.Errorf("%s: %w", path, err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// check validates an event and takes off what a KafkaSource had put on it when
// it was recorded: it says where the event once stood, not where it will.
func check(e *cloudevents.Event) error {
	for _, ext := range []string{"kafkatopic", "knativekafkapartition", "knativekafkaoffset"} {
		e.SetExtension(ext, nil)
	}
	if err := e.Validate(); err != nil {
		return fmt.Errorf("event %q: %w", e.ID(), err)
	}
	return nil
}

// lines reads JSON Lines: one structured event a line.
func lines(in io.Reader) iter.Seq2[cloudevents.Event, error] {
	return func(yield func(cloudevents.Event, error) bool) {
		scan := bufio.NewScanner(in)
		scan.Buffer(make([]byte, 64<<10), maxLine)
		for n := 1; scan.Scan(); n++ {
			if len(bytes.TrimSpace(scan.Bytes())) == 0 {
				continue
			}
			var e cloudevents.Event
			if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
				yield(e, fmt.Errorf("line %d: %w", n, err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
		if err := scan.Err(); err != nil {
			yield(cloudevents.Event{}, err)
		}
	}
}

// batch reads a JSON array of structured events, one at a time.
func batch(in io.Reader) iter.Seq2[cloudevents.Event, error] {
	return func(yield func(cloudevents.Event, error) bool) {
		d := json.NewDecoder(in)
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			yield(cloudevents.Event{}, errors.Join(errors.New("a .json file must be an array of events; name JSON Lines .jsonl"), err))
			return
		}
		for n := 1; d.More(); n++ {
			var e cloudevents.Event
			if err := d.Decode(&e); err != nil {
				yield(e, fmt.Errorf("event %d: %w", n, err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// document is one event of the conformance form, as far as it describes the
// event and not its transport.
type document struct {
	ContextAttributes struct {
		SpecVersion     string            `json:"specversion"`
		Type            string            `json:"type"`
		Time            string            `json:"time"`
		ID              string            `json:"id"`
		Source          string            `json:"source"`
		Subject         string            `json:"subject"`
		DataSchema      string            `json:"dataschema"`
		DataContentType string            `json:"datacontenttype"`
		Extensions      map[string]string `json:"Extensions"`
	} `json:"ContextAttributes"`
	Data string `json:"Data"`
}

// conformance reads the form of the CloudEvents conformance tool: YAML
// documents. It has no form for binary data, so binary events are not in it.
func conformance(in io.Reader) iter.Seq2[cloudevents.Event, error] {
	return func(yield func(cloudevents.Event, error) bool) {
		all, err := io.ReadAll(io.LimitReader(in, 64*maxLine))
		if err != nil {
			yield(cloudevents.Event{}, err)
			return
		}
		for n, text := range strings.Split("\n"+string(all), "\n---") {
			if strings.TrimSpace(text) == "" {
				continue
			}
			e, err := fromDocument([]byte(text))
			if err != nil {
				err = fmt.Errorf("document %d: %w", n+1, err)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func fromDocument(text []byte) (cloudevents.Event, error) {
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		return cloudevents.Event{}, err
	}
	c := d.ContextAttributes
	if c.SpecVersion == "" {
		c.SpecVersion = cloudevents.VersionV1
	}
	e := cloudevents.NewEvent(c.SpecVersion)
	e.SetID(c.ID)
	e.SetType(c.Type)
	e.SetSource(c.Source)
	e.SetSubject(c.Subject)
	if c.DataSchema != "" {
		e.SetDataSchema(c.DataSchema)
	}
	if c.Time != "" {
		at, err := types.ParseTime(c.Time)
		if err != nil {
			return e, err
		}
		e.SetTime(at)
	}
	for k, v := range c.Extensions {
		e.SetExtension(k, v)
	}
	e.SetDataContentType(c.DataContentType)
	if d.Data != "" {
		e.DataEncoded = []byte(d.Data)
	}
	return e, nil
}
