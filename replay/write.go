package replay

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// Writer writes events to a file that Read reads. It is for one goroutine.
type Writer struct {
	encode func(cloudevents.Event) ([]byte, error)
	out    *bufio.Writer
	zip    *gzip.Writer // or nil
	file   *os.File
}

// Create makes a file, which must not exist yet, in the form that follows from its
// name as in Read, except for a JSON batch; "-" is JSON Lines to standard output.
func Create(path string) (*Writer, error) {
	name := strings.ToLower(path)
	w := &Writer{encode: line, file: os.Stdout}
	plain, zipped := strings.CutSuffix(name, ".gz")
	switch {
	case isYAML(plain):
		w.encode = toDocument
	case strings.HasSuffix(plain, ".json"):
		return nil, fmt.Errorf("%s: JSON Lines are named .jsonl, the conformance form .yaml", path)
	}
	if path != "-" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, err
		}
		w.file = f
	}
	var out io.Writer = w.file
	if zipped {
		w.zip = gzip.NewWriter(w.file)
		out = w.zip
	}
	w.out = bufio.NewWriterSize(out, 64<<10)
	return w, nil
}

// Write adds an event. One that the form cannot hold fails with *Refused.
func (w *Writer) Write(e cloudevents.Event) error {
	text, err := w.encode(e)
	if err != nil {
		return &Refused{Reason: fmt.Errorf("event %q: %w", e.ID(), err)}
	}
	_, err = w.out.Write(text)
	return err
}

// Flush passes what was written to the operating system: it is in the file even if
// this process is killed.
func (w *Writer) Flush() error {
	err := w.out.Flush()
	if w.zip != nil {
		err = errors.Join(err, w.zip.Flush())
	}
	return err
}

// Close ends the file.
func (w *Writer) Close() error {
	err := w.out.Flush()
	if w.zip != nil {
		err = errors.Join(err, w.zip.Close())
	}
	return errors.Join(err, w.file.Close())
}

// line is an event in CloudEvents' JSON format. Data that is JSON is there as
// JSON, other text as text; all else is in base64.
func line(e cloudevents.Event) ([]byte, error) {
	isText := utf8.Valid(e.DataEncoded)
	if media, _, err := mime.ParseMediaType(e.DataContentType()); err != nil || media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json") {
		isText = isText && json.Valid(e.DataEncoded)
	}
	e.DataBase64 = !isText
	text, err := json.Marshal(e)
	if err == nil && len(text) >= maxLine {
		err = fmt.Errorf("%d bytes are too many for one line", len(text))
	}
	return append(text, '\n'), err
}

func toDocument(e cloudevents.Event) ([]byte, error) {
	if !utf8.Valid(e.Data()) {
		return nil, errors.New("the conformance form cannot hold binary data")
	}
	d := document{Mode: "binary", Data: string(e.Data())}
	c := &d.ContextAttributes
	c.SpecVersion, c.Type, c.ID, c.Source, c.Subject = quoted(e.SpecVersion()), quoted(e.Type()), quoted(e.ID()), quoted(e.Source()), quoted(e.Subject())
	c.DataSchema, c.DataContentType = quoted(e.DataSchema()), quoted(e.DataContentType())
	if !e.Time().IsZero() {
		c.Time = e.Time().Format(time.RFC3339Nano)
	}
	for name, value := range e.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			return nil, fmt.Errorf("extension %s: %w", name, err)
		}
		if c.Extensions == nil {
			c.Extensions = map[string]string{}
		}
		c.Extensions[name] = text
	}
	text, err := yaml.Marshal(d)
	if err == nil && len(text) >= maxLine {
		err = fmt.Errorf("%d bytes, more than a document may have", len(text))
	}
	return append(text, "---\n"...), err
}
