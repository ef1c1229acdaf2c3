package event_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

func newCodec(t testing.TB) *event.Codec {
	t.Helper()
	srv := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(srv.Close)
	c, err := event.NewCodec(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func observation() event.RepoObserved {
	forks, pushed, company := int64(7), time.Date(2025, 3, 1, 10, 0, 0, 0, time.UTC), "meta"
	return event.RepoObserved{
		ID: 42, NodeID: "R_42", NameWithOwner: "facebook/react", Owner: "facebook", Name: "react", OwnerType: "Organization",
		Company: &company, Stars: 100, Forks: &forks, PushedAt: &pushed, Topics: []string{"ui"},
		Languages: []event.Language{{Name: "Go", Bytes: 12}}, ObservedAt: time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC), SweepID: "s", Source: "graphql",
	}
}

func TestRecordReadsBackAsItWasWritten(t *testing.T) {
	c, ctx := newCodec(t), context.Background()
	o := observation()
	r, err := c.Record(ctx, &o, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := event.Header(r, "ce_id"); got != "42@1740830400000" {
		t.Errorf("ce_id %s", got)
	}
	if string(r.Key) != "42" || r.Topic != event.TopicBaseRepos || event.Header(r, "ce_mayrepeat") != "" {
		t.Errorf("key %s, topic %s, headers %v", r.Key, r.Topic, r.Headers)
	}
	got, err := c.Observed(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*got, o) {
		t.Errorf("got %+v, want %+v", *got, o)
	}
	p := event.RepoProcessed{Observation: o, ProcessedAt: o.ObservedAt, Revision: 3, Late: true}
	p.SetInt(velocity.Delta(velocity.Stars, velocity.Week), -5)
	p.SetFloat(velocity.BacklogIndex(velocity.Week), -0.7)
	p.SetInt(velocity.BaseAt(velocity.Week), o.ObservedAt.UnixMilli()-1)
	p.SetBool(velocity.IsRenamed, false)
	p.SetFloat(velocity.HealthScore, 88.5)
	if r, err = c.Record(ctx, &p, true); err != nil {
		t.Fatal(err)
	}
	back, err := c.Processed(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*back, p) {
		t.Errorf("got %+v, want %+v", *back, p)
	}
	if event.Header(r, "ce_mayrepeat") != "true" || event.Header(r, "ce_id") != "42@1740830400000#3" {
		t.Errorf("headers %v", r.Headers)
	}
}

// TestNothingIsLeftOfWhatWasReadIntoTheSameMemoryBefore: neither of Avro, of this
// schema or of one that lacks fields, nor of JSON.
func TestNothingIsLeftOfWhatWasReadIntoTheSameMemoryBefore(t *testing.T) {
	server := httptest.NewServer(srfake.NewRegistry().Handler())
	defer server.Close()
	c, err := event.NewCodec(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	full := observation()
	text, count, at := "text", int64(5), full.ObservedAt.AddDate(0, 0, -1)
	for v, i := reflect.ValueOf(&full).Elem(), 0; i < reflect.TypeOf(full).NumField(); i++ {
		for _, some := range []any{&text, &count, &at} {
			if v.Field(i).Type() == reflect.TypeOf(some) {
				v.Field(i).Set(reflect.ValueOf(some))
			}
		}
	}
	bare := event.RepoObserved{ID: 1, NameWithOwner: "a/b", ObservedAt: full.ObservedAt}
	bare.Normalize()
	half := observation()
	half.Topics, half.Forks = []string{"a", "b", "c"}, nil

	records, want := []*kgo.Record{older(t, server.URL, event.TypeRepoObserved, bare)}, []event.RepoObserved{bare}
	some, of := bothForms(t, c, &full, &bare, &half)
	records, want = append(records, some...), append(want, of...)
	least := []byte(`{"repo_id": 1, "name_with_owner": "a/b", "stars": 0, "observed_at": "2025-03-01T12:00:00Z"}`)
	records = append(records, &kgo.Record{Value: least, Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(event.ContentJSON)}}})
	want = append(want, bare)

	readAfterEachOther(t, c.ObservedInto, records, want)

	with := event.RepoProcessed{Observation: full, ProcessedAt: full.ObservedAt, Revision: 3, Late: true}
	for i, d := range velocity.Definitions() {
		switch f := velocity.Field(i); d.Kind {
		case field.Float:
			with.SetFloat(f, 1.5)
		case field.Bool:
			with.SetBool(f, true)
		default:
			with.SetInt(f, 7)
		}
	}
	without := event.RepoProcessed{Observation: bare, ProcessedAt: bare.ObservedAt, Revision: 1}
	records, processed := bothForms(t, c, &with, &without)
	records, processed = append(records, older(t, server.URL, event.TypeRepoProcessed, without)), append(processed, without)
	readAfterEachOther(t, c.ProcessedInto, records, processed)

	reason := "killed"
	explained := event.OwnerSwept{SweepID: "s", Owner: "o", Status: event.StatusFailed, StartedAt: at, FinishedAt: at, Expected: &count, New: &count, Renamed: &count, Gone: &count, Reason: &reason}
	plain := event.OwnerSwept{SweepID: "s", Owner: "o", Status: event.StatusComplete, StartedAt: at, FinishedAt: at, Seen: 4}
	records, lines := bothForms(t, c, &explained, &plain)
	readAfterEachOther(t, c.SweptInto, records, lines)
}

// bothForms are records of payloads, each in Avro and in JSON, and what they read
// back as.
func bothForms[T any](t *testing.T, c *event.Codec, payloads ...*T) (records []*kgo.Record, want []T) {
	t.Helper()
	for _, p := range payloads {
		r, err := c.Record(context.Background(), p, false)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		asJSON := &kgo.Record{Value: text, Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(event.ContentJSON)}}}
		records, want = append(records, r, asJSON), append(want, *p, *p)
	}
	return records, want
}

// readAfterEachOther reads every record into what every other one has left.
func readAfterEachOther[T any](t *testing.T, read func(context.Context, *kgo.Record, *T) error, records []*kgo.Record, want []T) {
	t.Helper()
	var into T
	for i, before := range records {
		for j, r := range records {
			if err := read(context.Background(), before, &into); err != nil {
				t.Fatal(err)
			}
			if err := read(context.Background(), r, &into); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(into, want[j]) {
				t.Errorf("%d after %d: got %+v, want %+v", j, i, into, want[j])
			}
		}
	}
}

// older is a record whose schema lacked two fields of an observation, and all
// velocities.
func older(t *testing.T, registryURL, ceType string, v any) *kgo.Record {
	t.Helper()
	contract, err := event.ContractOf(ceType)
	if err != nil {
		t.Fatal(err)
	}
	now, err := avro.ParseWithCache(contract.Schema, "", &avro.SchemaCache{})
	if err != nil {
		t.Fatal(err)
	}
	definitions := velocity.Definitions()
	fields := slices.DeleteFunc(slices.Clone(now.(*avro.RecordSchema).Fields()), func(f *avro.Field) bool {
		return f.Name() == "disk_kb" || f.Name() == "description" || slices.ContainsFunc(definitions[:], func(d field.Definition) bool { return d.Name == f.Name() })
	})
	then, err := avro.NewRecordSchema(now.(*avro.RecordSchema).Name(), now.(*avro.RecordSchema).Namespace(), fields)
	if err != nil {
		t.Fatal(err)
	}
	body, err := avro.Marshal(then, v)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := sr.NewClient(sr.URLs(registryURL))
	if err != nil {
		t.Fatal(err)
	}
	registered, err := registry.CreateSchema(context.Background(), ceType, sr.Schema{Schema: then.String()})
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{Value: append(binary.BigEndian.AppendUint32([]byte{0}, uint32(registered.ID)), body...)}
}

func TestPostedEventOfTheSameContentIsTheSameRecord(t *testing.T) {
	c, ctx := newCodec(t), context.Background()
	o := observation()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	e := cloudevents.NewEvent()
	e.SetID("mine")
	e.SetSource("/hand")
	e.SetType(event.TypeRepoObserved)
	if err := e.SetData(event.ContentJSON, data); err != nil {
		t.Fatal(err)
	}
	r, err := c.Accept(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Observed(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*got, o) {
		t.Errorf("got %+v, want %+v", *got, o)
	}
	if event.Header(r, "ce_id") != "mine" || event.Header(r, "ce_source") != "/hand" || event.Header(r, "ce_mayrepeat") != "true" {
		t.Errorf("headers %v", r.Headers)
	}
	r.Headers = nil // a producer that knows no CloudEvents
	if _, err := c.Observed(ctx, r); err != nil {
		t.Errorf("plain Avro is refused: %v", err)
	}
}

func TestProcessedReadsItsJSONForm(t *testing.T) {
	c, ctx := newCodec(t), context.Background()
	p := event.RepoProcessed{Observation: observation(), ProcessedAt: time.Date(2025, 3, 1, 12, 0, 1, 0, time.UTC), Revision: 2}
	p.SetInt(velocity.Delta(velocity.Stars, velocity.Day), 7)
	p.SetInt(velocity.BaseAt(velocity.Day), p.ObservedAt.UnixMilli()-5)
	p.SetFloat(velocity.BreakoutZ, 3.25)
	p.SetBool(velocity.IsBreakout, true)
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	withRates := bytes.Replace(data, []byte("{"), []byte(`{"stars_per_day_24h":7.5,"forks_per_day_30d":null,`), 1) // as it was written before
	for _, data := range [][]byte{data, withRates} {
		e := cloudevents.NewEvent()
		e.SetID("mine")
		e.SetSource("/hand")
		e.SetType(event.TypeRepoProcessed)
		if err := e.SetData(event.ContentJSON, data); err != nil {
			t.Fatal(err)
		}
		r, err := c.Accept(ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Processed(ctx, r); err != nil || !reflect.DeepEqual(*got, p) {
			t.Errorf("%s: got %+v, %v", data, got, err)
		}
	}
}

func TestBadEventIsInvalidAndSaysWhy(t *testing.T) {
	c, ctx := newCodec(t), context.Background()
	post := func(ceType, contentType, data, why string) {
		t.Helper()
		e := cloudevents.NewEvent()
		e.SetID("x")
		e.SetSource("/hand")
		e.SetType(ceType)
		if err := e.SetData(contentType, []byte(data)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Accept(ctx, e)
		if !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want an invalid event: %s", data, err, why)
		}
	}
	good := `"name_with_owner":"a/b","observed_at":"2025-03-01T00:00:00Z"`
	post("dev.m7pulse.unheard.v1", event.ContentJSON, `{}`, "unknown")
	post(event.TypeRepoObserved, "text/plain", `{}`, "content type")
	post(event.TypeRepoObserved, event.ContentJSON, `{`, "decode")
	post(event.TypeRepoObserved, event.ContentJSON, `{"stars":1,`+good+`}`, "repo_id")
	post(event.TypeRepoObserved, event.ContentJSON, `{"repo_id":0,"stars":1,`+good+`}`, "without identity")
	post(event.TypeRepoObserved, event.ContentJSON, `{"repo_id":1,`+good+`}`, "stars")
	post(event.TypeRepoObserved, event.ContentJSON, `{"repo_id":1,"stars":-1,`+good+`}`, "stars -1")
	post(event.TypeRepoObserved, event.ContentJSON, `{"repo_id":1,"stars":9000000000000,`+good+`}`, "stars 9000000000000")
	post(event.TypeRepoObserved, event.ContentJSON, `{"repo_id":1,"stars":1,"starz":2,`+good+`}`, "starz")
	post(event.TypeRepoObserved, event.ContentJSON, `{"repo_id":1,"stars":1,"name_with_owner":"ab","observed_at":"2025-03-01T00:00:00Z"}`, "owner/name")
	post(event.TypeRepoObserved, event.ContentJSON, `{"repo_id":1,"stars":1,"name_with_owner":"a/b","observed_at":"1999-03-01T00:00:00Z"}`, "observed_at")
	post(event.TypeRepoObserved, event.ContentJSON, `{"repo_id":1,"stars":1,"pushed_at":"0001-01-01T00:00:00Z",`+good+`}`, "pushed_at")
	post(event.TypeRepoObserved, event.ContentAvro, "\x00\x00\x00\x00\x63xyz", "schema id 99 is unknown")
	post(event.TypeRepoObserved, event.ContentAvro, "plain", "Confluent frame")
	post(event.TypeFetchRequested, event.ContentJSON, `{"login":"a"}`, "sweep_id")
	post(event.TypeOwnerSwept, event.ContentJSON, `{"sweep_id":"s","owner":"a","status":"complete"}`, "seen")
}

// What cannot stand in a header of Kafka or HTTP, or in a file of Parquet, is
// refused where it enters, whatever encoding it comes in.
func TestTextThatNoStoreOrHeaderTakesIsInvalid(t *testing.T) {
	c, ctx := newCodec(t), context.Background()
	for why, change := range map[string]func(*event.RepoObserved){
		"description is not UTF-8":                    func(o *event.RepoObserved) { s := "\xff\xfe"; o.Description = &s },
		`topic "\xc3" is not UTF-8`:                   func(o *event.RepoObserved) { o.Topics = []string{"ok", "\xc3"} },
		`language "\xc3" is not UTF-8`:                func(o *event.RepoObserved) { o.Languages = []event.Language{{Name: "\xc3"}} },
		`name_with_owner "a/b\r\nc" holds control`:    func(o *event.RepoObserved) { o.NameWithOwner, o.Owner, o.Name = "a/b\r\nc", "a", "b\r\nc" },
		`name_with_owner "a/b\u009b2J" holds control`: func(o *event.RepoObserved) { o.NameWithOwner, o.Owner, o.Name = "a/b\u009b2J", "a", "b\u009b2J" },
	} {
		o := observation()
		change(&o)
		r, err := c.Record(ctx, &o, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Observed(ctx, r); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want an invalid event: %s", err, why)
		}
	}
	e := cloudevents.NewEvent()
	e.SetID("line\nfeed")
	e.SetSource("/hand")
	e.SetType(event.TypeRepoObserved)
	if err := e.SetData(event.ContentJSON, observation()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Accept(ctx, e); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "control characters") {
		t.Errorf("an id with a line feed: %v", err)
	}
}

func TestPasswordOfTheRegistryIsSentAndNeverShown(t *testing.T) {
	const user, password = "someone", "p@ss/word"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"id":1}`)
	}))
	defer srv.Close()
	at := func(password string) string {
		return strings.Replace(srv.URL, "://", "://"+url.UserPassword(user, password).String()+"@", 1)
	}
	for address, ok := range map[string]bool{at(password): true, at("wr0ng-password"): false, srv.URL: false} {
		c, err := event.NewCodec(address)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Register(context.Background(), event.TypeRepoObserved)
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"", "host:8081", "https://u:s3cret@%zz", "ftp://u:s3cret@host"} {
		if _, err := event.NewCodec(address); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestDamagedAvroIsInvalidAndNeverPanics(t *testing.T) {
	c, ctx := newCodec(t), context.Background()
	o := observation()
	r, err := c.Record(ctx, &o, false)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(r.Value) {
		if _, err := c.Observed(ctx, &kgo.Record{Value: r.Value[:n]}); !errors.Is(err, event.ErrInvalid) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := c.Observed(ctx, &kgo.Record{Value: append(r.Value[:len(r.Value):len(r.Value)], 0)}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a byte too many: %v", err)
	}
}

func FuzzObserved(f *testing.F) {
	c, ctx := newCodec(f), context.Background()
	o := observation()
	r, err := c.Record(ctx, &o, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Value)
	f.Fuzz(func(t *testing.T, value []byte) {
		if _, err := c.Observed(ctx, &kgo.Record{Value: value}); err != nil && !errors.Is(err, event.ErrInvalid) && !strings.Contains(err.Error(), "registry") {
			t.Errorf("%x: %v", value, err)
		}
	})
}

func TestRegistryThatIsDownIsNoFaultOfTheEvent(t *testing.T) {
	c, err := event.NewCodec("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err := c.Observed(ctx, &kgo.Record{Value: []byte("\x00\x00\x00\x00\x01x")}); err == nil || errors.Is(err, event.ErrInvalid) {
		t.Errorf("%v: want an error that may pass", err)
	}
}
