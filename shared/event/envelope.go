package event

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"sigs.k8s.io/json"
)

// The media types of a whole event, and the prefix that they share.
const (
	contentEvent  = "application/cloudevents+json"
	contentEvents = "application/cloudevents"
)

// byteOrderMark may begin a UTF-8 text.
const byteOrderMark = "\ufeff"

// FromJSON reads one event in CloudEvents' JSON format. Where it has data and no
// datacontenttype, the data is JSON, as that format says. A text that is not such
// an event wraps ErrInvalid; whether the event is complete is for its Validate.
func FromJSON(text []byte) (cloudevents.Event, error) {
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	if err := checkEnvelope(text); err != nil {
		return cloudevents.Event{}, Invalid("structured event: %w", err)
	}
	e := cloudevents.NewEvent()
	if err := stdjson.Unmarshal(text, &e); err != nil {
		return cloudevents.Event{}, Invalid("structured event: %w", err)
	}
	if e.DataContentType() == "" && e.DataEncoded != nil {
		e.SetDataContentType(ContentJSON)
	}
	return e, nil
}

// checkEnvelope refuses what sdk-go v2.16.2 reads as something else than it says
// (a name twice, an empty name, null as base64), or panics on (data_base64 that
// is not a string, an empty datacontentencoding).
func checkEnvelope(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("not UTF-8")
	}
	if !bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) {
		return errors.New("not a JSON object")
	}
	var members map[string]stdjson.RawMessage
	strict, err := json.UnmarshalStrict(text, &members)
	if err := errors.Join(append(strict, err)...); err != nil {
		return err
	}
	for name, value := range members {
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" && name != "data_base64" {
			return fmt.Errorf("attribute %q: a name has lower-case letters and digits only", name)
		}
		absent := string(value) == "null"
		switch name {
		case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "schemaurl":
			if value[0] != '"' && !absent {
				return fmt.Errorf("attribute %s is not a string", name)
			}
		case "data_base64":
			if value[0] != '"' {
				return errors.New("data_base64 is not a string")
			}
		case "datacontentencoding":
			if string(value) != `"base64"` {
				return errors.New(`datacontentencoding is not "base64"`)
			}
		}
	}
	if members["data"] != nil && members["data_base64"] != nil {
		return errors.New("both data and data_base64")
	}
	return nil
}

// FromHTTP reads the event of a request, in binary or structured mode; a batch is
// refused. Attributes in headers are decoded as the HTTP protocol binding says.
// An error from reading the body is wrapped; any other says what is wrong with
// the request. Whether the event is complete is for its Validate.
func FromHTTP(r *http.Request) (cloudevents.Event, error) {
	content := r.Header.Get("Content-Type")
	media, params, err := mime.ParseMediaType(content)
	if content != "" && err != nil {
		return cloudevents.Event{}, Invalid("Content-Type %q: %w", content, err)
	}
	if strings.HasPrefix(media, contentEvents) {
		if err := checkCharset(params); err != nil {
			return cloudevents.Event{}, Invalid("Content-Type %q: %w", content, err)
		}
		if media != contentEvent {
			return cloudevents.Event{}, Invalid("Content-Type %q: a batch, or a format that is not supported; post one event as %s", content, contentEvent)
		}
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return cloudevents.Event{}, fmt.Errorf("read the body: %w", err)
		}
		return FromJSON(text)
	}
	if r.Header.Get("Ce-Specversion") == "" {
		return cloudevents.Event{}, Invalid("neither in binary mode (no header Ce-Specversion) nor in structured mode (no Content-Type: %s)", contentEvent)
	}
	header := make(http.Header, len(r.Header))
	for name, values := range r.Header {
		if !strings.HasPrefix(name, "Ce-") {
			header[name] = values
			continue
		}
		if len(values) != 1 || name == "Ce-" {
			return cloudevents.Event{}, Invalid("header %s: %d values, want one", name, len(values))
		}
		value, err := decodeHeader(values[0])
		if err != nil {
			return cloudevents.Event{}, Invalid("header %s: %w", name, err)
		}
		header[name] = []string{value}
	}
	e, err := binding.ToEvent(r.Context(), cehttp.NewMessage(header, r.Body))
	if err != nil {
		return cloudevents.Event{}, fmt.Errorf("binary event: %w", err)
	}
	return *e, nil
}

// ToHTTP returns the request that posts an event in binary mode. Attributes in
// its headers are encoded as the HTTP protocol binding says.
func ToHTTP(ctx context.Context, url string, e cloudevents.Event) (*http.Request, error) {
	r, err := cloudevents.NewHTTPRequestFromEvent(ctx, url, e)
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "Ce-") {
			for i := range values {
				values[i] = encodeHeader(values[i])
			}
		}
	}
	return r, nil
}

// encodeHeader percent-encodes what the HTTP protocol binding (3.1.3.2) wants
// encoded: space, quote, percent, and all but printable ASCII.
func encodeHeader(text string) string {
	encode := func(c byte) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '%' }
	if !slices.ContainsFunc([]byte(text), encode) {
		return text
	}
	var b strings.Builder
	for i := range len(text) {
		if encode(text[i]) {
			fmt.Fprintf(&b, "%%%02X", text[i])
		} else {
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

// decodeHeader undoes encodeHeader, and the quotes of senders by older versions
// of the binding. A percent sign without two hexadecimal digits stands for
// itself: KafkaSource and sdk-go do not encode.
func decodeHeader(value string) (string, error) {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		var b strings.Builder
		for i := 1; i < len(value)-1; i++ {
			if value[i] == '\\' && i+1 < len(value)-1 {
				i++
			}
			b.WriteByte(value[i])
		}
		value = b.String()
	}
	if strings.Contains(value, "%") {
		var b strings.Builder
		for i := 0; i < len(value); i++ {
			if value[i] == '%' && i+2 < len(value) {
				if c, err := url.PathUnescape(value[i : i+3]); err == nil {
					b.WriteString(c)
					i += 2
					continue
				}
			}
			b.WriteByte(value[i])
		}
		value = b.String()
	}
	if !utf8.ValidString(value) {
		return "", errors.New("not UTF-8")
	}
	return value, nil
}

// checkCharset refuses a text in another encoding than UTF-8.
func checkCharset(params map[string]string) error {
	switch charset := strings.ToLower(params["charset"]); charset {
	case "", "utf-8", "utf8", "us-ascii":
		return nil
	default:
		return fmt.Errorf("charset %s: want UTF-8", charset)
	}
}

// contentOf is the content type of an event's data, which must be said: in
// binary mode nothing stands for one that is missing.
func contentOf(e cloudevents.Event) (string, error) {
	content := e.DataContentType()
	if content == "" {
		return "", Invalid("no content type (in binary mode the header Content-Type, else the attribute datacontenttype): want %s or %s", ContentAvro, ContentJSON)
	}
	return content, nil
}
