package event_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/shared/event"
)

const observedJSON = `{"repo_id":9,"name_with_owner":"a/b","stars":10,"observed_at":"2025-11-20T00:00:00Z"}`

// envelope is a structured event with a few members changed: "" removes one.
func envelope(changes ...string) string {
	members := map[string]string{
		"specversion": `"1.0"`, "id": `"1"`, "source": `"/s"`, "type": `"` + event.TypeRepoObserved + `"`, "data": observedJSON,
	}
	order := []string{"specversion", "id", "source", "type", "data"}
	extra := ""
	for i := 0; i < len(changes); i += 2 {
		if _, ok := members[changes[i]]; ok {
			members[changes[i]] = changes[i+1]
			continue
		}
		extra += fmt.Sprintf(",%q:%s", changes[i], changes[i+1])
	}
	var out []string
	for _, name := range order {
		if members[name] != "" {
			out = append(out, fmt.Sprintf("%q:%s", name, members[name]))
		}
	}
	return "{" + strings.Join(out, ",") + extra + "}"
}

func TestStructuredDataWithoutAContentTypeIsJSON(t *testing.T) {
	codec := newCodec(t)
	for name, text := range map[string]string{
		"none":              envelope(),
		"null":              envelope("datacontenttype", "null"),
		"a byte order mark": "\ufeff" + envelope(),
		"in base64":         envelope("data", "", "data_base64", `"eyJyZXBvX2lkIjo5LCJuYW1lX3dpdGhfb3duZXIiOiJhL2IiLCJzdGFycyI6MTAsIm9ic2VydmVkX2F0IjoiMjAyNS0xMS0yMFQwMDowMDowMFoifQ=="`),
	} {
		e, err := event.FromJSON([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := codec.Accept(t.Context(), e); err != nil || e.DataContentType() != event.ContentJSON {
			t.Errorf("%s: content type %q, %v", name, e.DataContentType(), err)
		}
	}
}

func TestStructuredEventThatIsBrokenIsRefusedByName(t *testing.T) {
	for text, want := range map[string]string{
		envelope("data_base64", "5", "data", ""):         "data_base64",
		envelope("data_base64", "null", "data", ""):      "data_base64",
		envelope("data_base64", `"eyJ9"`):                "both data and data_base64",
		`{"datacontentencoding":"","specversion":"0.3"}`: "datacontentencoding",
		envelope("Data", "{}"):                           `"Data"`,
		envelope("", "1"):                                `""`,
		envelope("mayRepeat", `"true"`):                  `"mayRepeat"`,
		envelope("x", "1", "x", "2"):                     `"x"`,
		envelope("specversion", "1.0"):                   "specversion",
		envelope("id", "7"):                              "id",
		envelope("time", "1732060800000"):                "time",
		strings.Replace(envelope(), "a/b", "a/\xe9", 1):  "UTF-8",
		"\xff\xfe{\x00}\x00":                             "UTF-8",
		`[]`:                                             "object",
		`null`:                                           "object",
		envelope() + "{}":                                "",
		strings.Repeat(`{"specversion":`, 20_000) + strings.Repeat("}", 20000): "",
	} {
		_, err := event.FromJSON([]byte(text))
		if !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: %v, want it to name %q", text, err, want)
		}
	}
}

func TestHeadersAreDecodedAsTheProtocolBindingSays(t *testing.T) {
	post := func(headers ...string) (cloudevents.Event, error) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(observedJSON))
		for i := 0; i < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
		}
		return event.FromHTTP(r)
	}
	whole := []string{"Ce-Specversion", "1.0", "Ce-Source", "/s", "Ce-Type", event.TypeRepoObserved, "Content-Type", "application/json"}
	for wire, want := range map[string]string{
		"plain": "plain", "Euro%20%E2%82%AC%20%F0%9F%98%80": "Euro € 😀", "%e2%82%ac": "€", "%41%25": "A%",
		`"a \"quoted\" one"`: `a "quoted" one`, `"%22"`: `"`, "100%": "100%", "50%-off": "50%-off", "a b": "a b", "€": "€",
	} {
		e, err := post(append(whole, "Ce-Id", wire, "Ce-Subject", wire, "Ce-Mine", wire)...)
		if err != nil || e.ID() != want || e.Subject() != want || e.Extensions()["mine"] != want {
			t.Errorf("%s: id %q, subject %q, extension %v, %v", wire, e.ID(), e.Subject(), e.Extensions()["mine"], err)
		}
	}
	for wire, want := range map[string]string{"%C0%A0": "Ce-Id", "%FF": "UTF-8", "\xe9": "UTF-8"} {
		if _, err := post(append(whole, "Ce-Id", wire)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want it to name %q", wire, err, want)
		}
	}
	if _, err := post(append(whole, "Ce-Id", "1", "Ce-Id", "2")...); err == nil || !strings.Contains(err.Error(), "Ce-Id") {
		t.Errorf("an attribute that is there twice: %v", err)
	}
	if _, err := post("Content-Type", "application/json", "Ce-Id", "1"); err == nil || !strings.Contains(err.Error(), "Ce-Specversion") || !strings.Contains(err.Error(), "application/cloudevents+json") {
		t.Errorf("neither mode: %v", err)
	}
	if _, err := post("Content-Type", "application/cloudevents-batch+json"); err == nil || !strings.Contains(err.Error(), "batch") {
		t.Errorf("a batch: %v", err)
	}
	if _, err := post("Content-Type", "application/cloudevents+json; charset=utf-16"); err == nil || !strings.Contains(err.Error(), "utf-16") {
		t.Errorf("another charset: %v", err)
	}
	e, err := post(append(whole[:6:6], "Ce-Id", "1")...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newCodec(t).Accept(t.Context(), e); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "Content-Type") {
		t.Errorf("binary mode without a content type: %v", err)
	}
}

func TestHeadersAreEncodedAsTheProtocolBindingSays(t *testing.T) {
	for text, wire := range map[string]string{"Euro € 😀": "Euro%20%E2%82%AC%20%F0%9F%98%80", `"%`: "%22%25", "a\nb\x7f": "a%0Ab%7F", "~!": "~!"} {
		e := cloudevents.NewEvent()
		e.SetID(text)
		e.SetSource("/s")
		e.SetType("t")
		e.SetSubject(text)
		e.SetTime(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
		e.SetExtension("mine", text)
		if err := e.SetData(event.ContentJSON, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		r, err := event.ToHTTP(t.Context(), "http://127.0.0.1", e)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		for _, h := range []string{"Ce-Id", "Ce-Subject", "Ce-Mine"} {
			if got := r.Header.Get(h); got != wire {
				t.Errorf("%s of %q is %q, want %q", h, text, got, wire)
			}
		}
		if got := r.Header.Get("Content-Type"); got != event.ContentJSON {
			t.Errorf("content type %q", got)
		}
		back, err := event.FromHTTP(r)
		if err != nil || back.ID() != e.ID() || back.Subject() != e.Subject() || back.Extensions()["mine"] != text || !back.Time().Equal(e.Time()) || string(back.Data()) != "{}" {
			t.Errorf("%q comes back as %s, %v", text, back, err)
		}
	}
}

func TestPayloadThatIsOddIsRefusedByName(t *testing.T) {
	codec := newCodec(t)
	for text, want := range map[string]string{
		strings.Replace(observedJSON, `"stars"`, `"Stars"`, 1):                              "Stars",
		strings.Replace(observedJSON, `}`, `,"STARS":11}`, 1):                               "STARS",
		strings.Replace(observedJSON, `}`, `,"stars":11}`, 1):                               "stars",
		strings.Replace(observedJSON, `}`, `,"languages":[{"Name":"Go","bytes":1}]}`, 1):    "Name",
		strings.Replace(observedJSON, `"2025-11-20T00:00:00Z"`, "1763596800000", 1):         "observed_at",
		strings.Replace(observedJSON, `}`, `,"pushed_at":1763596800000000}`, 1):             "pushed_at",
		strings.Replace(observedJSON, "a/b", "a/\xe9", 1):                                   "UTF-8",
		strings.Replace(observedJSON, `"2025-11-20T00:00:00Z"`, `"2025-11-20 00:00:00"`, 1): "observed_at",
	} {
		for _, kind := range []string{event.TypeRepoObserved, event.TypeRepoProcessed} {
			if kind == event.TypeRepoProcessed {
				text = strings.Replace(text, "{", `{"processed_at":"2025-11-20T00:00:01Z","revision":1,"late":false,`, 1)
			}
			e := cloudevents.NewEvent()
			e.SetID("1")
			e.SetSource("/s")
			e.SetType(kind)
			if err := e.SetData(event.ContentJSON, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if _, err := codec.Accept(t.Context(), e); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want it to name %q", text, err, want)
			}
		}
	}
	e := cloudevents.NewEvent()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType(event.TypeRepoObserved)
	if err := e.SetData("application/json; charset=UTF-8", []byte("\ufeff"+observedJSON)); err != nil {
		t.Fatal(err)
	}
	if _, err := codec.Accept(t.Context(), e); err != nil {
		t.Errorf("a byte order mark: %v", err)
	}
	e.SetDataContentType("application/json; charset=windows-1252")
	if _, err := codec.Accept(t.Context(), e); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "windows-1252") {
		t.Errorf("another charset: %v", err)
	}
}

// TestTimesOfAnotherUnitAreRefusedByName: Avro's own resolution takes a long for
// a long, whatever it counts.
func TestTimesOfAnotherUnitAreRefusedByName(t *testing.T) {
	server := httptest.NewServer(srfake.NewRegistry().Handler())
	defer server.Close()
	registry, err := sr.NewClient(sr.URLs(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	codec, err := event.NewCodec(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	observed, err := event.ContractOf(event.TypeRepoObserved)
	if err != nil {
		t.Fatal(err)
	}
	processed, err := event.ContractOf(event.TypeRepoProcessed)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		contract  event.Contract
		field     string
		old, with string
	}{
		{observed, "observed_at", `{"type": "long", "logicalType": "timestamp-millis"}`, `"long"`},
		{observed, "observed_at", `timestamp-millis`, `timestamp-micros`},
		{observed, "pushed_at", `timestamp-millis`, `local-timestamp-millis`},
		{processed, "base_at_7d", `timestamp-millis`, `timestamp-micros`},
		{processed, "processed_at", `{"type": "long", "logicalType": "timestamp-millis"}`, `"int"`},
	} {
		at := strings.Index(c.contract.Schema, `"`+c.field+`"`)
		if at < 0 || !strings.Contains(c.contract.Schema[at:], c.old) {
			t.Fatalf("%s is not in the schema as expected", c.field)
		}
		text := c.contract.Schema[:at] + strings.Replace(c.contract.Schema[at:], c.old, c.with, 1)
		schema, err := registry.CreateSchema(t.Context(), fmt.Sprint("other-", i), sr.Schema{Schema: text})
		if err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{
			Value:   append(binary.BigEndian.AppendUint32([]byte{0}, uint32(schema.ID)), 2, 2, 2),
			Headers: []kgo.RecordHeader{{Key: "ce_type", Value: []byte(c.contract.Type)}, {Key: "content-type", Value: []byte(event.ContentAvro)}},
		}
		if _, err := codec.JSON(t.Context(), r); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s as %s: %v", c.field, c.with, err)
		}
	}
	if _, err := avro.Parse(observed.Schema); err != nil {
		t.Fatal(err)
	}
}

// FuzzFromJSON: whatever a structured event is, it is refused or it can be
// written and read again as it was.
func FuzzFromJSON(f *testing.F) {
	for _, text := range []string{
		envelope(), envelope("data_base64", "5", "data", ""), envelope("datacontenttype", `"text/plain"`, "data", `"x"`),
		`{"datacontentencoding":"","specversion":"0.3"}`, `{"specversion":"1.0","data_base64":null}`, "null", "[]", "\ufeff{}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := event.FromJSON(text)
		if err != nil && !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil || e.Validate() != nil {
			return
		}
		again, err := e.MarshalJSON()
		if err != nil {
			return // data that is not what its content type says
		}
		back, err := event.FromJSON(again)
		if err != nil || back.ID() != e.ID() || back.Type() != e.Type() || back.Source() != e.Source() {
			t.Errorf("%q is written as %q, which reads as %v, %v", text, again, back, err)
		}
	})
}

// FuzzHeaders: an attribute of any text goes by HTTP and comes back.
func FuzzHeaders(f *testing.F) {
	f.Add("plain", "%41")
	f.Add("€ \n\"", `"a\`)
	f.Fuzz(func(t *testing.T, id, wire string) {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header = http.Header{"Ce-Specversion": {"1.0"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}, "Ce-Id": {wire}}
		if e, err := event.FromHTTP(r); err == nil && !utf8.ValidString(e.ID()) {
			t.Errorf("%q is decoded to %q", wire, e.ID())
		}
		e := cloudevents.NewEvent()
		e.SetID(id)
		e.SetSource("/s")
		e.SetType("t")
		if e.Validate() != nil || !utf8.ValidString(id) {
			return
		}
		r, err := event.ToHTTP(context.Background(), "http://127.0.0.1", e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := event.FromHTTP(r)
		if err != nil || back.ID() != e.ID() {
			t.Errorf("%q comes back as %q, %v", id, back.ID(), err)
		}
	})
}

// FuzzAccept: whatever a body holds, it is refused as invalid or becomes a
// record that reads back.
func FuzzAccept(f *testing.F) {
	codec := newCodec(f)
	if err := codec.Register(context.Background(), event.TypeRepoObserved, event.TypeRepoProcessed, event.TypeOwnerSwept, event.TypeFetchRequested); err != nil {
		f.Fatal(err)
	}
	kinds := []string{event.TypeRepoObserved, event.TypeRepoProcessed, event.TypeOwnerSwept, event.TypeFetchRequested}
	for i := range kinds {
		f.Add(i, event.ContentJSON, []byte(observedJSON))
		f.Add(i, event.ContentAvro, []byte{0, 0, 0, 0, byte(i + 1), 2, 2})
		f.Add(i, "application/json; charset=utf-8", []byte("\ufeff{}"))
	}
	f.Add(2, event.ContentJSON, []byte(`{"sweep_id":"s","owner":"o","status":"complete","started_at":"2025-11-20T00:00:00Z","finished_at":"2025-11-20T00:00:00Z","seen":1,"unanswered":0,"pages":1,"killed_pages":0,"points":1,"seconds":1.5}`))
	f.Add(3, event.ContentJSON, []byte(`{"sweep_id":"s","login":"o"}`))
	f.Fuzz(func(t *testing.T, kind int, content string, body []byte) {
		e := cloudevents.NewEvent()
		e.SetID("1")
		e.SetSource("/s")
		e.SetType(kinds[uint(kind)%uint(len(kinds))])
		e.SetDataContentType(content)
		e.DataEncoded = body
		ctx := context.Background()
		r, err := codec.Accept(ctx, e)
		if err != nil {
			if !errors.Is(err, event.ErrInvalid) && !strings.Contains(err.Error(), "registry") {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		if _, err := codec.JSON(ctx, r); err != nil {
			t.Errorf("%q is accepted as a record that does not read: %v", body, err)
		}
	})
}
