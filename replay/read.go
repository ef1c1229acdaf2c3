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
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/types"
	"go.yaml.in/yaml/v3"

	"github.com/m7pulse/m7pulse/shared/event"
)

// maxLine bounds one event in a file, in bytes.
const maxLine = 4 << 20

// Refused is an event that is refused for good, with the reason and, from a file,
// its place. It does not stop the events after it.
type Refused struct {
	Place  string // "line 3", "event 3", "document 3", or ""
	Reason error
}

func (r *Refused) Error() string {
	if r.Place == "" {
		return r.Reason.Error()
	}
	return r.Place + ": " + r.Reason.Error()
}

func (r *Refused) Unwrap() error { return r.Reason }

// Read yields the events of a file in its order. Its form follows from its name:
// .json is a JSON batch, .yaml and .yml the CloudEvents conformance form, anything
// else JSON Lines; each may end in .gz too. It is UTF-8, with or without a byte
// order mark. An invalid event is yielded as an error that wraps a *Refused, and
// reading goes on after it; any other error, such as of a truncated file, ends it.
// No event may have more than 4 MiB.
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
		in, err = text(in)
		if err != nil {
			yield(cloudevents.Event{}, fmt.Errorf("%s: %w", path, err))
			return
		}
		decode := lines
		switch {
		case strings.HasSuffix(name, ".json"):
			decode = batch
		case isYAML(name):
			decode = conformance
		}
		for e, err := range decode(in) {
			if err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// text is a file behind its byte order mark; one of UTF-16 is an error.
func text(in io.Reader) (io.Reader, error) {
	r := bufio.NewReaderSize(in, 64<<10)
	head, err := r.Peek(3)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case bytes.Equal(head, []byte("\xef\xbb\xbf")):
		_, err = r.Discard(len(head))
		return r, err
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return nil, errors.New("the file is UTF-16; want UTF-8")
	}
	return r, nil
}

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// checked yields what was made of one part of a file, or that it is refused.
func checked(yield func(cloudevents.Event, error) bool, place string, e cloudevents.Event, err error) bool {
	if err == nil {
		err = check(&e)
	}
	if err != nil {
		return yield(cloudevents.Event{}, &Refused{place, err})
	}
	return yield(e, nil)
}

// check validates an event and takes off what a KafkaSource had put on it when
// it was recorded: the event's former place in Kafka.
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
		r := bufio.NewReaderSize(in, 64<<10)
		for n := 1; ; n++ {
			line, err := readLine(r)
			place := fmt.Sprintf("line %d", n)
			var long *Refused
			switch {
			case errors.As(err, &long):
				if !yield(cloudevents.Event{}, &Refused{place, long.Reason}) {
					return
				}
				continue
			case err != nil && !errors.Is(err, io.EOF):
				yield(cloudevents.Event{}, fmt.Errorf("%s: %w", place, err))
				return
			}
			if len(bytes.TrimSpace(line)) != 0 {
				e, err := event.FromJSON(line)
				if !checked(yield, place, e, err) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// readLine returns a line with its end. One that is too long is skipped and
// refused.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLine; !long {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if long && (err == nil || errors.Is(err, io.EOF)) {
			return nil, &Refused{Reason: fmt.Errorf("more than %d bytes", maxLine)}
		}
		return line, err
	}
}

// batch reads a JSON array of structured events, one at a time. Invalid JSON ends
// it: where the next event begins is not known then.
func batch(in io.Reader) iter.Seq2[cloudevents.Event, error] {
	return func(yield func(cloudevents.Event, error) bool) {
		d := json.NewDecoder(in)
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			yield(cloudevents.Event{}, errors.Join(errors.New("want an array of events in a .json file; JSON Lines are named .jsonl"), err))
			return
		}
		n := 1
		for ; d.More(); n++ {
			place := fmt.Sprintf("event %d", n)
			var text json.RawMessage
			if err := d.Decode(&text); err != nil {
				yield(cloudevents.Event{}, fmt.Errorf("%s: %w", place, err))
				return
			}
			e, err := event.FromJSON(text)
			if len(text) > maxLine {
				err = fmt.Errorf("more than %d bytes", maxLine)
			}
			if !checked(yield, place, e, err) {
				return
			}
		}
		if _, err := d.Token(); err != nil {
			yield(cloudevents.Event{}, fmt.Errorf("after event %d: %w", n-1, err))
		}
	}
}

// document is one event of the conformance form, as far as it describes the
// event and not its transport.
type document struct {
	Mode              string     `yaml:"Mode"`
	ContextAttributes attributes `yaml:"ContextAttributes"`
	Data              string     `yaml:"Data"`

	TransportExtensions map[string]string `yaml:"TransportExtensions,omitempty"` // read over
}

type attributes struct {
	SpecVersion     quoted            `yaml:"specversion"`
	Type            quoted            `yaml:"type"`
	Time            string            `yaml:"time,omitempty"`
	ID              quoted            `yaml:"id"`
	Source          quoted            `yaml:"source"`
	Subject         quoted            `yaml:"subject,omitempty"`
	DataSchema      quoted            `yaml:"dataschema,omitempty"`
	DataContentType quoted            `yaml:"datacontenttype,omitempty"`
	Extensions      map[string]string `yaml:"Extensions,omitempty"`
}

// quoted is a text that YAML reads as a text: 1.0, 007 and no are something else in
// YAML unless they are in quotes, as in JSON.
type quoted string

// UnmarshalYAML refuses what is not a text, with its line.
func (q *quoted) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return fmt.Errorf("line %d: %q is not a text in YAML: put it in quotes", n.Line, n.Value)
	}
	*q = quoted(n.Value)
	return nil
}

// conformance reads the form of the CloudEvents conformance tool: YAML
// documents, separated by lines of "---". It has no form for binary data, so it
// holds no such events.
func conformance(in io.Reader) iter.Seq2[cloudevents.Event, error] {
	return func(yield func(cloudevents.Event, error) bool) {
		r := bufio.NewReaderSize(in, 64<<10)
		var text []byte
		var refused error
		n := 0
		end := func() bool {
			if refused == nil && len(bytes.TrimSpace(text)) == 0 {
				return true
			}
			n++
			e, err := cloudevents.Event{}, refused
			if err == nil {
				e, err = fromDocument(text)
			}
			text, refused = nil, nil
			return checked(yield, fmt.Sprintf("document %d", n), e, err)
		}
		for {
			line, err := readLine(r)
			var long *Refused
			switch {
			case errors.As(err, &long), len(text)+len(line) > maxLine:
				refused, text, err = fmt.Errorf("more than %d bytes", maxLine), nil, nil
			case err != nil && !errors.Is(err, io.EOF):
				yield(cloudevents.Event{}, fmt.Errorf("after document %d: %w", n, err))
				return
			case bytes.HasPrefix(line, []byte("---")):
				if !end() {
					return
				}
			default:
				text = append(text, line...)
			}
			if err != nil {
				end()
				return
			}
		}
	}
}

func fromDocument(text []byte) (cloudevents.Event, error) {
	if !utf8.Valid(text) {
		return cloudevents.Event{}, errors.New("not UTF-8")
	}
	var d document
	in := yaml.NewDecoder(bytes.NewReader(text))
	in.KnownFields(true)
	if err := in.Decode(&d); err != nil {
		return cloudevents.Event{}, err
	}
	if err := in.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return cloudevents.Event{}, errors.New("more text behind the end of the document")
	}
	if d.Mode != "" && d.Mode != "binary" && d.Mode != "structured" {
		return cloudevents.Event{}, fmt.Errorf("mode %q is neither binary nor structured", d.Mode)
	}
	c := d.ContextAttributes
	switch c.SpecVersion {
	case "":
		c.SpecVersion = cloudevents.VersionV1
	case cloudevents.VersionV1, cloudevents.VersionV03:
	default: // sdk-go panics
		return cloudevents.Event{}, fmt.Errorf("specversion %q is neither %s nor %s", c.SpecVersion, cloudevents.VersionV1, cloudevents.VersionV03)
	}
	e := cloudevents.NewEvent(string(c.SpecVersion))
	e.SetID(string(c.ID))
	e.SetType(string(c.Type))
	e.SetSource(string(c.Source))
	e.SetSubject(string(c.Subject))
	if c.DataSchema != "" {
		e.SetDataSchema(string(c.DataSchema))
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
	if c.DataContentType == "" && d.Mode == "structured" {
		c.DataContentType = event.ContentJSON
	}
	e.SetDataContentType(string(c.DataContentType))
	if d.Data != "" {
		e.DataEncoded = []byte(d.Data)
	}
	return e, nil
}
